"""The multi-level aggregation of SETR-MLA (Zheng et al. 2021, section 3.3) on top of a ViT.

It is a part of the backbone, as published: it learns at the backbone's rate, and the auxiliary
heads take its maps.
"""

from functools import partial

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbones.vit import build_vit_backbone
from ..layers.conv import conv_norm


class MultiLevelAggregation(Backbone):
    """Adds the outputs of a ViT from the deepest block upwards; names and strides stay."""

    def __init__(self, *, bottom_up: Backbone, dim: int = 256, norm: str = "SyncBN") -> None:
        """``bottom_up``: a backbone all of whose outputs, shallow to deep, have one size."""
        super().__init__()
        self.bottom_up = bottom_up
        shapes = bottom_up.output_shape()
        channels = [shape.channels for shape in shapes.values()]
        self.norms = nn.ModuleList(map(LayerNorm2d, channels))
        conv = partial(conv_norm, norm=norm, activation=F.relu)
        self.laterals = nn.ModuleList(conv(c, dim) for c in channels)
        self.outputs = nn.ModuleList(conv(dim, dim, 3) for _ in channels)
        self._out_features = list(shapes)
        self._out_feature_channels = dict.fromkeys(shapes, dim)
        self._out_feature_strides = {name: shape.stride for name, shape in shapes.items()}

    @property
    def size_divisibility(self) -> int:
        return self.bottom_up.size_divisibility

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> {stage: (B, dim, h, w)}."""
        features = self.bottom_up(images)
        names = self._out_features
        aggregated: dict[str, Tensor] = {}
        total: Tensor | None = None
        for i in reversed(range(len(names))):
            lateral = self.laterals[i](self.norms[i](features[names[i]]))
            total = lateral if total is None else lateral + total
            aggregated[names[i]] = self.outputs[i](total)
        return {name: aggregated[name] for name in names}


@BACKBONE_REGISTRY.register()
def build_setr_mla_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> MultiLevelAggregation:
    """A ViT with the aggregation of MODEL.VIT.OUT_FEATURES on top."""
    return MultiLevelAggregation(
        bottom_up=build_vit_backbone(cfg, input_shape),
        dim=cfg.MODEL.SETR.HIDDEN_DIM,
        norm=cfg.MODEL.SEM_SEG_HEAD.NORM,
    )
