"""Writes annotated pictures as LabelMe, YOLO, Pascal VOC, CVAT and Supervisely do, for the tests of
their readers. LabelMe's and YOLO's files are those of ``d2seg predict``.
"""

import base64
import io
import json
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

import cv2
import numpy as np
import pycocotools.mask as mask_util
from detectron2.data import Metadata
from PIL import Image

from d2seg.prediction.folders.parts import Record
from d2seg.prediction.formats import FORMATS
from d2seg.prediction.formats.common import Run, encode_mask

CLASSES = ["circle", "square", "star"]


@dataclass(frozen=True)
class Annotated:
    """A picture and its objects: (name of the class, bool (H, W) mask), which do not overlap."""

    file: Path
    size: tuple[int, int]
    objects: Sequence[tuple[str, np.ndarray]]


def toy_pictures(folder: Path, num_classes: int = 2) -> list[Annotated]:
    """``folder/a.png`` and ``b.png``, 40 x 30 pixels (width x height), with two and one object."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    found = []
    for name, places in (("a", [(3, 4), (22, 12)]), ("b", [(10, 6)])):
        pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        objects = []
        for number, (x, y) in enumerate(places):
            mask = np.zeros((30, 40), np.uint8)
            cv2.ellipse(mask, (x + 6, y + 6), (6, 5), 30, 0, 360, 1, -1)
            objects.append((CLASSES[number % num_classes], mask.astype(bool)))
        found.append(Annotated(folder / f"{name}.png", (30, 40), objects))
    return found


def _predicted(root: Path, pictures: list[Annotated], classes: list[str], form: str) -> Path:
    """What ``d2seg predict --format`` writes of pictures that lie in one folder."""
    records = []
    for number, picture in enumerate(pictures, start=1):
        instances = []
        for name, mask in picture.objects:
            rle = encode_mask(mask)
            box = mask_util.toBbox(rle).tolist()
            found = {"category_id": classes.index(name), "score": 0.9, "bbox": box}
            instances.append({**found, "segmentation": rle})
        name, (height, width) = picture.file.name, picture.size
        result = {"instances": instances}
        records.append(Record(number, name, picture.file.stem, height, width, result, b""))
    root.mkdir(parents=True, exist_ok=True)
    metadata = Metadata(thing_classes=classes)
    base = str(pictures[0].file.parent)
    FORMATS[form].write(root, Run("instance", lambda: iter(records), metadata, base))
    return root / form


def write_labelme(root: Path, pictures: list[Annotated], classes: list[str]) -> Path:
    folder = _predicted(root, pictures, classes, "labelme")
    (folder / "labels.txt").write_text("\n".join(["__ignore__", "_background_", *classes]))
    for picture in pictures:  # beside their files, as the tool has it
        shutil.copy(picture.file, folder / picture.file.name)
        file = folder / f"{picture.file.stem}.json"
        content = json.loads(file.read_text())
        file.write_text(json.dumps({**content, "imagePath": picture.file.name}))
    return folder


def write_yolo(root: Path, pictures: list[Annotated], classes: list[str]) -> Path:
    folder = _predicted(root, pictures, classes, "yolo")
    (folder / "labels/train").mkdir()
    (folder / "images/train").mkdir(parents=True)
    for picture in pictures:
        shutil.copy(picture.file, folder / "images/train" / picture.file.name)
        label = folder / f"labels/{picture.file.stem}.txt"
        label.rename(folder / f"labels/train/{label.name}")
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(classes))
    text = f"path: .\ntrain: images/train\nval:\nnc: {len(classes)}\nnames:\n{names}"
    (folder / "data.yaml").write_text(text)
    return folder


def _palette() -> list[int]:
    return [value for number in range(256) for value in (number, 255 - number, number // 2)]


def write_voc(root: Path, pictures: list[Annotated], classes: list[str]) -> Path:
    """With palettes, and borders of 255 between the objects and the background."""
    folder = root / "voc"
    for name in ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for picture in pictures:
        shutil.copy(picture.file, folder / "JPEGImages" / picture.file.name)
        maps = np.zeros((2, *picture.size), np.uint8)
        for number, (name, mask) in enumerate(picture.objects, start=1):
            maps[0][mask], maps[1][mask] = classes.index(name) + 1, number
        around = cv2.dilate(np.minimum(maps[1], 1), np.ones((3, 3), np.uint8)) > maps[1]
        maps[:, around & (maps[1] == 0)] = 255
        for values, kind in zip(maps, ("Class", "Object"), strict=True):
            image = Image.fromarray(values, "P")
            image.putpalette(_palette())
            image.save(folder / f"Segmentation{kind}" / f"{picture.file.stem}.png")
    stems = [picture.file.stem for picture in pictures]
    (folder / "ImageSets/Segmentation/train.txt").write_text("\n".join(stems) + "\n")
    lines = [f"{name}:{number},0,0::" for number, name in enumerate(["background", *classes])]
    (folder / "labelmap.txt").write_text("\n".join(["# label:color_rgb:parts:actions", *lines]))
    return folder


def write_cvat(root: Path, pictures: list[Annotated], classes: list[str]) -> Path:
    """A mask of every second object, polygons of the others, a group where one has several."""
    folder = root / "cvat"
    (folder / "images").mkdir(parents=True)
    labels = "".join(f"<label><name>{name}</name></label>" for name in classes)
    parts = [f"<version>1.1</version><meta><task><labels>{labels}</labels></task></meta>"]
    for number, picture in enumerate(pictures):
        shutil.copy(picture.file, folder / "images" / picture.file.name)
        height, width = picture.size
        head = f'id="{number}" name={quoteattr(picture.file.name)}'
        parts.append(f'<image {head} width="{width}" height="{height}">')
        for place, (name, mask) in enumerate(picture.objects):
            shapes = [_cvat_mask(mask)] if place % 2 else _cvat_polygons(mask, place + 1)
            parts += [shape.format(name) for shape in shapes]
        parts.append("</image>")
    text = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>{}</annotations>\n'
    (folder / "annotations.xml").write_text(text.format("\n".join(parts)))
    return folder


def _cvat_mask(mask: np.ndarray) -> str:
    x, y, w, h = map(int, mask_util.toBbox(encode_mask(mask)))
    flat = mask[y : y + h, x : x + w].ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    runs = np.diff(ends, prepend=0).tolist()
    runs = [0, *runs] if flat[0] else runs
    rle = ", ".join(map(str, runs))
    box = f'left="{x}" top="{y}" width="{w}" height="{h}"'
    return f'<mask label="{{}}" rle="{rle}" {box} z_order="0"></mask>'


def _cvat_polygons(mask: np.ndarray, group: int) -> list[str]:
    """Outlines between the pixels, eight times as fine; a mask, where one has a hole."""
    fine = mask.astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    contours, tree = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if (tree[0, :, 3] >= 0).any():
        return [_cvat_mask(mask)]
    shapes = []
    for contour in contours:
        corners = (cv2.approxPolyDP(contour, 2, closed=True)[:, 0] + 0.5) / 8
        points = ";".join(f"{x:.2f},{y:.2f}" for x, y in corners)
        grouped = f'group_id="{group}"' if len(contours) > 1 else ""
        shapes.append(f'<polygon label="{{}}" points="{points}" {grouped} z_order="0"></polygon>')
    return shapes


def write_supervisely(root: Path, pictures: list[Annotated], classes: list[str]) -> Path:
    """A bitmap of every second object, and of those with several parts; polygons of the others."""
    folder = root / "supervisely"
    for name in ("img", "ann"):
        (folder / "ds0" / name).mkdir(parents=True)
    entries = [{"title": name, "shape": "any", "color": "#FF0000"} for name in classes]
    (folder / "meta.json").write_text(json.dumps({"classes": entries, "tags": []}))
    for picture in pictures:
        shutil.copy(picture.file, folder / "ds0/img" / picture.file.name)
        objects = []
        for place, (name, mask) in enumerate(picture.objects):
            shape = (None if place % 2 else supervisely_polygon(mask)) or supervisely_bitmap(mask)
            objects.append({"classTitle": name, "tags": [], **shape})
        size = {"height": picture.size[0], "width": picture.size[1]}
        content = {"description": "", "tags": [], "size": size, "objects": objects}
        (folder / "ds0/ann" / f"{picture.file.name}.json").write_text(json.dumps(content))
    return folder


def supervisely_bitmap(mask: np.ndarray) -> dict:
    x, y, w, h = map(int, mask_util.toBbox(encode_mask(mask)))
    rgba = np.zeros((h, w, 4), np.uint8)
    rgba[mask[y : y + h, x : x + w]] = 255
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG")
    data = base64.b64encode(zlib.compress(buffer.getvalue())).decode()
    return {"geometryType": "bitmap", "bitmap": {"data": data, "origin": [x, y]}}


def supervisely_polygon(mask: np.ndarray) -> dict | None:
    """In numbers of pixels; the outline of a hole is of pixels of the hole. None: several parts."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if len(contours) != 1 or len(contours[0]) < 3:
        return None
    filled = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(filled, contours, 1)
    holes, _ = cv2.findContours(filled - mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if any(len(hole) < 3 for hole in holes):
        return None
    interior = [hole[:, 0].tolist() for hole in holes]
    points = {"exterior": contours[0][:, 0].tolist(), "interior": interior}
    return {"geometryType": "polygon", "points": points}


WRITERS = {
    "labelme": write_labelme,
    "yolo": write_yolo,
    "voc": write_voc,
    "cvat": write_cvat,
    "supervisely": write_supervisely,
}
