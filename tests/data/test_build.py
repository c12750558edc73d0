"""d2seg.data.build: batches, seeds, and which images of a data set are kept."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from mapper_samples import make_cfg
from PIL import Image

from d2seg.data.build import build_test_loader, build_train_loader

NUM_IMAGES = 12


def _entries(folder: Path) -> list[dict]:
    """Images of one grey level each, with the ground truth of every task."""
    ids = np.zeros((16, 20, 3), np.uint8)
    ids[4:, 4:, 0] = 1
    Image.fromarray(ids).save(folder / "panoptic.png")
    Image.fromarray(ids[..., 0]).save(folder / "labels.png")
    entries = []
    for number in range(NUM_IMAGES):
        image = np.full((16, 20, 3), 10 * number, np.uint8)
        image[:, :, 0] = np.arange(20)
        Image.fromarray(image).save(folder / f"{number}.png")
        mask = ids[..., 0] == 1
        entries.append(
            {
                "file_name": str(folder / f"{number}.png"),
                "image_id": number,
                "height": 16,
                "width": 20,
                "sem_seg_file_name": str(folder / "labels.png"),
                "pan_seg_file_name": str(folder / "panoptic.png"),
                "segments_info": [{"id": 1, "category_id": 2, "iscrowd": 0}],
                "annotations": [{"category_id": 2, "segmentation": mask, "iscrowd": 0}],
            }
        )
    return entries


@pytest.fixture
def entries(tmp_path) -> Iterator[list[dict]]:
    """Dataset dicts that are registered as "build_test" for as long as the test runs."""
    entries = _entries(tmp_path)
    DatasetCatalog.register("build_test", lambda: entries)
    MetadataCatalog.get("build_test").thing_classes = [str(i) for i in range(10)]
    yield entries
    DatasetCatalog.remove("build_test")
    MetadataCatalog.remove("build_test")


def _cfg(mapper: str = "semantic", **keys) -> CfgNode:
    cfg = make_cfg(mapper)
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ("build_test",)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 4
    cfg.SEED = 3
    for key, value in keys.items():
        cfg.merge_from_list([key.replace("__", "."), value])
    return cfg


def _draw(cfg: CfgNode, num_batches: int) -> list[list[dict]]:
    batches = iter(build_train_loader(cfg))
    return [next(batches) for _ in range(num_batches)]


def _samples(batches: list[list[dict]]) -> list[dict]:
    return [sample for batch in batches for sample in batch]


def _ids(batches: list[list[dict]]) -> list[list[int]]:
    return [[sample["image_id"] for sample in batch] for batch in batches]


def _all_ids(batches: list[list[dict]]) -> list[int]:
    return [sample["image_id"] for sample in _samples(batches)]


@pytest.mark.parametrize("mapper", ["semantic", "panoptic", "instance"])
def test_an_epoch_has_every_image_once(entries, mapper: str):
    batches = _draw(_cfg(mapper), 3)
    assert [len(batch) for batch in batches] == [4, 4, 4]
    assert sorted(_all_ids(batches)) == list(range(NUM_IMAGES))
    for sample in _samples(batches):
        assert sample["image"][1, 0, 0] == 10 * sample["image_id"]
        assert 2 in sample["instances"].gt_classes or mapper == "semantic"


@pytest.mark.parametrize(("steps", "size"), [(1, 4), (2, 2), (4, 1)])
def test_a_step_is_shared_out_over_its_backward_passes(entries, steps: int, size: int):
    batches = _draw(_cfg(SOLVER__ACCUMULATE_STEPS=steps), 2 * steps)
    assert [len(batch) for batch in batches] == [size] * 2 * steps
    whole = _draw(_cfg(), 2)
    # The same images make up an optimizer step, however many passes it takes (here all images
    # have one shape; detectron2's grouping by aspect ratio would mix others).
    assert _all_ids(batches) == _all_ids(whole)


def test_processes_share_a_step(entries, monkeypatch):
    """Two processes together see what one process sees."""
    whole = _ids(_draw(_cfg(), 3))
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr("detectron2.data.build.get_world_size", lambda: 2)
    parts = []
    for rank in range(2):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        parts.append(_ids(_draw(_cfg(), 3)))
    for batch, first, second in zip(whole, *parts, strict=True):
        assert len(first) == len(second) == 2
        assert sorted(batch) == sorted(first + second)


@pytest.mark.parametrize(
    ("images", "steps", "processes"), [(4, 3, 1), (4, 2, 4), (2, 4, 1), (4, 0, 1)]
)
def test_numbers_that_do_not_divide(entries, monkeypatch, images, steps, processes):
    monkeypatch.setattr(comm, "get_world_size", lambda: processes)
    cfg = _cfg(SOLVER__IMS_PER_BATCH=images, SOLVER__ACCUMULATE_STEPS=steps)
    message = (
        rf"SOLVER\.IMS_PER_BATCH {images} must be a multiple of SOLVER\.ACCUMULATE_STEPS {steps} "
        rf"times the number of processes {processes}"
    )
    with pytest.raises(ValueError, match=message):
        build_train_loader(cfg)


def _images(cfg: CfgNode) -> list[torch.Tensor]:
    return [sample["image"] for sample in _samples(_draw(cfg, 3))]


def _random_cfg(num_workers: int, seed: int) -> CfgNode:
    return _cfg(
        "panoptic",
        SEED=seed,
        DATALOADER__NUM_WORKERS=num_workers,
        INPUT__RANDOM_FLIP="horizontal",
        INPUT__COLOR_AUG_SSD=True,
    )


@pytest.mark.parametrize("num_workers", [0, 2])
def test_same_seed_same_samples(entries, num_workers: int):
    runs = []
    for seed in (3, 3, 4):
        seed_all_rng(seed)  # as detectron2 does before it builds anything
        runs.append(_images(_random_cfg(num_workers, seed)))
        torch.rand(5)
    for first, second in zip(*runs[:2], strict=True):
        torch.testing.assert_close(first, second)
    assert any(not torch.equal(a, b) for a, b in zip(runs[0], runs[2], strict=True))


def test_order_and_workers_depend_on_the_seed_alone(entries):
    """Whatever was drawn before the loader is built."""
    runs = []
    for before in (0, 7):
        seed_all_rng(99)
        np.random.rand(before)
        torch.rand(before + 1)
        runs.append(_images(_random_cfg(2, 3)))
    for first, second in zip(*runs, strict=True):
        torch.testing.assert_close(first, second)


def test_no_seed_draws_another_order(entries):
    orders = {tuple(_all_ids(_draw(_cfg(SEED=-1), 3))) for _ in range(4)}
    assert len(orders) > 1


def _kept(cfg: CfgNode) -> set[int]:
    return set(_all_ids(_draw(cfg, 6)))


def test_images_without_targets_are_left_out(entries):
    entries[0]["segments_info"] = []
    entries[1]["segments_info"][0]["iscrowd"] = 1
    entries[2]["annotations"] = []
    entries[3]["annotations"][0]["iscrowd"] = 1
    everything = set(range(NUM_IMAGES))
    assert _kept(_cfg("panoptic")) == everything - {0, 1}
    assert _kept(_cfg("instance")) == everything - {2, 3}
    assert _kept(_cfg("semantic")) == everything
    entries[0]["segments_info"] = entries[1]["segments_info"]  # crowd: the PNG lists it
    for mapper in ("panoptic", "instance"):
        keep_all = _cfg(mapper, DATALOADER__FILTER_EMPTY_ANNOTATIONS=False)
        assert _kept(keep_all) == everything


def test_no_image_has_a_target(entries):
    for entry in entries:
        entry["segments_info"] = []
    with pytest.raises(ValueError, match=r"DATASETS\.TRAIN \('build_test',\) has a segment that"):
        build_train_loader(_cfg("panoptic"))


def test_unknown_sampler(entries):
    with pytest.raises(ValueError, match=r"SAMPLER_TRAIN is 'Weighted.*RepeatFactorTraining"):
        build_train_loader(_cfg(DATALOADER__SAMPLER_TRAIN="WeightedTrainingSampler"))


def test_other_samplers_are_detectron2s(entries):
    for entry in entries[1:]:
        entry["annotations"] = [{**entry["annotations"][0], "category_id": 5}]
    cfg = _cfg("instance", DATALOADER__SAMPLER_TRAIN="RepeatFactorTrainingSampler")
    cfg.DATALOADER.REPEAT_THRESHOLD = 1.0  # class 2 is in one of twelve: repeated sqrt(12) times
    ids = _all_ids(_draw(cfg, 12))
    assert ids.count(0) >= 3 * ids.count(1)
    assert _all_ids(_draw(cfg, 12)) == ids
    cfg.SEED = 4
    assert _all_ids(_draw(cfg, 12)) != ids


def test_images_of_a_batch_have_one_aspect(entries):
    for entry in entries[::2]:
        entry["width"], entry["height"] = 16, 20
        Image.open(entry["file_name"]).rotate(90, expand=True).save(entry["file_name"])
        for key in ("sem_seg_file_name", "pan_seg_file_name"):
            entry[key] = entry[key].replace(".png", "_upright.png")
    for name in ("labels", "panoptic"):
        path = Path(entries[1]["file_name"]).parent / f"{name}.png"
        Image.open(path).rotate(90, expand=True).save(path.with_stem(f"{name}_upright"))
    batches = _draw(_cfg(SOLVER__IMS_PER_BATCH=2), 12)
    assert all(len({i % 2 for i in ids}) == 1 for ids in _ids(batches))
    mixed = _draw(_cfg(SOLVER__IMS_PER_BATCH=2, DATALOADER__ASPECT_RATIO_GROUPING=False), 12)
    assert any(len({i % 2 for i in ids}) == 2 for ids in _ids(mixed))


def test_stock_mapper(entries):
    cfg = _cfg("detectron2")
    for entry in entries:
        entry["annotations"] = [{"category_id": 2, "bbox": [4, 4, 16, 12], "bbox_mode": 1}]
    sample = _draw(cfg, 1)[0][0]
    assert sample["instances"].gt_boxes.tensor.tolist() == [[4, 4, 20, 16]]


def test_test_loader_goes_through_once_in_order(entries):
    entries[0]["segments_info"] = []
    loader = build_test_loader(_cfg("panoptic"), "build_test")
    batches = list(loader)
    assert _ids(batches) == [[i] for i in range(NUM_IMAGES)]
    assert "instances" not in batches[0][0]
    assert batches[0][0]["image"].shape == (3, 16, 20)
