"""SegFormer (Xie et al. 2021) as a detectron2 meta-architecture."""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone

from ..backbones.outputs import decode_features
from ..per_pixel.segmentor import PerPixelSegmentor, per_pixel_arguments
from .head import SegFormerHead


def build_head(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> SegFormerHead:
    head = cfg.MODEL.SEM_SEG_HEAD
    return SegFormerHead(
        decode_features(cfg, input_shape),
        num_classes=head.NUM_CLASSES,
        embed_dim=cfg.MODEL.SEGFORMER.EMBED_DIM,
        norm=head.NORM,
        dropout=cfg.MODEL.PER_PIXEL.DROPOUT,
        level_norms=cfg.MODEL.SEGFORMER.LEVEL_NORMS,
    )


@META_ARCH_REGISTRY.register()
class SegFormer(PerPixelSegmentor):
    """Mix Transformer, or any other backbone with a pyramid, and the all-MLP head."""

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        backbone = build_backbone(cfg)
        return per_pixel_arguments(cfg, backbone) | {
            "decode_head": build_head(cfg, backbone.output_shape()),
        }
