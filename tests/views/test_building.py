"""TEST.TILES and TEST.AUG from the config to the model, and what they refuse."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.modeling import build_model
from PIL import Image
from torch import nn

from d2seg.config.checks import check_values
from d2seg.config.loading import load_config
from d2seg.config.tasks import tasks_of
from d2seg.data.augmentation import reading_config
from d2seg.data.mappers import build_mapper
from d2seg.engine import Trainer
from d2seg.prediction.building import build_predictor
from d2seg.views import check_views, with_views
from d2seg.views.tiled_model import TiledModel
from d2seg.views.viewed_model import ViewedModel
from families.segformer_config import small_config

TASKS = ("semantic", "instance", "panoptic")


@pytest.fixture(scope="module")
def weights(repo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> CfgNode:
    """The config of a small SegFormer with a file of weights."""
    cfg = small_config(repo_dir)
    torch.manual_seed(0)
    cfg.MODEL.WEIGHTS = str(tmp_path_factory.mktemp("weights") / "model.pth")
    torch.save({"model": build_model(cfg).state_dict()}, cfg.MODEL.WEIGHTS)
    cfg.INPUT.AUGMENTATION = "resize_crop"
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 200
    return cfg


def pixels(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def changed(cfg: CfgNode, *pairs: object) -> CfgNode:
    cfg = cfg.clone()
    cfg.merge_from_list(list(pairs))
    return cfg


def test_off_by_default(weights: CfgNode) -> None:
    assert not weights.TEST.TILES.ENABLED
    assert not weights.TEST.AUG.ENABLED
    model = nn.Identity()
    assert with_views(weights, model, tasks_of) is model


def test_the_predictor_obeys_both(weights: CfgNode) -> None:
    """One view and one tile give the plain result, bit by bit."""
    plain = build_predictor(weights, "semantic")(pixels(50, 70))["sem_seg"]
    one_view = ("TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", (64,), "TEST.AUG.FLIP", False)
    for pairs in (
        (*one_view, "TEST.AUG.MAX_SIZE", 200),
        ("TEST.TILES.ENABLED", True, "TEST.TILES.SIZE", 128, "TEST.TILES.OVERLAP", 32),
    ):
        predictor = build_predictor(changed(weights, *pairs), "semantic")
        assert isinstance(predictor.model, (ViewedModel, TiledModel))
        assert torch.equal(predictor(pixels(50, 70))["sem_seg"], plain)
    tiles = ("TEST.TILES.ENABLED", True, "TEST.TILES.SIZE", 64, "TEST.TILES.OVERLAP", 32)
    both = build_predictor(
        changed(weights, *tiles, "TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", (64,)), "semantic"
    )
    assert both(pixels(50, 70))["sem_seg"].shape == plain.shape


def test_tiles_of_a_per_pixel_model_are_its_sliding_windows(weights: CfgNode) -> None:
    slide = ("MODEL.PER_PIXEL.TEST.MODE", "slide", "MODEL.PER_PIXEL.TEST.CROP_SIZE", (64, 64))
    slide += ("MODEL.PER_PIXEL.TEST.STRIDE", (32, 32))
    tiles = ("TEST.TILES.ENABLED", True, "TEST.TILES.SIZE", 64, "TEST.TILES.OVERLAP", 32)
    expected, found = (
        build_predictor(changed(weights, *pairs), "semantic")(pixels(64, 150))["sem_seg"]
        for pairs in (slide, tiles)
    )
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("mapper", ["semantic", "detectron2"])
def test_views_are_resized_from_the_picture_itself(
    weights: CfgNode, tmp_path: Path, mapper: str
) -> None:
    Image.fromarray(pixels(50, 70)).save(tmp_path / "a.png")
    entry = {"file_name": str(tmp_path / "a.png")}
    for enabled, size in ((False, (64, 90)), (True, (50, 70))):
        cfg = changed(weights, "TEST.AUG.ENABLED", enabled, "INPUT.MAPPER", mapper)
        mapped = build_mapper(reading_config(cfg), is_train=False)
        assert mapper != "detectron2" or isinstance(mapped, DatasetMapper)
        assert mapped(entry)["image"].shape[1:] == size
        assert cfg.INPUT.MIN_SIZE_TEST == 64


def test_the_trainer_evaluates_in_tiles(weights: CfgNode, monkeypatch: pytest.MonkeyPatch) -> None:
    tested = []
    fake = staticmethod(lambda cfg, model: tested.append(model) or {})
    monkeypatch.setattr(Trainer, "test", fake)
    trainer = Trainer.__new__(Trainer)
    trainer.cfg = changed(weights, "TEST.TILES.ENABLED", True)
    trainer._stop_reason, trainer._average = "", None
    trainer.checkpointer = type("Holder", (), {"model": build_model(weights)})()
    trainer._evaluate()
    assert isinstance(tested[0], TiledModel)


BOTH = ("TEST.TILES", "TEST.AUG")


@pytest.mark.parametrize("key", BOTH)
@pytest.mark.parametrize(
    ("pairs", "tasks", "message"),
    [
        ((), ("referring",), "not for the task referring"),
        (("INPUT.MAPPER", "slice"), ("semantic",), "not for INPUT.MAPPER slice"),
        (("MODEL.KEYPOINT_ON", True), ("instance",), "not for keypoints"),
        (("MODEL.LOAD_PROPOSALS", True), ("instance",), "not for proposals"),
    ],
)
def test_what_neither_is_for(key: str, pairs: tuple, tasks: tuple, message: str) -> None:
    cfg = changed(load_config(None), f"{key}.ENABLED", True, *pairs)
    with pytest.raises(ValueError, match=f"{key}.ENABLED is {message}"):
        check_views(cfg, tasks)


@pytest.mark.parametrize(
    ("pairs", "tasks", "message"),
    [
        (("MODEL.PER_PIXEL.TEST.FLIP", True), ("semantic",), "the same a second time"),
        (("MODEL.PER_PIXEL.TEST.SCALES", [0.5, 1.0]), ("semantic",), "the same a second time"),
        (("INPUT.AUGMENTATION", "fixed_size"), ("semantic",), "takes one size"),
        (("MODEL.META_ARCHITECTURE", "PanopticDeepLab"), TASKS, "nothing but labels"),
        (("TEST.AUG.MIN_SIZES", ()), ("semantic",), "MIN_SIZES is"),
    ],
)
def test_what_augmentation_is_not_for(pairs: tuple, tasks: tuple, message: str) -> None:
    cfg = changed(load_config(None), "TEST.AUG.ENABLED", True, *pairs)
    with pytest.raises(ValueError, match=message):
        check_views(cfg, tasks)


def test_bad_values_end_a_run_before_it_starts(weights: CfgNode) -> None:
    cfg = changed(weights, "TEST.TILES.ENABLED", True, "TEST.TILES.OVERLAP", 2000)
    with pytest.raises(ValueError, match=r"TEST\.TILES\.OVERLAP is 2000"):
        check_values(cfg, training=False)
    with pytest.raises(ValueError, match=r"TEST\.TILES\.OVERLAP is 2000"):
        build_predictor(cfg, "semantic")
    small = changed(weights, "TEST.TILES.ENABLED", True, "TEST.TILES.SIZE", 8)
    small.TEST.TILES.OVERLAP = 2
    with pytest.raises(ValueError, match=r"TEST\.TILES\.SIZE is 8; this model takes tiles of 32"):
        build_predictor(small, "semantic")


def test_panoptic_results_of_other_models_are_not_merged(weights: CfgNode) -> None:
    cfg = changed(weights, "TEST.AUG.ENABLED", True)
    with pytest.raises(ValueError, match="not of Identity"):
        with_views(cfg, nn.Identity(), lambda _: ("panoptic",))


@pytest.mark.parametrize(
    "name",
    [
        "mask2former/ade20k_semantic_resnet50",
        "maskformer/ade20k_semantic_swin_base",
        "mask2former/cityscapes_semantic_resnet50",
        "maskformer/coco_stuff_10k_semantic_resnet50",
    ],
)
def test_the_published_multi_scale_sizes(repo_dir: Path, name: str) -> None:
    cfg = load_config(str(repo_dir / "configs" / f"{name}.yaml"))
    assert not cfg.TEST.AUG.ENABLED
    factors = [size / cfg.INPUT.MIN_SIZE_TEST for size in cfg.TEST.AUG.MIN_SIZES]
    assert factors == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
    check_views(changed(cfg, "TEST.AUG.ENABLED", True), ("semantic",))
