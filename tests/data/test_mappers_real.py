"""d2seg.data.mappers on pieces of COCO, CamVid and ADE20K."""

import json

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.data.datasets import load_coco_json, load_sem_seg
from detectron2.data.datasets.builtin_meta import _get_builtin_metadata
from detectron2.data.datasets.coco_panoptic import load_coco_panoptic_json
from mapper_samples import augmented_cfg, check_sample, make_cfg
from PIL import Image

from d2seg.data.augmentation import build_augmentations
from d2seg.data.mappers import build_mapper


@pytest.fixture(scope="module")
def coco_panoptic(shared_dir) -> list[dict]:
    coco = shared_dir / "data" / "coco"
    return load_coco_panoptic_json(
        str(coco / "annotations/panoptic_train2017.json"),
        str(coco / "train2017"),
        str(coco / "panoptic_train2017"),
        _get_builtin_metadata("coco_panoptic_standard"),
    )


def test_coco_panoptic_masks(coco_panoptic, shared_dir):
    """Against the JSON: every segment's area and box, on all images."""
    annotations = shared_dir / "data/coco/annotations/panoptic_train2017.json"
    truth = {a["image_id"]: a for a in json.loads(annotations.read_text())["annotations"]}
    mapping = build_mapper(make_cfg("panoptic", num_classes=133), True)
    num_targets = 0
    for entry in coco_panoptic:
        instances = mapping(entry)["instances"]
        expected = [s for s in truth[entry["image_id"]]["segments_info"] if not s["iscrowd"]]
        areas = instances.gt_masks.tensor.sum((1, 2)).tolist()
        assert areas == [s["area"] for s in expected]
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (s["bbox"] for s in expected)]
        assert instances.gt_boxes.tensor.tolist() == boxes
        num_targets += len(instances)
    assert num_targets > 800


@pytest.mark.parametrize(("name", "step"), [("lsj", 1), ("detr", 0)])
def test_coco_panoptic_augmented(coco_panoptic, name: str, step: int):
    """Exactly the masks that detectron2 gets by transforming each of them on its own, and its
    picture, but for the steps of 255 that resizing a part of it makes (see resized_crop.py)."""
    sizes = {"LSJ__IMAGE_SIZE": 512, "MIN_SIZE_TRAIN": (320, 400), "RANDOM_FLIP": "horizontal"}
    cfg = augmented_cfg("panoptic", name, num_classes=133, **sizes)
    mapping = build_mapper(cfg, True)
    augmentation = T.AugmentationList(build_augmentations(cfg, True))
    for seed, entry in enumerate(coco_panoptic[:6]):
        np.random.seed(seed)
        sample = mapping(entry)
        check_sample(sample)
        np.random.seed(seed)
        inputs = T.AugInput(np.asarray(Image.open(entry["file_name"]).convert("RGB")))
        transforms = augmentation(inputs)
        image = sample["image"].permute(1, 2, 0).numpy().astype(int)
        np.testing.assert_allclose(image, inputs.image, rtol=0, atol=step)
        assert np.mean(image != inputs.image) < 0.003
        colors = np.asarray(Image.open(entry["pan_seg_file_name"]).convert("RGB")).astype(int)
        ids = colors[..., 0] + 256 * colors[..., 1] + 256**2 * colors[..., 2]
        expected = []
        for segment in entry["segments_info"]:
            mask = transforms.apply_segmentation((ids == segment["id"]).astype(np.uint8)) == 1
            if mask.any() and not segment["iscrowd"]:
                expected.append(mask)
        np.testing.assert_array_equal(sample["instances"].gt_masks.tensor, np.stack(expected))


def test_coco_instances(shared_dir):
    """Polygons, drawn at the size of the sample, against resized masks of the original size."""
    coco = shared_dir / "data" / "coco"
    entries = load_coco_json(
        str(coco / "annotations/instances_train2017.json"), str(coco / "train2017"), "mappers_coco"
    )
    exact = build_mapper(make_cfg("instance", num_classes=80), True)
    for entry in entries[:10]:
        sample = exact(entry)
        check_sample(sample)
        size, expected = (entry["height"], entry["width"]), []
        for annotation in (a for a in entry["annotations"] if not a["iscrowd"]):
            rles = mask_util.frPyObjects(annotation["segmentation"], *size)
            expected.append(mask_util.decode(mask_util.merge(rles)) == 1)
        np.testing.assert_array_equal(sample["instances"].gt_masks.tensor, np.stack(expected))

    cfg = augmented_cfg("instance", "lsj", num_classes=80, LSJ__IMAGE_SIZE=512)
    mapping, augmentation = build_mapper(cfg, True), build_augmentations(cfg, True)
    compared = 0
    for seed, entry in enumerate(entries[:20]):
        np.random.seed(seed)
        instances = mapping(entry)["instances"]
        np.random.seed(seed)
        size = (entry["height"], entry["width"])
        transforms = T.AugmentationList(augmentation)(T.AugInput(np.zeros((*size, 3), np.uint8)))
        objects = [a for a in entry["annotations"] if not a["iscrowd"]]
        if len(instances) < len(objects):  # some fell victim to the crop
            continue
        for mask, annotation in zip(instances.gt_masks.tensor.numpy(), objects, strict=True):
            rles = mask_util.frPyObjects(annotation["segmentation"], *size)
            bitmap = mask_util.decode(mask_util.merge(rles))
            expected = transforms.apply_segmentation(bitmap) == 1
            if expected.sum() > 400:
                assert (mask & expected).sum() / (mask | expected).sum() > 0.9
                compared += 1
    assert compared > 20


def test_camvid(shared_dir):
    """Semantic crops of real street scenes: classes are those of the crop, void is no target."""
    camvid = shared_dir / "data" / "CamVid"
    entries = load_sem_seg(str(camvid / "valannot"), str(camvid / "val"), "png", "jpg")[::12]
    labels = np.asarray(Image.open(entries[0]["sem_seg_file_name"]))
    ignore_value = 11
    cfg = make_cfg(
        "semantic",
        num_classes=11,
        MIN_SIZE_TRAIN=(180, 360, 720),
        CROP__ENABLED=True,
        CROP__TYPE="absolute",
        CROP__SIZE=(256, 256),
        CROP__SINGLE_CATEGORY_MAX_AREA=0.75,
        COLOR_AUG_SSD=True,
        RANDOM_FLIP="horizontal",
        PAD_SIZE=(256, 256),
    )
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = ignore_value
    assert (labels == ignore_value).any()
    mapping = build_mapper(cfg, True)
    np.random.seed(0)
    for entry in entries:
        sample = mapping(entry)
        sem_seg, instances = sample["sem_seg"], sample["instances"]
        assert sem_seg.shape == (256, 256)
        assert instances.gt_classes.tolist() == [
            c for c in sem_seg.unique().tolist() if c != ignore_value
        ]
        rebuilt = torch.full((256, 256), ignore_value)
        for mask, label in zip(instances.gt_masks, instances.gt_classes, strict=True):
            rebuilt[mask] = label
        torch.testing.assert_close(rebuilt, sem_seg)


def test_ade20k(shared_dir):
    """Photographs of several sizes, with labels as downloaded: 0 is other, 1..150 the classes."""
    root = shared_dir / "data/ADEChallengeData2016"
    labels = sorted((root / "annotations").rglob("*.png"))
    images = {p.stem: p for p in (root / "images").rglob("*.jpg")}
    entries = [
        {"file_name": str(images[p.stem]), "sem_seg_file_name": str(p)}
        for p in labels
        if p.stem in images
    ]
    assert len(entries) == 3
    mapping = build_mapper(make_cfg("semantic", num_classes=151), True)
    for entry in entries:
        check_sample(mapping(entry))
        assert set(entry) == {"file_name", "sem_seg_file_name"}  # it stays as it was
        labels = np.asarray(Image.open(entry["sem_seg_file_name"]))
        np.testing.assert_array_equal(mapping(entry)["sem_seg"], labels)
    with pytest.raises(ValueError, match=r"ADE_val_0000000\d\.png: labels outside of 0\.\.9 "):
        build_mapper(make_cfg("semantic", num_classes=10), True)(entries[0])
