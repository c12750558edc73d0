"""A feature pyramid network (Lin et al. 2017) on any registered backbone."""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN
from detectron2.modeling.backbone.fpn import LastLevelMaxPool


@BACKBONE_REGISTRY.register()
def build_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """detectron2's FPN on MODEL.FPN.BOTTOM_UP: {"p2": ..., "p6": ...}, p6 a subsampled p5.

    Raises:
        ValueError: the bottom-up backbone lacks one of MODEL.FPN.IN_FEATURES.
    """
    node = cfg.MODEL.FPN
    bottom_up = BACKBONE_REGISTRY.get(node.BOTTOM_UP)(cfg, input_shape)
    missing = [name for name in node.IN_FEATURES if name not in bottom_up.output_shape()]
    if missing or not node.IN_FEATURES:
        raise ValueError(
            f"MODEL.FPN.IN_FEATURES is {list(node.IN_FEATURES)}; choose of "
            f"{list(bottom_up.output_shape())}, which {node.BOTTOM_UP} gives"
        )
    return FPN(
        bottom_up=bottom_up,
        in_features=node.IN_FEATURES,
        out_channels=node.OUT_CHANNELS,
        norm=node.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=node.FUSE_TYPE,
    )
