"""detectron2's own PointRend and ours with the same weights, on a small backbone."""

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.projects.deeplab import add_deeplab_config
from detectron2.projects.point_rend import add_pointrend_config
from detectron2.structures import BitMasks, Boxes, Instances
from torch import nn

from d2seg.checkpoint.conversion import to_d2seg
from d2seg.config import add_d2seg_config

NUM_CLASSES = 5


def shrink(cfg: CfgNode) -> None:
    """Both sides share these keys."""
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.MASK_ON = True
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.DEPTH = 18
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.MODEL.RESNETS.STEM_TYPE = "basic"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 32
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32], [64], [128], [256]]
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 50
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = 50
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = NUM_CLASSES
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 1
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 64
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    cfg.MODEL.ROI_MASK_HEAD.POOLER_TYPE = ""
    cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION = 14
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 16  # below the features' channels, so that they are reduced
    cfg.INPUT.MASK_FORMAT = "bitmask"
    cfg.TEST.DETECTIONS_PER_IMAGE = 12


def reference_config(head: str = "PointRendMaskHead") -> CfgNode:
    cfg = get_cfg()
    add_pointrend_config(cfg)
    add_deeplab_config(cfg)
    shrink(cfg)
    cfg.MODEL.ROI_MASK_HEAD.NAME = head
    cfg.MODEL.ROI_MASK_HEAD.POINT_HEAD_ON = True
    cfg.MODEL.ROI_MASK_HEAD.FC_DIM = 64
    cfg.MODEL.POINT_HEAD.NUM_CLASSES = NUM_CLASSES
    cfg.MODEL.POINT_HEAD.FC_DIM = 32
    if head == "ImplicitPointRendMaskHead":
        cfg.MODEL.POINT_HEAD.NAME = "ImplicitPointHead"
        cfg.MODEL.POINT_HEAD.SUBDIVISION_STEPS = 3
    return cfg


def our_config(head: str = "PointRendInstanceHead") -> CfgNode:
    cfg = get_cfg()
    add_d2seg_config(cfg)
    shrink(cfg)
    cfg.MODEL.ROI_MASK_HEAD.NAME = head
    cfg.MODEL.POINTREND.COARSE_FC_DIM = 64
    cfg.MODEL.POINT_HEAD.FC_DIM = 32
    if head == "ImplicitPointRendInstanceHead":
        cfg.MODEL.POINT_HEAD.SUBDIVISION_STEPS = 3
    return cfg


def make_semantic(cfg: CfgNode, decode_head: str) -> None:
    """Both sides share these keys, too."""
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = NUM_CLASSES
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 255
    cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM = 64
    cfg.MODEL.SEM_SEG_HEAD.LOSS_TYPE = "cross_entropy"
    cfg.MODEL.POINT_HEAD.IN_FEATURES = ["p2"]
    cfg.MODEL.POINT_HEAD.COARSE_PRED_EACH_LAYER = False
    cfg.MODEL.POINT_HEAD.TRAIN_NUM_POINTS = 400
    cfg.MODEL.POINT_HEAD.SUBDIVISION_STEPS = 2
    cfg.MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS = 300
    if decode_head == "DeepLabV3PlusHead":
        cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
        cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["res2", "res5"]
        cfg.MODEL.SEM_SEG_HEAD.PROJECT_FEATURES = ["res2"]
        cfg.MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS = [32]
        cfg.MODEL.SEM_SEG_HEAD.ASPP_CHANNELS = 64
        cfg.MODEL.SEM_SEG_HEAD.ASPP_DROPOUT = 0.0
        cfg.MODEL.POINT_HEAD.IN_FEATURES = ["res2"]


def reference_semantic_config(decode_head: str) -> CfgNode:
    cfg = reference_config()
    cfg.MODEL.META_ARCHITECTURE = "SemanticSegmentor"
    cfg.MODEL.SEM_SEG_HEAD.NAME = "PointRendSemSegHead"
    cfg.MODEL.POINT_HEAD.COARSE_SEM_SEG_HEAD_NAME = decode_head
    make_semantic(cfg, decode_head)
    return cfg


def our_semantic_config(decode_head: str) -> CfgNode:
    cfg = our_config()
    cfg.MODEL.META_ARCHITECTURE = "PointRendSemantic"
    cfg.MODEL.SEM_SEG_HEAD.NAME = decode_head
    cfg.MODEL.POINT_HEAD.ENABLED = True
    cfg.TEST.TASKS = ["semantic"]
    make_semantic(cfg, decode_head)
    return cfg


def semantic_example(height: int, width: int, seed: int = 0) -> dict:
    """Blocks of labels, some of them ignored."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, NUM_CLASSES + 1, (height // 8, width // 8), generator=generator)
    blocks[blocks == NUM_CLASSES] = 255
    labels = blocks.repeat_interleave(8, 0).repeat_interleave(8, 1)
    image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    return {"image": image, "sem_seg": labels, "height": height, "width": width}


def same_weights(reference: nn.Module, ours: nn.Module) -> None:
    """Draw weights for the reference, large enough to matter, and give them to ours, in place."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            if any(part in name for part in ("mask_head", "sem_seg_head", "cls_score")):
                fan_in = parameter[0].numel() if parameter.dim() > 1 else 10
                parameter.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
            if "parameter_head.prediction" in name:  # gives weights itself
                parameter *= 0.1
        if "p2" in reference.backbone.output_shape():  # features of order 1
            features = reference.backbone(200 * torch.rand(1, 3, 64, 64, generator=generator) - 100)
            for i, name in zip(range(2, 6), ("p2", "p3", "p4", "p5"), strict=True):
                getattr(reference.backbone, f"fpn_output{i}").weight /= features[name].std()
    state, layout = to_d2seg(reference.state_dict())
    assert layout is not None
    ours.load_state_dict(state)


def build_pair(reference: CfgNode, ours: CfgNode, seed: int = 0) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(seed)
    pair = build_model(reference), build_model(ours)
    same_weights(*pair)
    return pair


def example(height: int, width: int, labels: list[int], seed: int = 0) -> dict:
    """A mapped training example; each mask is a disc in a box of its own."""
    generator = torch.Generator().manual_seed(seed)
    instances = Instances((height, width))
    instances.gt_classes = torch.tensor(labels, dtype=torch.int64)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    masks = []
    for _ in labels:
        centre = torch.rand(2, generator=generator) * torch.tensor([width, height])
        radius = 6 + 10 * torch.rand(1, generator=generator)
        masks.append((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2)
    bitmasks = BitMasks(torch.stack(masks) if masks else torch.zeros(0, height, width))
    instances.gt_masks = bitmasks
    instances.gt_boxes = bitmasks.get_bounding_boxes() if masks else Boxes(torch.zeros(0, 4))
    image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    return {"image": image, "instances": instances, "height": height, "width": width}
