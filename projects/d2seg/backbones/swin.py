"""Swin Transformer (Liu et al. 2021): detectron2's module under a registered builder."""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.swin import SwinTransformer
from torch import Tensor

STAGES = ("res2", "res3", "res4", "res5")


class SwinBackbone(SwinTransformer):
    """detectron2's Swin with ResNet's names for the stages (res2..res5 for strides 4..32)."""

    def __init__(self, *, out_features: tuple[str, ...] = STAGES, **kwargs) -> None:
        """``kwargs`` are those of detectron2's ``SwinTransformer``.

        Raises:
            ValueError: an output that is none of res2..res5.
        """
        unknown = set(out_features) - set(STAGES)
        if unknown:
            raise ValueError(
                f"MODEL.SWIN.OUT_FEATURES has {sorted(unknown)}; choose from {list(STAGES)}"
            )
        super().__init__(out_indices=tuple(STAGES.index(f) for f in out_features), **kwargs)
        self._out_features = list(out_features)
        self._out_feature_channels = {
            f: self.num_features[STAGES.index(f)] for f in self._out_features
        }
        self._out_feature_strides = {f: 4 << STAGES.index(f) for f in self._out_features}

    @property
    def size_divisibility(self) -> int:
        return 0  # each stage pads to its windows by itself

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> {stage: (B, C, ceil(H / stride), ceil(W / stride))}."""
        outputs = super().forward(images)
        return {STAGES[int(name[1:])]: feature for name, feature in outputs.items()}


@BACKBONE_REGISTRY.register()
def build_swin_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SwinBackbone:
    swin = cfg.MODEL.SWIN
    return SwinBackbone(
        pretrain_img_size=swin.PRETRAIN_IMG_SIZE,
        in_chans=input_shape.channels,
        embed_dim=swin.EMBED_DIM,
        depths=swin.DEPTHS,
        num_heads=swin.NUM_HEADS,
        window_size=swin.WINDOW_SIZE,
        drop_path_rate=swin.DROP_PATH_RATE,
        use_checkpoint=swin.USE_CHECKPOINT,
        out_features=tuple(swin.OUT_FEATURES),
    )
