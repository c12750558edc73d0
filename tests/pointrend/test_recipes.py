"""The configs say what was published (Kirillov et al. 2020; detectron2's project)."""

from pathlib import Path

import pytest
from detectron2.config import CfgNode

from d2seg.config.loading import load_config

# learning rate, iterations, steps, batch, classes
INSTANCE = {
    "coco_instance_resnet50_1x": (0.02, 90_000, (60_000, 80_000), 16, 80),
    "coco_instance_resnet50_3x": (0.02, 270_000, (210_000, 250_000), 16, 80),
    "coco_instance_resnet101_3x": (0.02, 270_000, (210_000, 250_000), 16, 80),
    "coco_instance_resnext101_3x": (0.02, 270_000, (210_000, 250_000), 16, 80),
    "coco_instance_implicit_resnet50_1x": (0.02, 90_000, (60_000, 80_000), 16, 80),
    "coco_instance_implicit_resnet50_3x": (0.02, 270_000, (210_000, 250_000), 16, 80),
    "cityscapes_instance_resnet50": (0.01, 24_000, (18_000,), 8, 8),
    # the data set is newer than the paper: detectron2's schedule of Mask R-CNN
    "lvis_v1_instance_resnet50": (0.02, 180_000, (120_000, 160_000), 16, 1203),
}
# learning rate, iterations, batch, crop
SEMANTIC = {
    "cityscapes_semantic_resnet101": (0.01, 65_000, 32, (512, 1024)),
    "cityscapes_semantic_deeplab_resnet101c": (0.01, 90_000, 16, (512, 1024)),
}


def load(repo_dir: Path, name: str) -> CfgNode:
    return load_config(str(repo_dir / "configs" / "pointrend" / f"{name}.yaml"))


@pytest.mark.parametrize("name", INSTANCE)
def test_instance(repo_dir: Path, name: str) -> None:
    cfg = load(repo_dir, name)
    solver, points = cfg.SOLVER, cfg.MODEL.POINT_HEAD
    recipe = (solver.BASE_LR, solver.MAX_ITER, tuple(solver.STEPS), solver.IMS_PER_BATCH)
    assert (*recipe, cfg.MODEL.ROI_HEADS.NUM_CLASSES) == INSTANCE[name]
    assert solver.AUTO_SCALE.REFERENCE_BATCH_SIZE == solver.IMS_PER_BATCH
    assert (solver.OPTIMIZER, solver.WEIGHT_DECAY) == ("SGD", 1e-4)
    assert (points.TRAIN_NUM_POINTS, points.SUBDIVISION_NUM_POINTS) == (196, 784)
    assert (3 if "implicit" in name else 5) == points.SUBDIVISION_STEPS
    assert (points.FC_DIM, points.NUM_FC, points.COARSE_PRED_EACH_LAYER) == (256, 3, True)
    assert cfg.MODEL.BACKBONE.FREEZE_AT == 2
    assert ("implicit" not in name) == cfg.MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES
    assert cfg.INPUT.FORMAT == "BGR"
    assert cfg.INPUT.MASK_FORMAT == "bitmask"


@pytest.mark.parametrize("name", SEMANTIC)
def test_semantic(repo_dir: Path, name: str) -> None:
    cfg = load(repo_dir, name)
    solver, points = cfg.SOLVER, cfg.MODEL.POINT_HEAD
    recipe = (solver.BASE_LR, solver.MAX_ITER, solver.IMS_PER_BATCH)
    assert (*recipe, tuple(cfg.INPUT.CROP.SIZE)) == SEMANTIC[name]
    assert solver.AUTO_SCALE.REFERENCE_BATCH_SIZE == solver.IMS_PER_BATCH
    assert (points.TRAIN_NUM_POINTS, points.SUBDIVISION_STEPS) == (2048, 2)
    assert (points.SUBDIVISION_NUM_POINTS, points.COARSE_PRED_EACH_LAYER) == (8192, False)
    if "deeplab" not in name:
        assert tuple(solver.STEPS) == (40_000, 55_000)
        assert cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA == 0.75


def test_the_coarse_model_differs_in_the_point_head_alone(repo_dir: Path) -> None:
    fine, coarse = (load(repo_dir, f"shapes_semantic_small{x}") for x in ("", "_coarse"))
    assert fine.MODEL.POINT_HEAD.ENABLED
    assert not coarse.MODEL.POINT_HEAD.ENABLED
    coarse.MODEL.POINT_HEAD.ENABLED = True
    assert coarse == fine
