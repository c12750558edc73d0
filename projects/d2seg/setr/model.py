"""SETR (Zheng et al. 2021) as a detectron2 meta-architecture."""

from collections.abc import Callable

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from torch import nn

from ..backbones.outputs import decode_features, select_features
from ..per_pixel.segmentor import PerPixelSegmentor, per_pixel_arguments
from .heads import MLAAuxiliaryHead, MLAHead, UpsamplingHead

Heads = tuple[nn.Module, list[nn.Module]]
Shapes = dict[str, ShapeSpec]


def build_heads(cfg: CfgNode, input_shape: Shapes) -> Heads:
    """The decode head and the auxiliary heads that MODEL.SETR asks for.

    Raises:
        ValueError: an unknown head; features that the backbone does not give.
    """
    build: dict[str, Callable[[CfgNode, Shapes], Heads]] = {
        "naive": _build_naive_heads,
        "pup": _build_pup_heads,
        "mla": _build_mla_heads,
    }
    name = cfg.MODEL.SETR.HEAD
    if name not in build:
        raise ValueError(f"MODEL.SETR.HEAD is '{name}'; it is one of {list(build)}")
    decoded = list(decode_features(cfg, input_shape))
    if name != "mla" and len(decoded) != 1:
        raise ValueError(f"MODEL.SEM_SEG_HEAD.IN_FEATURES is {decoded}; the {name} head takes one")
    auxiliary = cfg.MODEL.SETR.AUX_IN_FEATURES
    if auxiliary:
        select_features(cfg, "MODEL.SETR.AUX_IN_FEATURES", auxiliary, input_shape)
    return build[name](cfg, input_shape)


def _build_naive_heads(cfg: CfgNode, input_shape: Shapes) -> Heads:
    decode_feature, *auxiliary_features = _upsampling_features(cfg)
    return (
        _upsampling_head(cfg, input_shape, decode_feature),
        [_upsampling_head(cfg, input_shape, feature) for feature in auxiliary_features],
    )


def _build_pup_heads(cfg: CfgNode, input_shape: Shapes) -> Heads:
    decode_feature, *auxiliary_features = _upsampling_features(cfg)
    return (
        _upsampling_head(cfg, input_shape, decode_feature, num_convs=4, kernel_size=3),
        [
            _upsampling_head(cfg, input_shape, feature, kernel_size=3, upsampling=4)
            for feature in auxiliary_features
        ],
    )


def _upsampling_features(cfg: CfgNode) -> list[str]:
    return [*cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES, *cfg.MODEL.SETR.AUX_IN_FEATURES]


def _upsampling_head(
    cfg: CfgNode, input_shape: Shapes, feature: str, **layers: int
) -> UpsamplingHead:
    return UpsamplingHead(
        in_feature=feature,
        in_channels=input_shape[feature].channels,
        num_classes=cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
        hidden_dim=cfg.MODEL.SETR.HIDDEN_DIM,
        norm=cfg.MODEL.SEM_SEG_HEAD.NORM,
        **layers,
    )


def _build_mla_heads(cfg: CfgNode, input_shape: Shapes) -> Heads:
    head, setr = cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.SETR
    decode_head = MLAHead(
        in_features=tuple(head.IN_FEATURES),
        in_channels=input_shape[head.IN_FEATURES[0]].channels,
        num_classes=head.NUM_CLASSES,
        stream_dim=setr.MLA_STREAM_DIM,
        norm=head.NORM,
    )
    auxiliary_heads = [
        MLAAuxiliaryHead(
            in_feature=feature,
            in_channels=input_shape[feature].channels,
            num_classes=head.NUM_CLASSES,
        )
        for feature in setr.AUX_IN_FEATURES
    ]
    return decode_head, auxiliary_heads


@META_ARCH_REGISTRY.register()
class SETR(PerPixelSegmentor):
    """A plain ViT as the encoder, one of three convolutional decoders, auxiliary heads."""

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        backbone = build_backbone(cfg)
        decode_head, auxiliary_heads = build_heads(cfg, backbone.output_shape())
        return per_pixel_arguments(cfg, backbone) | {
            "decode_head": decode_head,
            "auxiliary_heads": auxiliary_heads,
        }
