"""Mask2Former, COCO panoptic, ResNet-50, as a LazyConfig of detectron2: the recipe of
configs/mask2former/coco_panoptic_resnet50.yaml, for detectron2's tools/lazyconfig_train_net.py."""

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L
from detectron2.data import (
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.layers import ShapeSpec
from detectron2.model_zoo import get_config
from detectron2.modeling.backbone import BasicStem, ResNet
from detectron2.solver import WarmupParamScheduler
from detectron2.solver.build import get_default_optimizer_params
from fvcore.common.param_scheduler import MultiStepParamScheduler

from d2seg.data.mappers import PanopticMapper
from d2seg.engine.lazy import ClippingAdamW, backbone_tenth
from d2seg.evaluation.panoptic_evaluation import PanopticEvaluator
from d2seg.mask2former.model import Mask2Former
from d2seg.mask2former.pixel_decoder import DeformableEncoder, DeformablePixelDecoder
from d2seg.mask2former.point_criterion import PointSetCriterion
from d2seg.mask2former.point_matcher import PointMatcher
from d2seg.mask2former.transformer_decoder import MaskedAttentionDecoder
from d2seg.mask_classification.segmentor import PostprocessingSettings

NUM_CLASSES, NUM_THINGS, IGNORE_VALUE = 133, 80, 255
SIDE = 1024  # of the training crops
MAX_ITER = 368750

model = L(Mask2Former)(
    backbone=L(ResNet)(
        stem=L(BasicStem)(in_channels=3, out_channels=64, norm="FrozenBN"),
        stages=L(ResNet.make_default_stages)(depth=50, stride_in_1x1=False, norm="FrozenBN"),
        out_features=["res2", "res3", "res4", "res5"],
    ),
    pixel_decoder=L(DeformablePixelDecoder)(
        input_shape={
            f"res{i + 2}": L(ShapeSpec)(channels=256 * 2**i, stride=4 * 2**i) for i in range(4)
        },
        encoder=L(DeformableEncoder)(dim="${..conv_dim}", num_levels=3, num_layers=6),
        encoder_features=["res3", "res4", "res5"],
        conv_dim=256,
        mask_dim=256,
        norm="GN",
    ),
    transformer_decoder=L(MaskedAttentionDecoder)(
        scale_channels=[256, 256, 256],
        num_classes="${..criterion.num_classes}",
        num_queries=100,
        num_layers=9,
    ),
    criterion=L(PointSetCriterion)(
        num_classes=NUM_CLASSES,
        matcher=L(PointMatcher)(
            class_weight=2.0, mask_weight=5.0, dice_weight=5.0, mask_loss="bce", num_points=12544
        ),
        no_object_weight=0.1,
        oversample_ratio=3.0,
        importance_ratio=0.75,
    ),
    inference=L(PostprocessingSettings)(
        tasks=["panoptic", "instance"],
        thing_ids=list(range(NUM_THINGS)),
        object_mask_threshold=0.8,
        overlap_threshold=0.8,
        max_instances=100,
        score_threshold=0.0,
        intersect_panoptic=True,
        semantic_output="scores",
    ),
    size_divisibility=32,
    pixel_mean=[123.675, 116.28, 103.53],
    pixel_std=[58.395, 57.12, 57.375],
)

dataloader = {
    "train": L(build_detection_train_loader)(
        dataset=L(get_detection_dataset_dicts)(
            names="coco_2017_train_panoptic", filter_empty=False
        ),
        mapper=L(PanopticMapper)(
            is_train=True,
            augmentations=[
                L(T.ResizeScale)(
                    min_scale=0.1, max_scale=2.0, target_height=SIDE, target_width=SIDE
                ),
                L(T.FixedSizeCrop)(crop_size=(SIDE, SIDE), pad=False),
                L(T.RandomFlip)(),
                L(T.FixedSizeCrop)(crop_size=(SIDE, SIDE), pad_value=128),
            ],
            image_format="RGB",
            num_classes="${....model.criterion.num_classes}",
            ignore_value=IGNORE_VALUE,
        ),
        total_batch_size=16,
        num_workers=4,
    ),
    "test": L(build_detection_test_loader)(
        dataset=L(get_detection_dataset_dicts)(names="coco_2017_val_panoptic", filter_empty=False),
        mapper=L(PanopticMapper)(
            is_train=False,
            augmentations=[L(T.ResizeShortestEdge)(short_edge_length=800, max_size=1333)],
            image_format="${...train.mapper.image_format}",
            num_classes="${...train.mapper.num_classes}",
            ignore_value=IGNORE_VALUE,
        ),
        num_workers=4,
    ),
    "evaluator": L(PanopticEvaluator)(dataset_name="${..test.dataset.names}"),
}

optimizer = L(ClippingAdamW)(
    params=L(get_default_optimizer_params)(
        base_lr="${..lr}", weight_decay_norm=0.0, lr_factor_func=backbone_tenth
    ),
    lr=1e-4,
    weight_decay=0.05,
    max_norm=0.01,
)

lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(
        values=[1.0, 0.1, 0.01], milestones=[327778, 355092], num_updates=MAX_ITER
    ),
    warmup_length=10 / MAX_ITER,
    warmup_factor=1.0,
)

train = get_config("common/train.py").train
train.init_checkpoint = "detectron2://ImageNetPretrained/torchvision/R-50.pkl"
train.max_iter = MAX_ITER
train.amp.enabled = True
