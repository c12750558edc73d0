"""Writes small data sets of every format into a folder, for the tests of data sets and tools."""

import itertools
import json
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
from PIL import Image

H, W = 12, 16
_numbers = itertools.count()


def unique_name(prefix: str = "toy") -> str:
    """A name that no other test registers; detectron2's catalogs are global."""
    return f"{prefix}{next(_numbers)}"


def write_image(file: Path, size: tuple[int, int] = (H, W)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def write_png(file: Path, array: np.ndarray) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(file)
    return file


def label_map(num_classes: int = 3) -> np.ndarray:
    """(H, W) uint8 vertical stripes of classes, and one row of 255 at the top."""
    labels = np.tile(np.arange(W) * num_classes // W, (H, 1)).astype(np.uint8)
    labels[0] = 255
    return labels


def write_semantic(root: Path, split: str = "train", count: int = 2) -> None:
    """``root/images/<split>`` and ``root/labels/<split>``, three classes."""
    for number in range(count):
        write_image(root / "images" / split / f"{number:03d}.jpg")
        write_png(root / "labels" / split / f"{number:03d}.png", label_map())


def semantic_declaration(file: Path, name: str, **more: object) -> Path:
    """A declaration of what ``write_semantic`` writes beside it; ``more`` replaces or adds keys."""
    content = {
        "name": name,
        "task": "semantic",
        "classes": ["floor", "wall", "furniture"],
        "splits": {"train": {"images": "images/train", "labels": "labels/train"}},
        **more,
    }
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    return file


def square_rle(size: tuple[int, int] = (H, W)) -> dict:
    mask = np.zeros(size, np.uint8, order="F")
    mask[2:6, 3:8] = 1
    rle = mask_util.encode(mask)
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def coco_json(annotations: list[dict], num_images: int = 1) -> dict:
    """Two categories with ids 5 and 9; image i is named ``00i.jpg`` and has the id i."""
    return {
        "images": [
            {"id": i, "file_name": f"{i:03d}.jpg", "height": H, "width": W}
            for i in range(num_images)
        ],
        "categories": [{"id": 9, "name": "chair"}, {"id": 5, "name": "table"}],
        "annotations": [{"id": i + 1, **a} for i, a in enumerate(annotations)],
    }


def annotation(**keys: object) -> dict:
    return {
        "image_id": 0,
        "category_id": 5,
        "iscrowd": 0,
        "bbox": [3, 2, 5, 4],
        "area": 20,
        "segmentation": [[3, 2, 8, 2, 8, 6, 3, 6]],
        **keys,
    }


def write_json(file: Path, content: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def segment_png(file: Path, ids: np.ndarray) -> Path:
    """The PNG of (H, W) segment ids, R + 256 G + 256^2 B."""
    channels = [ids % 256, ids // 256 % 256, ids // 256**2]
    return write_png(file, np.stack(channels, axis=-1).astype(np.uint8))


def write_panoptic(root: Path, segments: list[dict] | None = None) -> Path:
    """``root/images/000.jpg``, ``root/png/000.png`` and ``root/panoptic.json``.

    Segment 300 (a chair, category 9) is the left half, 70000 (floor, category 7) the right one.
    """
    write_image(root / "images" / "000.jpg")
    ids = np.full((H, W), 300)
    ids[:, W // 2 :] = 70000
    segment_png(root / "png" / "000.png", ids)
    if segments is None:
        segments = [{"id": 300, "category_id": 9}, {"id": 70000, "category_id": 7}]
    content = {
        "images": [{"id": 4, "file_name": "000.jpg", "height": H, "width": W}],
        "categories": [
            {"id": 9, "name": "chair", "isthing": 1},
            {"id": 7, "name": "floor", "isthing": 0},
            {"id": 5, "name": "table", "isthing": 1},
        ],
        "annotations": [{"image_id": 4, "file_name": "000.png", "segments_info": segments}],
    }
    return write_json(root / "panoptic.json", content)
