"""What was read, as dataset dicts, and as a folder that a declaration describes.

Shapes: H, W of a picture.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import yaml
from detectron2.structures import BoxMode

from ...names import shortened
from ..datasets.categories import Category, distinct_colors
from ..preparation import link_or_copy, run_parallel, save_image, save_json
from ..segmentations import to_rle
from .content import BACKGROUND, DELAY, IGNORED, Content, Picture

_THREADS = 8
_BACKGROUND_NAME = "background"


def categories_of(content: Content, task: str) -> list[Category]:
    """The classes, for semantic segmentation with the background as the first."""
    names = list(content.classes)
    if task == "semantic":
        names = [_BACKGROUND_NAME, *(name for name in names if name != _BACKGROUND_NAME)]
    colors = distinct_colors(len(names))
    first = 0 if task == "semantic" else 1
    return [
        Category(number, name, task == "instance", color)
        for number, (name, color) in enumerate(zip(names, colors, strict=True), start=first)
    ]


def ignore_label_of(categories: Sequence[Category]) -> int:
    return 255 if len(categories) <= 255 else 65535


def annotations_of(picture: Picture, categories: Sequence[Category]) -> list[dict[str, Any]]:
    """COCO's annotations of a picture, with the ids of ``categories``, but for its own id."""
    ids = {category.name: category.id for category in categories}
    annotations = []
    for shape in picture.shapes:
        if shape.name not in ids:  # what is not to be learnt
            continue
        rle = to_rle(shape.segmentation, picture.size)
        annotations.append(
            {
                "category_id": ids[shape.name],
                "iscrowd": 0,
                "area": int(mask_util.area(rle)),
                "bbox": mask_util.toBbox(rle).tolist(),
                "segmentation": shape.segmentation,
            }
        )
    return annotations


def label_map_of(picture: Picture, categories: Sequence[Category]) -> np.ndarray:
    """(H, W) uint8 or uint16: the class of each pixel, of the uppermost shape; 0 is background."""
    ignore_label = ignore_label_of(categories)
    ids = {category.name: category.id for category in categories}
    ids |= {IGNORED: ignore_label, BACKGROUND: 0}
    labels = np.zeros(picture.size, np.uint8 if ignore_label < 256 else np.uint16)
    for shape in picture.shapes:
        mask = mask_util.decode(to_rle(shape.segmentation, picture.size)).astype(bool)
        labels[mask] = ids[shape.name]
    return labels


def dicts_of(
    pictures: Sequence[Picture], task: str, categories: Sequence[Category], folder: Path
) -> list[dict[str, Any]]:
    """Dataset dicts in detectron2's format, of the pictures where they are.

    Args:
        folder: where label maps, and pictures that are no files, are written
    """
    contiguous = {category.id: number for number, category in enumerate(categories)}
    entries = []
    for number, picture in enumerate(pictures):
        file = picture.file
        if picture.data is not None:
            file = folder / f"{number}{picture.file.suffix}"
            file.write_bytes(picture.data)
        entry: dict[str, Any] = {"file_name": str(file), "image_id": picture.name}
        entry |= {"height": picture.size[0], "width": picture.size[1]}
        if task == "semantic":
            entry["sem_seg_file_name"] = str(folder / f"{number}.png")
            save_image(label_map_of(picture, categories), folder / f"{number}.png")
        else:
            entry["annotations"] = [
                {
                    **{key: value for key, value in annotation.items() if key != "area"},
                    "category_id": contiguous[annotation["category_id"]],
                    "bbox_mode": BoxMode.XYWH_ABS,
                }
                for annotation in annotations_of(picture, categories)
            ]
        entries.append(entry)
    return entries


def split_off(content: Content, part: float) -> None:
    """Make evenly spread pictures of the only split those of ``val``.

    Args:
        part: of them, between 0 and 1

    Raises:
        ValueError: there are several splits already, or too few pictures.
    """
    if len(content.splits) > 1:
        raise ValueError(f"--val: there are the splits {', '.join(content.splits)} already")
    count = len(content.pictures)
    chosen = set(np.linspace(0, count - 1, round(part * count) + 2).round().astype(int)[1:-1])
    if not 0 < len(chosen) < count:
        raise ValueError(
            f"--val {part:g} of {count} pictures is {len(chosen)}; at least one is needed for "
            "evaluation, and one for training"
        )
    content.pictures = [
        replace(picture, split="val" if number in chosen else "train")
        for number, picture in enumerate(content.pictures)
    ]


def write_dataset(content: Content, task: str, output: Path, name: str, title: str) -> Path:
    """Write pictures (hard links where possible), annotations and declaration; whole or not at all.

    Args:
        output: a folder that is not there, or is empty
        title: of the format, for the first line of the declaration

    Returns:
        The declaration, ``<output>/<name>.yaml``.

    Raises:
        OSError: it cannot be written.
    """
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    categories = categories_of(content, task)
    try:
        splits = {}
        for split in content.splits:
            pictures = _with_own_stems([p for p in content.pictures if p.split == split])
            splits[split] = _write_split(pictures, task, categories, partial, split)
        declaration: dict[str, Any] = {"name": name, "task": task}
        if task == "semantic":
            declaration["classes"] = [category.name for category in categories]
            declaration["ignore_label"] = ignore_label_of(categories)
        text = yaml.safe_dump(
            {**declaration, "splits": splits}, sort_keys=False, allow_unicode=True
        )
        head = f"# Made of {title}'s annotations by d2seg convert-data; docs/own_data.md\n"
        (partial / f"{name}.yaml").write_text(head + text, encoding="utf-8")
        if output.exists():
            output.rmdir()
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return output / f"{name}.yaml"


def _with_own_stems(pictures: list[Picture]) -> list[Picture]:
    """With names that differ in more than the extension, by which label maps are found."""
    seen: set[str] = set()
    result = []
    for picture in pictures:
        stem, suffix = os.path.splitext(picture.name)
        if stem in seen:
            folder, base = os.path.split(stem)
            stem = os.path.join(folder, f"{shortened(base)}_{suffix.removeprefix('.')}")
        number = 2
        own = stem
        while own in seen:
            own, number = f"{stem}_{number}", number + 1
        seen.add(own)
        result.append(replace(picture, name=own + suffix))
    return result


def _write_split(
    pictures: list[Picture], task: str, categories: list[Category], output: Path, split: str
) -> dict[str, str]:
    """Write one split; returns its paths as the declaration has them."""
    images = output / "images" / split
    images.mkdir(parents=True, exist_ok=True)

    def write(picture: Picture) -> list[dict[str, Any]]:
        target = images / picture.name
        if picture.data is None:
            link_or_copy(picture.file.resolve(), target)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(picture.data)
        if task == "instance":
            return annotations_of(picture, categories)
        labels = output / "labels" / split / Path(picture.name).with_suffix(".png")
        save_image(label_map_of(picture, categories), labels)
        return []

    workers = min(_THREADS, os.cpu_count() or 1)
    found = run_parallel(write, pictures, workers, f"writing {split}", DELAY)
    if task == "semantic":
        return {"images": f"images/{split}", "labels": f"labels/{split}"}
    entries, annotations = [], []
    for number, (picture, of_picture) in enumerate(zip(pictures, found, strict=True), start=1):
        size = {"height": picture.size[0], "width": picture.size[1]}
        entries.append({"id": number, "file_name": picture.name, **size})
        for annotation in of_picture:
            annotations.append({"id": len(annotations) + 1, "image_id": number, **annotation})
    classes = [{"id": category.id, "name": category.name} for category in categories]
    content = {"images": entries, "categories": classes, "annotations": annotations}
    save_json(content, output / "annotations" / f"{split}.json")
    return {"images": f"images/{split}", "annotations": f"annotations/{split}.json"}
