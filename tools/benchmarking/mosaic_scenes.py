"""Pictures of "shapes" with their ground truth, mosaics of them and windows of mosaics."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import cv2
import numpy as np
import pycocotools.mask as mask_util
from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog
from panopticapi.utils import id2rgb, rgb2id
from tqdm import tqdm

from d2seg.pictures import read_image

DATASET = "shapes_panoptic_{}"
WHOLE_SHARE = 0.65  # of an object that the edge of a picture of "shapes" leaves, at least
Scene = tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]  # picture, ids and their segments


def singles(split: str) -> list[Scene]:
    """Pictures (H, W, 3) RGB, ids (H, W) and their segments, with contiguous categories."""
    scenes = []
    for record in DatasetCatalog.get(DATASET.format(split)):
        ids = rgb2id(read_image(record["pan_seg_file_name"], "RGB"))
        scenes.append((read_image(record["file_name"], "RGB"), ids, record["segments_info"]))
    return scenes


def mosaics(number: int, length: int, side: int) -> Iterator[list[int]]:
    """Which of so many pictures each mosaic is laid of, row by row: all, each once where they fill
    the mosaics, else the first ones again."""
    per_row = -(-(side + length // 2) // length)
    num_mosaics = max(1, number // per_row**2)
    for start in range(0, num_mosaics * per_row**2, per_row**2):
        yield [(start + place) % number for place in range(per_row**2)]


def window_of(scenes: list[Scene], corner: tuple[int, int], side: int) -> Scene:
    """Of the square that scenes make, row by row, what begins at ``corner`` (y, x)."""
    length, per_row = scenes[0][1].shape[0], round(len(scenes) ** 0.5)
    picture = np.zeros((per_row * length, per_row * length, 3), np.uint8)
    ids = np.zeros(picture.shape[:2], np.int64)
    segments: list[dict[str, Any]] = []
    for place, (image, own, infos) in enumerate(scenes):
        top, left = (length * at for at in divmod(place, per_row))
        part = slice(top, top + length), slice(left, left + length)
        picture[part] = image
        for info in infos:
            segments.append(info | {"id": len(segments) + 1})
            ids[part][own == info["id"]] = len(segments)
    window = tuple(slice(start, start + side) for start in corner)
    return picture[window], *joined_stuff(ids[window], segments)


def windows(scene: Scene, length: int, step: int) -> Iterator[Scene]:
    """Parts as large as a tile, as far apart as tiles are, with the rest cut off."""
    picture, ids, segments = scene
    for top in range(0, len(picture) - length + 1, step):
        for left in range(0, len(picture) - length + 1, step):
            part = slice(top, top + length), slice(left, left + length)
            # numbers must be 1 .. of all
            yield picture[part], *joined_stuff(*numbered(ids[part], segments))


def numbered(
    ids: np.ndarray, segments: list[dict[str, Any]]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """With ids 1 .. of all segments."""
    table = np.zeros(max(info["id"] for info in segments) + 1, np.int64)
    for number, info in enumerate(segments, start=1):
        table[info["id"]] = number
    return table[ids], [info | {"id": n} for n, info in enumerate(segments, start=1)]


def write_windows(folder: Path, number: int) -> None:
    """All pictures as they are, and windows as large as one, anywhere in four of them: as panoptic
    and as instance data, and with label maps of stuff alone."""
    scenes, random = singles("train"), np.random.default_rng(0)
    length = scenes[0][1].shape[0]
    classes = MetadataCatalog.get(DATASET.format("train"))
    categories = [
        {"id": i, "name": name, "isthing": int(is_thing)}
        for i, (name, is_thing) in enumerate(
            zip(classes.stuff_classes, are_things(classes), strict=True), start=1
        )
    ]
    num_things = sum(each["isthing"] for each in categories)  # which come first
    images, annotations, instances = [], [], []
    for name in ("images", "panoptic", "stuff"):
        (folder / name).mkdir(parents=True)
    for index in tqdm(range(1, len(scenes) + number + 1), "windows"):
        if index <= len(scenes):
            picture, ids, segments = window_of(scenes[index - 1 : index], (0, 0), length)
        else:
            chosen = [scenes[i] for i in random.integers(len(scenes), size=4)]
            corner = tuple(random.integers(length + 1, size=2).tolist())
            picture, ids, segments = window_of(chosen, corner, length)
        file = f"{index:06d}.png"
        stuff = np.zeros(ids.shape, np.uint8)  # 0: a thing
        images.append({"id": index, "file_name": file, "height": length, "width": length})
        entries = []
        for info in segments:
            mask, category = ids == info["id"], info["category_id"] + 1
            entries.append({"id": info["id"], "area": info["area"], "category_id": category})
            if not info["isthing"]:
                stuff[mask] = category - num_things
                continue
            entry = coco_entry(mask, category, index)
            entry["segmentation"]["counts"] = entry["segmentation"]["counts"].decode()
            number_of = {"id": len(instances) + 1, "iscrowd": info["iscrowd"]}
            instances.append(entry | number_of)
        annotations.append({"image_id": index, "file_name": file, "segments_info": entries})
        cv2.imwrite(str(folder / "images" / file), picture[..., ::-1])
        cv2.imwrite(str(folder / "panoptic" / file), id2rgb(ids)[..., ::-1])
        cv2.imwrite(str(folder / "stuff" / file), stuff)
    for name, entries, those in (
        ("panoptic", annotations, categories),
        ("instance", instances, categories[:num_things]),
    ):
        content = {"images": images, "annotations": entries, "categories": those}
        (folder / f"{name}.json").write_text(json.dumps(content))
        folders = ", panoptic: panoptic" if name == "panoptic" else ""
        (folder / f"{name}.yaml").write_text(
            f"name: windows_{name}\ntask: {name}\nsplits:\n"
            f"  train: {{images: images, annotations: {name}.json{folders}}}\n"
        )


def joined_stuff(
    ids: np.ndarray, segments: list[dict[str, Any]]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """One segment for each stuff class, and no segment without pixels; areas are counted anew."""
    first: dict[int, int] = {}
    table = np.zeros(len(segments) + 1, np.int64)
    for info in segments:
        number = info["id"]
        table[number] = number
        if not info["isthing"]:
            table[number] = first.setdefault(info["category_id"], number)
    ids = table[ids]
    areas = np.bincount(ids.ravel(), minlength=len(table))
    kept = []
    for info in segments:
        area = int(areas[info["id"]])
        is_cut = info["isthing"] and area < WHOLE_SHARE * info["area"]
        is_cut = is_cut or info.get("iscrowd", 0)
        if area:
            kept.append({**info, "area": area, "iscrowd": int(is_cut)})
    return ids, kept


def are_things(metadata: Metadata) -> list[bool]:
    """Of each class; ``thing_classes`` has all of them in one numbering."""
    things = set(metadata.thing_dataset_id_to_contiguous_id.values())
    return [i in things for i in range(len(metadata.stuff_classes))]


def coco_entry(mask: np.ndarray, category: int, image: int) -> dict[str, Any]:
    rle = mask_util.encode(np.asfortranarray(mask, np.uint8))
    box, area = mask_util.toBbox(rle).tolist(), float(mask_util.area(rle))
    return {
        "segmentation": rle,
        "category_id": category,
        "image_id": image,
        "bbox": box,
        "area": area,
    }
