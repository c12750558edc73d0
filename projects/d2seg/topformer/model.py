"""TopFormer (Zhang et al. 2022) as a detectron2 meta-architecture."""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone

from ..backbones.outputs import decode_features
from ..per_pixel.segmentor import PerPixelSegmentor, per_pixel_arguments
from .head import SumHead


def build_head(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> SumHead:
    """
    Raises:
        ValueError: the features asked for are missing or differ in their channels.
    """
    features = decode_features(cfg, input_shape)
    channels = {name: shape.channels for name, shape in features.items()}
    if len(set(channels.values())) != 1:
        raise ValueError(
            "MODEL.SEM_SEG_HEAD.IN_FEATURES are to be added, but the channels differ in the "
            f"backbone {cfg.MODEL.BACKBONE.NAME}: {channels}"
        )
    return SumHead(
        in_features=tuple(sorted(features, key=lambda name: features[name].stride)),
        channels=next(iter(channels.values())),
        num_classes=cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
        depthwise=cfg.MODEL.TOPFORMER.DEPTHWISE_HEAD,
        dropout=cfg.MODEL.PER_PIXEL.DROPOUT,
        norm=cfg.MODEL.SEM_SEG_HEAD.NORM,
    )


@META_ARCH_REGISTRY.register()
class TopFormer(PerPixelSegmentor):
    """A mobile encoder and a head that adds its maps; no auxiliary heads."""

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        backbone = build_backbone(cfg)
        return per_pixel_arguments(cfg, backbone) | {
            "decode_head": build_head(cfg, backbone.output_shape()),
        }
