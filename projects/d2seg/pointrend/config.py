"""Keys that only PointRend for instances reads; those of MODEL.POINT_HEAD are shared."""

from detectron2.config import CfgNode as CN


def add_pointrend_config(cfg: CN) -> None:
    cfg.MODEL.POINTREND = node = CN()
    # the coarse mask head (section 4.1); ROI_MASK_HEAD.POOLER_RESOLUTION and CONV_DIM count, too
    node.COARSE_IN_FEATURES = ["p2"]
    node.COARSE_FC_DIM = 1024
    node.COARSE_NUM_FC = 2
    node.COARSE_SIZE = 7  # side of the coarse mask
    # Implicit PointRend (Cheng et al. 2022, "Pointly-Supervised Instance Segmentation")
    node.IMPLICIT = CN()
    node.IMPLICIT.USE_IMAGE_FEATURES = True
    node.IMPLICIT.USE_POSITIONS = True
    node.IMPLICIT.PARAMETER_PENALTY = 1e-5  # weight of the parameters' mean square
