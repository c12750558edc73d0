"""Every file in configs/ gives a model and a mapper, and says what was published."""

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from d2seg.configuration import load_config, tasks_of
from d2seg.data.catalog import check_classes
from d2seg.data.mappers import build_mapper

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
LEAVES = sorted(
    path.relative_to(CONFIGS)
    for path in CONFIGS.rglob("*.yaml")
    if not any(part.startswith("_base") for part in path.relative_to(CONFIGS).parts)
)
INITIALISERS = [name for name in dir(torch.nn.init) if name.endswith("_") and name[0] != "_"]


@pytest.fixture
def uninitialised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models without random numbers in them: building all of them takes a minute with."""
    for name in INITIALISERS:
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *args, **kwargs: tensor)


def load(path: Path) -> CfgNode:
    cfg = load_config(str(CONFIGS / path))
    cfg.MODEL.DEVICE = "cpu"
    return cfg


@pytest.mark.parametrize("path", LEAVES, ids=str)
def test_builds_model_and_mappers(path: Path, uninitialised: None) -> None:
    cfg = load(path)
    check_classes(cfg)
    assert tasks_of(cfg)
    for is_train in (True, False):
        assert callable(build_mapper(cfg, is_train))
    model = build_model(cfg)
    assert any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("path", LEAVES, ids=str)
def test_name_says_data_set_and_task(path: Path) -> None:
    """<method>/<dataset>_<task>_<backbone>.yaml"""
    cfg = load(path)
    assert any(f"_{task}_" in path.name for task in tasks_of(cfg)), path


# learning rate, iterations, batch, crop, weight decay and backbone factor, as published
PUBLISHED = {
    "ade20k_semantic_resnet50": (1e-4, 160_000, 16, (512, 512), 1e-4, 0.1),
    "ade20k_semantic_swin_tiny": (6e-5, 160_000, 16, (512, 512), 0.01, 1.0),
    "ade20k_semantic_swin_large": (6e-5, 160_000, 16, (640, 640), 0.01, 1.0),
    "ade20k_full_semantic_resnet50": (1e-4, 200_000, 16, (512, 512), 1e-4, 0.1),
    "ade20k_panoptic_resnet50": (1e-4, 720_000, 16, (640, 640), 1e-4, 0.1),
    "coco_panoptic_resnet50": (1e-4, 554_400, 64, (384, 600), 1e-4, 0.1),
    "coco_panoptic_swin_base": (6e-5, 554_400, 64, (384, 600), 0.01, 1.0),
    "coco_stuff_10k_semantic_resnet101c": (1e-4, 60_000, 32, (640, 640), 1e-4, 0.1),
    "cityscapes_semantic_resnet101": (1e-4, 90_000, 16, (512, 1024), 1e-4, 0.1),
    "mapillary_vistas_semantic_resnet50": (1e-4, 300_000, 16, (1280, 1280), 1e-4, 0.1),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipe(name: str) -> None:
    cfg = load(Path("maskformer") / f"{name}.yaml")
    solver = cfg.SOLVER
    crop = tuple(cfg.INPUT.CROP.SIZE)
    recipe = (solver.BASE_LR, solver.MAX_ITER, solver.IMS_PER_BATCH, crop)
    assert (*recipe, solver.WEIGHT_DECAY, solver.BACKBONE_MULTIPLIER) == PUBLISHED[name]
    assert solver.CLIP_GRADIENTS.CLIP_TYPE == "full_model"
    assert solver.CLIP_GRADIENTS.CLIP_VALUE == 0.01
    assert cfg.SOLVER.AUTO_SCALE.REFERENCE_BATCH_SIZE == solver.IMS_PER_BATCH
    weights = cfg.MODEL.MASK_CLASSIFICATION
    losses = (weights.CLASS_WEIGHT, weights.MASK_WEIGHT, weights.DICE_WEIGHT)
    assert losses == (1.0, 20.0, 1.0)
    assert weights.NO_OBJECT_WEIGHT == 0.1


def test_no_tags_in_yaml() -> None:
    """A config is data: nothing in it is run."""
    assert not [path for path in CONFIGS.rglob("*.yaml") if "!!python" in path.read_text()]
