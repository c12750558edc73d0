"""Swin Transformer (Liu et al. 2021): detectron2's module under a registered builder."""

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.swin import SwinTransformer
from torch import Tensor

from .freezing import Freezable, Part
from .outputs import STAGES, STRIDE_OF_STAGE, choose_stages, leave_out
from .swin_graph import is_recording, merge_patches, stage_on_map


class SwinBackbone(Freezable, SwinTransformer):
    """detectron2's Swin with ResNet's names for the stages (res2..res5 for strides 4..32)."""

    def __init__(
        self,
        *,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        out_features: Sequence[str] = STAGES,
        key: str = "MODEL.SWIN",
        **others: Any,
    ) -> None:
        """
        Args:
            embed_dim: channels of the first stage, doubled from stage to stage.
            depths, num_heads: one number for each of the four stages.
            out_features: of res2..res5; stages beyond the last of them are left out.
            key: the config node of these numbers, for messages.
            others: see detectron2's ``SwinTransformer``.

        Raises:
            ValueError: not four numbers each, a width that its heads do not divide, or an output
                that is none of res2..res5.
        """
        _check(key, embed_dim, depths, num_heads)
        stages = choose_stages(f"{key}.OUT_FEATURES", out_features)
        super().__init__(
            embed_dim=embed_dim,
            depths=depths,
            num_heads=num_heads,
            out_indices=tuple(STAGES.index(stage) for stage in stages),
            **others,
        )
        self.num_layers = 1 + STAGES.index(stages[-1])
        leave_out(self, "layers", self.num_layers)
        self.layers[-1].downsample = None  # for the next stage, if there was one
        self._out_features = stages
        self._out_feature_channels = dict(zip(STAGES, self.num_features, strict=True))
        self._out_feature_strides = STRIDE_OF_STAGE

    def parts(self) -> list[Part]:
        """The patch embedding, then each stage with the merging of patches behind it."""
        return [[self.patch_embed], *([layer] for layer in self.layers)]

    def freeze(self, freeze_at: int = 0) -> "SwinBackbone":
        """As of :class:`Freezable`. Up to the first stage that is trained nothing is computed anew:
        detectron2's checkpoints give no gradient where their input has none."""
        for layer in self.layers[: max(freeze_at, 0)]:
            layer.use_checkpoint = False
        return super().freeze(freeze_at)

    @property
    def size_divisibility(self) -> int:
        return 0  # each stage pads to its windows by itself

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> {stage: (B, C, ceil(H / stride), ceil(W / stride))}."""
        if is_recording():
            return self._recorded(images)
        outputs = super().forward(images)
        return {STAGES[int(name[1:])]: feature for name, feature in outputs.items()}

    def _recorded(self, images: Tensor) -> dict[str, Tensor]:
        """:meth:`forward` in plain operators, whatever size the images have."""
        features = self.patch_embed(images).permute(0, 2, 3, 1)  # (B, h, w, C)
        outputs = {}
        for number, (stage, layer) in enumerate(zip(STAGES, self.layers, strict=False)):
            features = stage_on_map(layer, features)
            if stage in self._out_features:
                outputs[stage] = getattr(self, f"norm{number}")(features).permute(0, 3, 1, 2)
            if layer.downsample is not None:
                features = merge_patches(layer, features)
        return outputs


def _check(node: str, embed_dim: int, depths: Sequence[int], num_heads: Sequence[int]) -> None:
    for key, values in (("DEPTHS", depths), ("NUM_HEADS", num_heads)):
        if len(values) != len(STAGES):
            raise ValueError(f"{node}.{key} is {list(values)}; give a number for each of 4 stages")
    for i, heads in enumerate(num_heads):
        if (embed_dim << i) % heads:
            raise ValueError(
                f"{node}.EMBED_DIM {embed_dim} gives stage {i + 1} {embed_dim << i} channels, "
                f"which are no multiple of its NUM_HEADS, {heads}"
            )


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
    ).freeze(cfg.MODEL.BACKBONE.FREEZE_AT)
