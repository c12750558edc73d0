"""d2seg.data.mappers: hand-made samples of every task and augmentation."""

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from detectron2.data import DatasetMapper
from mapper_samples import (
    AUGMENTED,
    H,
    W,
    augmented_cfg,
    blocks,
    check_sample,
    make_cfg,
    panoptic_dict,
    semantic_dict,
    three_tasks,
    write_image,
)
from PIL import Image

from d2seg.data.mappers import build_mapper

# --- one task at a time, without augmentation ---


def test_semantic(tmp_path):
    labels = blocks()
    labels[labels == 2] = 9
    entry = semantic_dict(tmp_path, labels)
    sample = build_mapper(make_cfg("semantic", PAD_SIZE=(H + 2, W + 4)), True)(entry)
    check_sample(sample)
    assert sample["content_size"] == (H, W)
    assert (sample["height"], sample["width"], sample["image_id"]) == (H, W, 7)
    assert sample["image"].shape == (3, H + 2, W + 4)
    np.testing.assert_array_equal(sample["sem_seg"][:H, :W], labels)
    assert sample["instances"].gt_classes.tolist() == [0, 1, 3, 9]
    for mask, label in zip(sample["instances"].gt_masks, [0, 1, 3, 9], strict=True):
        np.testing.assert_array_equal(mask[:H, :W], labels == label)
    assert "sem_seg_file_name" in entry  # the data set's own dict stays as it was


def test_semantic_palette_image(tmp_path):
    """The labels of a palette image are its indices, not its colours."""
    image = Image.fromarray(blocks(), "L").convert("P")
    image.putdata(blocks().ravel().tolist())
    image.putpalette([200, 10, 10, 10, 200, 10] + [7] * 762)
    entry = semantic_dict(tmp_path, blocks())
    image.save(entry["sem_seg_file_name"])
    sample = build_mapper(make_cfg("semantic"), True)(entry)
    np.testing.assert_array_equal(sample["sem_seg"], blocks())


@pytest.mark.parametrize("ignore_value", [255 + 600, 65535])
def test_semantic_with_more_classes_than_a_byte(tmp_path, ignore_value: int):
    labels = blocks().astype(np.uint16)
    labels[labels == 1] = 255
    labels[labels == 3] = 846
    labels[15:25, 20:40] = ignore_value
    entry = semantic_dict(tmp_path, labels)
    cfg = augmented_cfg("semantic", "lsj", num_classes=847)
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = ignore_value
    np.random.seed(0)
    sample = build_mapper(cfg, True)(entry)
    assert set(sample["instances"].gt_classes.tolist()) == {0, 2, 255, 846}
    assert set(sample["sem_seg"].unique().tolist()) == {0, 2, 255, 846, ignore_value}
    h, w = sample["content_size"]
    assert (sample["sem_seg"][h:] == ignore_value).all()
    assert (sample["sem_seg"][:, w:] == ignore_value).all()
    for mask, label in zip(
        sample["instances"].gt_masks, sample["instances"].gt_classes, strict=True
    ):
        torch.testing.assert_close(mask, sample["sem_seg"] == label)


def test_panoptic(tmp_path):
    ids = np.array([3, 260, 70000, 0])[np.minimum(blocks(), 3)]
    ids[:5, :5] = 99
    segments = [
        {"id": 70000, "category_id": 4, "iscrowd": 0},
        {"id": 3, "category_id": 2, "iscrowd": 0},
        {"id": 260, "category_id": 1, "iscrowd": 1},
        {"id": 99, "category_id": 4},
        {"id": 1234, "category_id": 3, "iscrowd": 0},  # has no pixel
    ]
    sample = build_mapper(make_cfg("panoptic"), True)(panoptic_dict(tmp_path, ids, segments))
    check_sample(sample)
    assert "sem_seg" not in sample
    assert sample["instances"].gt_classes.tolist() == [4, 2, 4]
    for mask, segment in zip(sample["instances"].gt_masks, [70000, 3, 99], strict=True):
        np.testing.assert_array_equal(mask, ids == segment)


@pytest.mark.parametrize("count", [254, 255, 400])
def test_panoptic_with_more_segments_than_a_byte(tmp_path, count: int):
    ids = np.zeros((H, W), np.int64)
    ids.flat[: count * 3] = np.repeat(np.arange(1, count + 1), 3) * 41
    segments = [{"id": 41 * i, "category_id": i % 10} for i in range(1, count + 1)]
    cfg = make_cfg("panoptic", PAD_SIZE=(H + 3, W))
    sample = build_mapper(cfg, True)(panoptic_dict(tmp_path, ids, segments))
    check_sample(sample)
    assert len(sample["instances"]) == count
    assert (sample["instances"].gt_masks.tensor.sum((1, 2)) == 3).all()


def test_instance_formats_side_by_side(tmp_path):
    labels = blocks()
    rle = mask_util.encode(np.asfortranarray(labels == 1))
    bitmap = labels == 2
    polygons = [[2, 2, 10, 2, 10, 8, 2, 8], [20, 30, 25, 30, 25, 39, 20, 39]]
    counts = {"size": [H, W], "counts": [0, 1, H * W - 1]}
    crowd = {"size": [H, W], "counts": [0, H * W]}
    annotations = [
        {"category_id": 5, "segmentation": polygons, "iscrowd": 0},
        {"category_id": 1, "segmentation": rle, "iscrowd": 0},
        {"category_id": 1, "segmentation": crowd, "iscrowd": 1},
        {"category_id": 2, "segmentation": bitmap},
        {"category_id": 9, "segmentation": counts},  # a single pixel
        {"category_id": 8, "segmentation": np.zeros((H, W), np.uint8)},  # nothing
        {"category_id": 8, "segmentation": []},
    ]
    entry = {**write_image(tmp_path, labels), "annotations": annotations}
    sample = build_mapper(make_cfg("instance", PAD_SIZE=(64, 64)), True)(entry)
    check_sample(sample)
    assert sample["instances"].gt_classes.tolist() == [5, 1, 2, 9]
    masks = sample["instances"].gt_masks.tensor[:, :H, :W].numpy()
    drawn = np.zeros((H, W), bool)
    drawn[2:8, 2:10] = drawn[30:39, 20:25] = True
    for mask, expected in zip(masks, [drawn, labels == 1, bitmap], strict=False):
        np.testing.assert_array_equal(mask, expected)
    assert np.argwhere(masks[3]).tolist() == [[0, 0]]
    assert sample["instances"].gt_boxes.tensor[3].tolist() == [0, 0, 1, 1]
    assert len(entry["annotations"]) == 7


def test_colour_order_of_the_image(tmp_path):
    entry = {**write_image(tmp_path, blocks()), "annotations": []}
    Image.fromarray(np.full((H, W, 3), [10, 20, 30], np.uint8)).save(entry["file_name"])
    for order, expected in {"RGB": [10, 20, 30], "BGR": [30, 20, 10]}.items():
        sample = build_mapper(make_cfg("instance", FORMAT=order), True)(entry)
        assert sample["image"][:, 0, 0].tolist() == expected


# --- all tasks, all augmentations ---


@pytest.mark.parametrize("name", AUGMENTED)
@pytest.mark.parametrize("mapper", ["semantic", "panoptic", "instance"])
def test_image_and_masks_move_together(tmp_path, mapper: str, name: str):
    """The grey level shows the label; only pixels beside an edge may disagree with the mask."""
    labels = blocks()
    labels[labels == 255] = 4
    mapping = build_mapper(augmented_cfg(mapper, name), True)
    entry = three_tasks(tmp_path, labels)[mapper]
    np.random.seed(0)
    sizes = set()
    for _ in range(12):
        sample = mapping(entry)
        check_sample(sample)
        sizes.add(sample["content_size"])
        shown = sample["image"][0].int()
        for mask, label in zip(
            sample["instances"].gt_masks, sample["instances"].gt_classes, strict=True
        ):
            inner = -torch.nn.functional.max_pool2d(-mask[None].float(), 5, 1, 2)[0] > 0
            assert (shown[inner] == 60 * label).all()
        if len(sample["instances"]):  # every pixel of the content has exactly one target
            h, w = sample["content_size"]
            assert (sample["instances"].gt_masks.tensor.sum(0)[:h, :w] == 1).all()
    assert len(sizes) > 1


@pytest.mark.parametrize("name", AUGMENTED)
def test_all_tasks_give_the_same_masks(tmp_path, name: str):
    entries = three_tasks(tmp_path, blocks())
    samples = {}
    for mapper, entry in entries.items():
        np.random.seed(3)
        samples[mapper] = [build_mapper(augmented_cfg(mapper, name), True)(entry) for _ in range(3)]
    for semantic, panoptic, instance in zip(*samples.values(), strict=True):
        for other in (panoptic, instance):
            assert other["content_size"] == semantic["content_size"]
            torch.testing.assert_close(other["image"], semantic["image"])
            ours, theirs = semantic["instances"], other["instances"]
            torch.testing.assert_close(theirs.gt_classes, ours.gt_classes)
            torch.testing.assert_close(theirs.gt_masks.tensor, ours.gt_masks.tensor)


@pytest.mark.parametrize("name", AUGMENTED)
@pytest.mark.parametrize("mapper", ["semantic", "panoptic", "instance"])
def test_nothing_to_learn_from(tmp_path, mapper: str, name: str):
    entry = three_tasks(tmp_path, np.full((H, W), 255, np.uint8))[mapper]
    sample = build_mapper(augmented_cfg(mapper, name), True)(entry)
    check_sample(sample)
    assert len(sample["instances"]) == 0
    if mapper == "semantic":
        assert (sample["sem_seg"] == 255).all()


@pytest.mark.parametrize("mapper", ["semantic", "panoptic", "instance"])
def test_single_pixel(tmp_path, mapper: str):
    """It stays or vanishes with the resizing, but is never an empty mask."""
    labels = np.full((H, W), 255, np.uint8)
    labels[11, 17] = 6
    entry = three_tasks(tmp_path, labels)[mapper]
    sample = build_mapper(make_cfg(mapper), True)(entry)
    assert sample["instances"].gt_boxes.tensor.tolist() == [[17, 11, 18, 12]]
    assert sample["instances"].gt_classes.tolist() == [6]
    mapping = build_mapper(augmented_cfg(mapper, "lsj"), True)
    np.random.seed(0)
    samples = [mapping(entry) for _ in range(30)]
    for sample in samples:
        check_sample(sample)
    assert {len(s["instances"]) for s in samples} == {0, 1}


def test_category_area_sees_categories_not_segments(tmp_path):
    """Two segments of one class fill the left half: no crop of it alone may be taken."""
    ids = np.ones((H, W), np.int64)
    ids[: H // 2] = 2
    ids[:, W // 2 :] = 3
    segments = [{"id": i, "category_id": c} for i, c in ((1, 4), (2, 4), (3, 5))]
    entry = panoptic_dict(tmp_path, ids, segments)
    crop = {"CROP__ENABLED": True, "CROP__TYPE": "absolute", "CROP__SIZE": (20, 20)}
    cfg = make_cfg("panoptic", CROP__SINGLE_CATEGORY_MAX_AREA=0.9, **crop)
    mapping = build_mapper(cfg, True)
    np.random.seed(0)
    classes = [set(mapping(entry)["instances"].gt_classes.tolist()) for _ in range(40)]
    assert sum(c == {4, 5} for c in classes) >= 39  # at most ten tries for a crop


# --- test time ---


@pytest.mark.parametrize("mapper", ["semantic", "panoptic", "instance"])
def test_test_time(tmp_path, mapper: str):
    entry = three_tasks(tmp_path, blocks())[mapper]
    for key in ("sem_seg_file_name", "pan_seg_file_name"):
        if key in entry:
            entry[key] = "not/opened/at/test/time.png"
    cfg = augmented_cfg(mapper, "lsj", MIN_SIZE_TEST=80, MAX_SIZE_TEST=100)
    sample = build_mapper(cfg, is_train=False)(entry)
    assert set(sample) == {"file_name", "image_id", "height", "width", "image"}
    assert sample["image"].shape == (3, 67, 100)
    assert (sample["height"], sample["width"]) == (H, W)


@pytest.mark.parametrize("is_train", [True, False])
def test_detectron2s_own_mapper(is_train: bool):
    assert isinstance(build_mapper(make_cfg("detectron2"), is_train), DatasetMapper)
