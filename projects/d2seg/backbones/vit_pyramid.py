"""A plain vision transformer with the simple feature pyramid of ViTDet (Li et al. 2022, "Exploring
Plain Vision Transformer Backbones for Object Detection", section 3)."""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.vit import SimpleFeaturePyramid
from torch import Tensor
from torch.nn import functional as F

from .vit import ViTBackbone, vit_arguments

STRIDE = 16  # of the transformer's map
_SCALES = {"res2": 4.0, "res3": 2.0, "res4": 1.0, "res5": 0.5}


class StrideSixteenViT(ViTBackbone):
    """One token for 16 x 16 pixels, whatever the patch size is.

    A model with patches of 14 x 14 (DINOv2) sees the images at 14/16 of their size, with the
    weights of its patch embedding as they were trained.
    """

    def __init__(self, **arguments: object) -> None:
        """``arguments`` are those of :class:`ViTBackbone`."""
        super().__init__(**arguments)
        self._out_feature_strides = dict.fromkeys(self._out_features, STRIDE)

    @property
    def size_divisibility(self) -> int:
        return STRIDE

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W), H and W multiples of 16 -> {"block<n>": (B, C, H / 16, W / 16)}."""
        if self.patch_size != STRIDE:
            size = [side // STRIDE * self.patch_size for side in images.shape[-2:]]
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        return super().forward(images)


class ViTPyramidBackbone(SimpleFeaturePyramid):
    """detectron2's pyramid under ResNet's names of the stages."""

    def __init__(self, net: StrideSixteenViT, *, out_channels: int = 256, norm: str = "LN") -> None:
        """
        Args:
            net: with one output, from which all levels are made.
            norm: of the pyramid's convolutions, any name that detectron2's ``get_norm`` takes.

        Raises:
            ValueError: several outputs.
        """
        names = list(net.output_shape())
        if len(names) != 1:
            raise ValueError(
                f"MODEL.VIT.OUT_FEATURES is {names}; the simple feature pyramid takes one output, "
                "that of the last block"
            )
        super().__init__(net, names[0], out_channels, list(_SCALES.values()), norm=norm)
        self._out_features = list(_SCALES)
        self._out_feature_strides = {name: int(STRIDE / scale) for name, scale in _SCALES.items()}
        self._out_feature_channels = dict.fromkeys(_SCALES, out_channels)

    @property
    def size_divisibility(self) -> int:
        return self._out_feature_strides["res5"]


@BACKBONE_REGISTRY.register()
def build_vit_pyramid_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ViTPyramidBackbone:
    """A ViT by MODEL.VIT, and on it a pyramid of MODEL.FPN.OUT_CHANNELS."""
    net = StrideSixteenViT(**vit_arguments(cfg, input_shape))
    net.freeze(cfg.MODEL.BACKBONE.FREEZE_AT)
    return ViTPyramidBackbone(net, out_channels=cfg.MODEL.FPN.OUT_CHANNELS)
