"""The files of the data set "shapes" agree with each other, and detectron2 reads them."""

import json
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask as mask_util
import pytest
from detectron2.data import MetadataCatalog
from detectron2.data import detection_utils as utils
from detectron2.data.datasets.coco import load_coco_json, load_sem_seg
from detectron2.data.datasets.coco_panoptic import load_coco_panoptic_json
from PIL import Image
from scipy.ndimage import binary_erosion, binary_fill_holes

from d2seg.data.shapes import ensure_shapes
from d2seg.data.shapes.annotations import encode_mask
from d2seg.data.shapes.categories import CATEGORIES, THINGS
from d2seg.data.shapes.scene import MIN_STUFF_AREA, MIN_VISIBLE_AREA

NUM_IMAGES = {"train": 40, "val": 12}
SEED = 3
THING_IDS = {c.id for c in THINGS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("datasets") / "shapes"
    ensure_shapes(folder, NUM_IMAGES, SEED)
    return folder


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def read_ids(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int) @ (1, 256, 65536)


def decode(segmentation, size=(256, 256)) -> np.ndarray:
    if isinstance(segmentation, list):
        segmentation = mask_util.merge(mask_util.frPyObjects(segmentation, *size))
    return mask_util.decode(segmentation).astype(bool)


def all_scenes(folder: Path):
    """Panoptic entry, picture of ids and instance annotations of every image."""
    for split in NUM_IMAGES:
        instances = read(folder / f"instances_{split}.json")["annotations"]
        for entry in read(folder / f"panoptic_{split}.json")["annotations"]:
            objects = [a for a in instances if a["image_id"] == entry["image_id"]]
            yield entry, read_ids(folder / f"panoptic_{split}" / entry["file_name"]), objects


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_same_seed_gives_the_same_bytes(folder, tmp_path):
    ensure_shapes(tmp_path / "again", NUM_IMAGES, SEED)
    assert files_of(tmp_path / "again") == files_of(folder)
    ensure_shapes(tmp_path / "other", {"train": 1}, SEED + 1)
    name = "images_train/000001.jpg"
    assert (tmp_path / "other" / name).read_bytes() != (folder / name).read_bytes()


def test_an_image_does_not_depend_on_how_many_there_are(folder, tmp_path):
    ensure_shapes(tmp_path / "few", {"train": 2, "val": 1}, SEED)
    for name in ("images_train/000002.jpg", "panoptic_train/000002.png", "sem_seg_val/100001.png"):
        assert (tmp_path / "few" / name).read_bytes() == (folder / name).read_bytes()


def test_files_on_disk(folder):
    assert {p.name for p in folder.iterdir()} == {
        "stamp.json",
        *(
            f"{kind}_{split}{extension}"
            for split in NUM_IMAGES
            for kind, extension in (
                ("images", ""),
                ("sem_seg", ""),
                ("panoptic", ""),
                ("panoptic", ".json"),
                ("instances", ".json"),
                ("referring", ".json"),
            )
        ),
    }
    for split, num_images in NUM_IMAGES.items():
        images = sorted((folder / f"images_{split}").iterdir())
        assert len(images) == num_images
        assert all(cv2.imread(str(p)).shape == (256, 256, 3) for p in images)
        listed = [i["file_name"] for i in read(folder / f"instances_{split}.json")["images"]]
        assert listed == [p.name for p in images]


def test_instances_are_the_things_of_the_panoptic_picture(folder):
    kinds = set()
    for entry, ids, objects in all_scenes(folder):
        things = [s for s in entry["segments_info"] if s["category_id"] in THING_IDS]
        assert 3 <= len(things) == len(objects) <= 8
        for segment, annotation in zip(things, objects, strict=True):
            mask = ids == segment["id"]
            rows, columns = np.nonzero(mask)
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            for described in (segment, annotation):
                assert described["area"] == len(rows)
                assert described["bbox"] == box
            assert segment["category_id"] == annotation["category_id"]
            assert len(rows) >= MIN_VISIBLE_AREA
            segmentation = annotation["segmentation"]
            kinds.add(type(segmentation))
            traced = decode(segmentation)
            if isinstance(segmentation, dict):
                np.testing.assert_array_equal(traced, mask)
            else:
                assert (traced & mask).sum() / (traced | mask).sum() >= 0.99
                np.testing.assert_array_equal(binary_fill_holes(mask), mask)
    assert kinds == {list, dict}


def test_semantic_labels_are_the_categories_of_the_panoptic_picture(folder):
    contiguous = {c.id: i for i, c in enumerate(CATEGORIES)}
    for entry, ids, _ in all_scenes(folder):
        segments = entry["segments_info"]
        assert set(np.unique(ids)) == {s["id"] for s in segments}
        assert len({s["id"] for s in segments}) == len(segments)
        split = "train" if entry["image_id"] < 100_000 else "val"
        labels = np.asarray(Image.open(folder / f"sem_seg_{split}" / entry["file_name"]))
        for segment in segments:
            assert (labels[ids == segment["id"]] == contiguous[segment["category_id"]]).all()
        stuff = [s for s in segments if s["category_id"] not in THING_IDS]
        assert len({s["category_id"] for s in stuff}) == len(stuff) >= 2
        assert all(s["area"] == (ids == s["id"]).sum() >= MIN_STUFF_AREA for s in stuff)


def test_every_class_appears(folder):
    train = read(folder / "panoptic_train.json")["annotations"]
    found = {s["category_id"] for entry in train for s in entry["segments_info"]}
    assert found == {c.id for c in CATEGORIES}


def test_color_does_not_tell_the_class(folder):
    colors = defaultdict(Counter)
    for annotation in read(folder / "instances_train.json")["annotations"]:
        colors[annotation["category_id"]][annotation["attributes"]["color"]] += 1
    for counts in colors.values():
        assert len(counts) >= 3
        assert max(counts.values()) / counts.total() < 0.95


def test_pictures_have_the_annotated_colors_where_the_masks_are(folder):
    hues = {"red": 357, "orange": 26, "yellow": 52, "green": 132, "blue": 222, "purple": 274}
    hues["pink"] = 328
    num_checked = 0
    for entry, ids, objects in all_scenes(folder):
        split = "train" if entry["image_id"] < 100_000 else "val"
        file_name = folder / f"images_{split}" / entry["file_name"].replace("png", "jpg")
        image = np.asarray(Image.open(file_name))
        things = [s for s in entry["segments_info"] if s["category_id"] in THING_IDS]
        for segment, annotation in zip(things, objects, strict=True):
            inside = binary_erosion(ids == segment["id"], iterations=3)
            if inside.sum() < 40:
                continue
            num_checked += 1
            color = np.median(image[inside], axis=0).astype(np.float32)[None, None] / 255
            hue, saturation, _ = cv2.cvtColor(color, cv2.COLOR_RGB2HSV)[0, 0]
            name = annotation["attributes"]["color"]
            if name == "white":
                assert saturation < 0.15
            else:
                assert saturation > 0.25
                differences = {k: abs((hue - v + 180) % 360 - 180) for k, v in hues.items()}
                assert min(differences, key=differences.get) == name
    assert num_checked > 150


@pytest.mark.parametrize("kind", ["block", "two parts", "frame", "diagonal", "pixel"])
def test_encode_mask(kind):
    mask = np.zeros((40, 30), bool)
    mask[10:30, 5:25] = kind in ("block", "two parts", "frame")
    if kind == "two parts":
        mask[:, 13:16] = False
    elif kind == "frame":
        mask[18:20, 12] = False
    elif kind == "diagonal":
        mask[range(8, 22), range(8, 22)] = True
    elif kind == "pixel":
        mask[3, 4] = True
    segmentation = encode_mask(mask)
    if kind in ("block", "two parts"):
        assert len(segmentation) == (2 if kind == "two parts" else 1)
        assert all(len(polygon) >= 6 for polygon in segmentation)
        corners = np.concatenate(segmentation).reshape(-1, 2)
        np.testing.assert_allclose(corners.min(axis=0), (5, 10), atol=0.2)
        np.testing.assert_allclose(corners.max(axis=0), (25, 30), atol=0.2)
    elif kind in ("frame", "diagonal"):
        assert isinstance(segmentation["counts"], str)
    np.testing.assert_array_equal(decode(segmentation, mask.shape), mask)


def test_detectron2_loaders(folder):
    root = str(folder / "images_val")
    metadata = MetadataCatalog.get("shapes_panoptic_val").as_dict()
    panoptic = load_coco_panoptic_json(
        str(folder / "panoptic_val.json"), root, str(folder / "panoptic_val"), metadata
    )
    instances = load_coco_json(str(folder / "instances_val.json"), root, "shapes_instance_val")
    semantic = load_sem_seg(str(folder / "sem_seg_val"), root)
    assert len(panoptic) == len(instances) == len(semantic) == NUM_IMAGES["val"]
    for p, i, s in zip(panoptic, instances, semantic, strict=True):
        assert p["file_name"] == i["file_name"] == s["file_name"]
        assert p["image_id"] == i["image_id"]
        things = [x["category_id"] for x in p["segments_info"] if x["isthing"]]
        assert things == [a["category_id"] for a in i["annotations"]]
        labels = utils.read_image(s["sem_seg_file_name"], "L")[..., 0]
        assert set(np.unique(labels)) == {x["category_id"] for x in p["segments_info"]}
