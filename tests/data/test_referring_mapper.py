"""INPUT.MAPPER referring: sizes, masks, drawn expressions, and how often an image is trained on."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from dataset_files import unique_name
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.env import seed_all_rng
from mapper_samples import H, W, blocks, make_cfg, write_image

from d2seg.config.loading import load_config
from d2seg.data.build import build_test_loader, build_train_loader
from d2seg.data.catalog import kind_of, metadata_of
from d2seg.data.mappers import build_mapper
from d2seg.data.referring.training import collect_vocabulary, expanded_dicts
from d2seg.text import SPECIAL_WORDS

REPO = Path(__file__).resolve().parents[2]
LEFT_HALF = [[0.0, 0.0, W / 2, 0.0, W / 2, float(H), 0.0, float(H)]]


def rle_of(mask: np.ndarray) -> dict:
    return mask_util.encode(np.asfortranarray(mask, np.uint8))


def referring_dict(folder: Path) -> dict:
    """The left half as a polygon, the top rows as an RLE, and nothing."""
    top = np.zeros((H, W), bool)
    top[: H // 4] = True
    expressions = [
        {"id": 3, "sentence": "left", "annotation_id": 5, "segmentation": LEFT_HALF},
        {"id": 4, "sentence": "the top", "annotation_id": [6, 7], "segmentation": rle_of(top)},
        {"id": 9, "sentence": "a unicorn", "annotation_id": None, "segmentation": None},
    ]
    return {**write_image(folder, blocks()), "expressions": expressions}


def cfg_of(**input_keys):
    keys = {"REFERRING_SIZE": (80, 30), "EXPRESSIONS_PER_IMAGE": 3, **input_keys}
    return make_cfg("referring", **keys)


def test_a_training_sample_has_a_mask_for_each_expression(tmp_path: Path) -> None:
    entry = referring_dict(tmp_path)
    sample = build_mapper(cfg_of(), is_train=True)(entry)
    assert sample["image"].shape == (3, 80, 30)
    assert sample["image"].dtype == torch.uint8
    assert (sample["height"], sample["width"], sample["image_id"]) == (H, W, 7)
    assert sample["expressions"] == entry["expressions"]
    masks = sample["expression_masks"]
    assert masks.dtype == torch.bool
    expected = torch.zeros(3, 80, 30, dtype=torch.bool)
    expected[0, :, :15] = True
    expected[1, :20] = True
    assert torch.equal(masks, expected)


def test_at_test_time_all_expressions_and_no_masks(tmp_path: Path) -> None:
    entry = referring_dict(tmp_path)
    sample = build_mapper(cfg_of(EXPRESSIONS_PER_IMAGE=1), is_train=False)(entry)
    assert sample["expressions"] == entry["expressions"]
    assert sample["image"].shape == (3, 80, 30)
    assert "expression_masks" not in sample
    assert (sample["height"], sample["width"]) == (H, W)


def test_expressions_are_drawn_evenly_and_without_repetition(tmp_path: Path) -> None:
    mapper = build_mapper(cfg_of(EXPRESSIONS_PER_IMAGE=2), is_train=True)
    entry = referring_dict(tmp_path)
    seed_all_rng(0)
    drawn = [tuple(e["id"] for e in mapper(entry)["expressions"]) for _ in range(150)]
    assert set(drawn) == {(3, 4), (3, 9), (4, 9)}
    assert min(Counter(drawn).values()) > 30
    sample = mapper(entry)
    areas = {3: 80 * 15, 4: 20 * 30, 9: 0}
    for expression, mask in zip(sample["expressions"], sample["expression_masks"], strict=True):
        assert mask.sum() == areas[expression["id"]]


def test_colours_change_in_training_only(tmp_path: Path) -> None:
    entry = referring_dict(tmp_path)
    plain = build_mapper(cfg_of(), is_train=True)(entry)["image"]
    seed_all_rng(0)
    mapper = build_mapper(cfg_of(COLOR_AUG_SSD=True), is_train=True)
    samples = [mapper(entry) for _ in range(10)]
    assert any(not torch.equal(sample["image"], plain) for sample in samples)
    assert all(sample["expression_masks"].sum() == 80 * 15 + 20 * 30 for sample in samples)
    test_mapper = build_mapper(cfg_of(COLOR_AUG_SSD=True), is_train=False)
    assert all(torch.equal(test_mapper(entry)["image"], plain) for _ in range(10))


@pytest.mark.parametrize("change", [(0, -1), (1, 0), (-1, 1)])
def test_an_image_that_is_a_pixel_off_its_annotation(tmp_path: Path, change: tuple) -> None:
    entry = referring_dict(tmp_path)
    pixels = np.zeros((H + change[0], W + change[1]), np.uint8)
    write_image(tmp_path, pixels)
    sample = build_mapper(cfg_of(), is_train=True)(entry)
    assert (sample["height"], sample["width"]) == (H, W)
    assert sample["expression_masks"].sum(dim=(1, 2)).tolist() == [80 * 15, 20 * 30, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": H + 2}, f"image.png is {H}x{W} .*says {H + 2}x{W}; correct the annotation"),
        ({"file_name": "/nowhere.png"}, "cannot read the image /nowhere.png"),
        ({"expressions": None}, "image.png: INPUT.MAPPER referring needs 'expressions'"),
        (
            {"expressions": [{"sentence": "x", "segmentation": rle_of(np.ones((3, 3)))}]},
            "image.png: 'segmentation' of the expression 'x'",
        ),
    ],
)
def test_faults_are_named_in_one_line(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        build_mapper(cfg_of(), is_train=True)({**referring_dict(tmp_path), **change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"RANDOM_FLIP": "horizontal"}, "INPUT.RANDOM_FLIP is 'horizontal'.*RANDOM_FLIP none"),
        ({"REFERRING_SIZE": (0, 3)}, r"INPUT.REFERRING_SIZE is \(0, 3\)"),
        ({"EXPRESSIONS_PER_IMAGE": 0}, "INPUT.EXPRESSIONS_PER_IMAGE is 0"),
    ],
)
def test_settings_that_cannot_be(keys: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_mapper(make_cfg("referring", **keys), is_train=True)


@pytest.fixture
def name(tmp_path: Path) -> Iterator[str]:
    """Two images with 3 and 1 expressions, one without."""
    first = referring_dict(tmp_path)
    dicts = [
        first,
        {**first, "image_id": 8, "expressions": first["expressions"][:1]},
        {**first, "image_id": 9, "expressions": []},
    ]
    name = unique_name("referring_mapper_test")
    DatasetCatalog.register(name, lambda: dicts)
    MetadataCatalog.get(name).evaluator_type = "referring"
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@pytest.mark.parametrize(
    ("at_once", "times"), [(1, {7: 3, 8: 1}), (2, {7: 2, 8: 1}), (5, {7: 1, 8: 1})]
)
def test_an_image_is_repeated_by_its_expressions(name: str, at_once: int, times: dict) -> None:
    dicts = expanded_dicts([name], at_once)
    assert len(dicts) == sum(times.values())
    assert Counter(entry["image_id"] for entry in dicts) == times


def test_a_sampler_by_classes_is_refused(name: str) -> None:
    cfg = cfg_of()
    cfg.DATASETS.TRAIN = (name,)
    cfg.DATALOADER.SAMPLER_TRAIN = "RepeatFactorTrainingSampler"
    with pytest.raises(ValueError, match=r"SAMPLER_TRAIN RepeatFactor.* set it to TrainingSampler"):
        build_train_loader(cfg)


def test_loaders(name: str) -> None:
    cfg = cfg_of(EXPRESSIONS_PER_IMAGE=1)
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (name,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 4
    cfg.SEED = 3
    batch = next(iter(build_train_loader(cfg)))
    assert Counter(sample["image_id"] for sample in batch) == {7: 3, 8: 1}
    assert all(sample["expression_masks"].shape == (1, 80, 30) for sample in batch)
    [[sample], *_] = build_test_loader(cfg, name)
    assert len(sample["expressions"]) == 3


def test_the_vocabulary_of_a_data_set(name: str) -> None:
    words = collect_vocabulary([name]).words
    assert words == (*SPECIAL_WORDS, "left", "a", "the", "top", "unicorn")


def test_data_sets_without_expressions_are_refused() -> None:
    name = unique_name("no_expressions")
    dicts = [{"file_name": "a.png", "expressions": []}]
    DatasetCatalog.register(name, lambda: dicts)
    with pytest.raises(ValueError, match=f"no image of {name} has an expression"):
        expanded_dicts([name], 1)
    with pytest.raises(ValueError, match=f"the expressions of {name} have no words"):
        collect_vocabulary([name])
    del dicts[0]["expressions"]
    with pytest.raises(ValueError, match=f"data set '{name}' has no expressions"):
        expanded_dicts([name], 1)
    with pytest.raises(ValueError, match="there is no data set 'refcoco_nix'"):
        collect_vocabulary(["refcoco_nix"])


@pytest.mark.usefixtures("few_shapes")
def test_shapes_go_through() -> None:
    cfg = make_cfg("referring", REFERRING_SIZE=(128, 128), EXPRESSIONS_PER_IMAGE=4)
    entry = DatasetCatalog.get("shapes_referring_val")[0]
    sample = build_mapper(cfg, is_train=True)(entry)
    assert sample["image"].shape == (3, 128, 128)
    assert len(sample["expression_masks"]) == len(sample["expressions"]) == 4
    assert sample["expression_masks"].flatten(1).any(dim=1).all()


BASES = sorted(path.name for path in (REPO / "configs/_base_/datasets").glob("*_referring.yaml"))


@pytest.mark.parametrize("base", BASES)
def test_base_configs(base: str) -> None:
    cfg = load_config(str(REPO / "configs/_base_/datasets" / base))
    assert list(cfg.TEST.TASKS) == ["referring"]
    for dataset in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        assert dataset.startswith(base.split("_")[0])
        assert kind_of(metadata_of(dataset)) == "referring"
    assert cfg.INPUT.FORMAT == "RGB"  # the pixel statistics of ViT are given in it
    assert ((128, 128) if "shapes" in base else (480, 480)) == cfg.INPUT.REFERRING_SIZE
    assert build_mapper(cfg, is_train=True).is_train


def test_every_family_of_data_sets_has_a_base_config() -> None:
    assert len(BASES) == 7
