"""From JSON files in COCO's formats to dataset dicts in detectron2's format, without opening any
image."""

import logging
import os
from pathlib import Path
from typing import Any

from detectron2.structures import BoxMode

from ..faults import Faults
from ..json_files import no_garbage
from .coco_files import Entry, Id, read_coco

logger = logging.getLogger(__name__)

# What a dict keeps of an annotation. "area" serves the evaluation, which reads the file itself.
_ANNOTATION_KEYS = ("iscrowd", "bbox", "keypoints", "category_id")


@no_garbage()
def load_instances(
    json_file: str | Path,
    image_root: str | Path,
    metadata: dict[str, Any],
    *,
    faults: Faults | None = None,
) -> list[dict[str, Any]]:
    """Dicts of a data set in COCO's instance format, with the category ids of ``metadata``.

    As detectron2's ``load_coco_json`` gives them, in the order of the images' ids, except that ids
    of annotations are not needed. Annotations whose polygons all have fewer than 3 points, and
    those of images that are not listed, are left out with a warning.

    Args:
        metadata: holds ``thing_dataset_id_to_contiguous_id``
        faults: as of :func:`read_coco`

    Raises:
        ValueError: as :func:`read_coco`; or a category id is not in ``metadata``.
    """
    content = read_coco(json_file, faults=faults)
    ids = metadata["thing_dataset_id_to_contiguous_id"]
    dicts: dict[Id, Entry] = {
        image_id: {
            "file_name": os.path.join(image_root, image["file_name"]),
            "height": image["height"],
            "width": image["width"],
            "image_id": image_id,
            "annotations": [],
        }
        for image_id, image in sorted(content.images.items(), key=_number_or_text)
    }
    num_short = 0
    for annotation in content.annotations or ():
        mask = annotation.get("segmentation")
        if isinstance(mask, list) and mask:
            mask = [part for part in mask if not is_short(part)]
            if faults is not None:
                _note_short(annotation, mask, faults)
            if not mask:
                num_short += 1
                continue
        record = {
            key: annotation[key] for key in _ANNOTATION_KEYS if annotation.get(key) is not None
        }
        record["category_id"] = _contiguous(annotation, ids, json_file, annotation["image_id"])
        if mask:
            record["segmentation"] = mask
        if "keypoints" in record:
            record["keypoints"] = _centres(record["keypoints"])
        if record.get("bbox") == []:  # as where there is none
            del record["bbox"]
        record["bbox_mode"] = BoxMode.XYWH_ABS
        dicts[annotation["image_id"]]["annotations"].append(record)
    for number, reason in (
        (num_short, "have polygons of fewer than 3 points"),
        (content.num_without_image, "are of images that are not listed"),
    ):
        if number:
            logger.warning("%s: %d annotations %s and are left out", json_file, number, reason)
    return list(dicts.values())


def _note_short(annotation: Entry, left: list[Any], faults: Faults) -> None:
    """Note polygons that cannot be drawn, where faults are collected; empty ones beside others are
    harmless."""
    short = [len(part) for part in annotation["segmentation"] if is_short(part)]
    if not faults.is_collecting or (left and not any(short)):
        return
    kind, what = ("unusable polygon", "it") if left else ("unusable mask", "the annotation")
    faults.add(
        kind,
        f"annotation {annotation.get('id')!r} of image {annotation['image_id']!r}: 'segmentation' "
        f"has a polygon of {max(short)} numbers; a polygon has 6 at least, x and y in turn, so "
        f"{what} is left out",
    )


def is_short(part: Any) -> bool:
    """Whether a polygon cannot be drawn; as ``load_coco_json``, which leaves out odd ones, too."""
    is_short = isinstance(part, list) and (len(part) < 6 or len(part) % 2 == 1)
    return is_short and not any(isinstance(number, list | dict) for number in part)


@no_garbage()
def load_panoptic(
    json_file: str | Path,
    image_root: str | Path,
    panoptic_root: str | Path,
    metadata: dict[str, Any],
    *,
    sem_seg_root: str | Path | None = None,
    image_suffix: str | None = None,
    faults: Faults | None = None,
) -> list[dict[str, Any]]:
    """Dicts of a data set in COCO's panoptic format, with contiguous category ids.

    Args:
        metadata: holds both ``*_dataset_id_to_contiguous_id``
        sem_seg_root: folder of label maps named as the panoptic PNGs; ``sem_seg_file_name`` is
            there only if this is
        image_suffix: an image is named as its panoptic PNG, with this extension; None: as the
            list of images in the JSON says
        faults: as of :func:`read_coco`

    Raises:
        ValueError: as :func:`read_coco`; or a segment's category id is in neither map.
    """
    content = read_coco(json_file, is_panoptic=True, faults=faults)
    things = metadata["thing_dataset_id_to_contiguous_id"]
    stuff = metadata["stuff_dataset_id_to_contiguous_id"]
    contiguous = {**stuff, **things}
    dicts = []
    for annotation in content.annotations or ():
        image, png = content.images[annotation["image_id"]], annotation["file_name"]
        name = image["file_name"]
        if image_suffix is not None:
            name = os.path.splitext(png)[0] + image_suffix
        segments = annotation["segments_info"]
        for segment in segments:  # of this function's own content: copies would take half its time
            category = segment["category_id"]
            if category not in contiguous:
                raise _unknown_category(segment, json_file, annotation["image_id"])
            segment["category_id"], segment["isthing"] = contiguous[category], category in things
        entry = {
            "file_name": os.path.join(image_root, name),
            "image_id": annotation["image_id"],
            "height": image["height"],
            "width": image["width"],
            "pan_seg_file_name": os.path.join(panoptic_root, png),
            "segments_info": segments,
        }
        if sem_seg_root is not None:
            entry["sem_seg_file_name"] = os.path.join(sem_seg_root, png)
        dicts.append(entry)
    if alone := len(content.images) - len(dicts):
        logger.warning("%s: %d images have no annotation and are left out", json_file, alone)
    return dicts


def _contiguous(entry: Entry, ids: dict[int, int], json_file: str | Path, image_id: Id) -> int:
    category = entry["category_id"]
    if category not in ids:
        raise _unknown_category(entry, json_file, image_id)
    return ids[category]


def _unknown_category(entry: Entry, json_file: str | Path, image_id: Id) -> ValueError:
    return ValueError(
        f"{json_file}: an annotation of image {image_id!r} has the category id "
        f"{entry['category_id']}, which is not among the categories of the data set"
    )


def _centres(keypoints: list[Any]) -> list[Any]:
    """COCO counts pixels from their corners, detectron2's key points lie in their middles."""
    return [v if i % 3 == 2 else v + 0.5 for i, v in enumerate(keypoints)]


def _number_or_text(item: tuple[Id, Entry]) -> tuple[bool, Id]:
    return isinstance(item[0], str), item[0]
