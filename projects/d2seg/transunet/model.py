"""TransUNet (Chen et al. 2021) as a detectron2 meta-architecture."""

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone

from ..per_pixel.segmentor import PerPixelSegmentor, per_pixel_arguments
from .decoder import CascadedUpsampler


@META_ARCH_REGISTRY.register()
class TransUNet(PerPixelSegmentor):
    """A vision transformer, usually on the features of a ResNet, under a U-Net's decoder."""

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        node = cfg.MODEL.TRANSUNET
        backbone = build_backbone(cfg)
        decode_head = CascadedUpsampler(
            backbone.output_shape(),
            num_classes=cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            skip_features=tuple(node.SKIP_FEATURES),
            head_channels=node.HEAD_CHANNELS,
            decoder_channels=tuple(node.DECODER_CHANNELS),
        )
        return per_pixel_arguments(cfg, backbone) | {"decode_head": decode_head}
