"""Ground truth for COCO's AP, made of checked annotations only.

pycocotools takes ids, areas and boxes from the file as they are: an annotation with the number of
another replaces it, the number 0 is never matched, a missing area is an error or a wrong AP of
small objects. So annotations are numbered anew, and areas and boxes come from masks where the file
does not say them.
"""

import contextlib
import io
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
from detectron2.data import Metadata
from detectron2.structures import BoxMode
from pycocotools.coco import COCO

from ..data.datasets.coco_files import Id, read_coco
from ..data.datasets.json_loaders import is_short
from ..data.dicts import load_dicts
from ..data.entries import boxes_differ, sound_annotation
from ..data.faults import area, image_size
from ..data.segmentations import FAR, sound_segmentation, to_rle

logger = logging.getLogger(__name__)

Entry = dict[str, Any]
_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True)
class Truth:
    """What predictions are compared with.

    Args:
        coco: pycocotools' index; images whose ids are text, negative or beyond 63 bits, as hashes
            are, are numbered in it, since compiled code reads them
        numbers: of these images; empty: the ids are those of the data set
    """

    coco: COCO
    numbers: dict[Id, int]


def read_truth(name: str, metadata: Metadata) -> Truth:
    """The ground truth of a data set: of its ``json_file``, else of its dicts.

    Raises:
        ValueError: there is none, or an entry cannot be used; the message has file, entry and key.
    """
    if metadata.get("json_file") is not None:
        content = read_coco(metadata.json_file, has_names=False)
        images, categories = list(content.images.values()), content.categories
        annotations, where = content.annotations, str(metadata.json_file)
    else:
        images, annotations, categories = _of_dicts(name, metadata)
        where = f"data set {name!r}"
    numbers: dict[Id, int] = {}
    if not all(_counts(image["id"]) for image in images):
        numbers = {image["id"]: number for number, image in enumerate(images, start=1)}
    dataset: Entry = {"images": images, "categories": categories}
    if annotations is not None:
        dataset["annotations"] = _sound_annotations(annotations, images, where)
    if numbers:
        dataset["images"] = [{**image, "id": numbers[image["id"]]} for image in images]
        for annotation in dataset.get("annotations", ()):
            annotation["image_id"] = numbers[annotation["image_id"]]
    coco = COCO()
    coco.dataset = dataset
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return Truth(coco, numbers)


def _counts(image_id: Any) -> bool:
    return isinstance(image_id, int | np.integer) and 0 <= image_id <= _LARGEST_ID


def _of_dicts(name: str, metadata: Metadata) -> tuple[list[Entry], list[Entry], list[Entry]]:
    """Images, annotations and categories in COCO's format, with the data set's category ids."""
    class_names = metadata.get("thing_classes")
    if class_names is None:
        raise ValueError(
            f"data set {name!r} has no thing_classes, which the task 'instance' needs; set them "
            f"with MetadataCatalog.get({name!r}).set(thing_classes=[...])"
        )
    mapping = metadata.get("thing_dataset_id_to_contiguous_id")
    ids = (
        {new: old for old, new in mapping.items()}
        if mapping
        else dict(enumerate(range(len(class_names))))
    )
    images, annotations = [], []
    for entry in load_dicts(name, for_test=True, keys=("annotations",)):
        try:
            height, width = image_size(entry)
        except ValueError as error:
            raise ValueError(f"data set {name!r}: {entry['file_name']}: {error}") from error
        image_id = entry["image_id"]
        images.append(
            {"id": image_id, "file_name": entry["file_name"], "height": height, "width": width}
        )
        for number, annotation in enumerate(entry.get("annotations", ())):
            where = f"data set {name!r}: {entry['file_name']}: annotation {number}"
            category = annotation["category_id"]
            if category not in ids:
                raise ValueError(f"{where}: the category_id {category} is none of the classes")
            found = {**annotation, "image_id": image_id, "category_id": ids[category]}
            if found.get("bbox") is not None:
                found["bbox"] = _as_xywh(found, where)
            annotations.append(found)
    categories = [{"id": ids[i], "name": n} for i, n in enumerate(class_names) if i in ids]
    return images, annotations, categories


def _as_xywh(annotation: Entry, where: str) -> list[float]:
    if "bbox_mode" not in annotation:
        raise ValueError(f"{where}: 'bbox_mode' is missing; it says what the numbers of bbox are")
    mode, values = annotation["bbox_mode"], list(annotation["bbox"])
    wanted = BoxMode.XYWH_ABS if len(values) == 4 else BoxMode.XYWHA_ABS
    return BoxMode.convert(values, BoxMode(mode), wanted)


def _sound_annotations(
    annotations: Iterable[Entry], images: list[Entry], where: str
) -> list[Entry]:
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    sound: list[Entry] = []
    moved = 0
    for annotation in annotations:
        try:
            found = _sound_annotation(annotation, sizes[annotation["image_id"]])
        except ValueError as error:
            raise ValueError(
                f"{where}: annotation {annotation.get('id')!r} of image "
                f"{annotation['image_id']!r}: {error}"
            ) from error
        if found is None:  # what the loaders leave out, too
            continue
        moved += found.pop("is_moved")
        sound.append({**found, "id": len(sound) + 1})
    if moved:
        logger.warning(
            "%s: the boxes of %d annotations lie elsewhere than their masks, whose boxes count",
            where,
            moved,
        )
    return sound


def _sound_annotation(annotation: Entry, size: tuple[int, int]) -> Entry | None:
    """With a mask that fits, a box, an area and ``is_moved``; None where the mask has no area."""
    mask = annotation.get("segmentation")
    if isinstance(mask, list) and mask:
        mask = [part for part in mask if not is_short(part)]
        if not mask:
            return None
        annotation = {**annotation, "segmentation": mask}
    found = {**sound_annotation(annotation, size), "is_moved": False}
    found.setdefault("iscrowd", 0)
    around = None
    if mask is not None and len(mask):
        segmentation = sound_segmentation(found["segmentation"], size, slack=0, reach=FAR)
        rle = to_rle(segmentation, size)
        found["segmentation"] = segmentation
        around, pixels = mask_util.toBbox(rle).tolist(), float(mask_util.area(rle))
    else:
        found.pop("segmentation", None)
    if not annotation.get("bbox"):
        found["bbox"] = around
    elif len(found["bbox"]) != 4:
        if around is None:
            raise ValueError("'bbox' is a turned box, and AP is of upright ones; add its mask")
        found["bbox"] = around
    elif around is not None and boxes_differ(found["bbox"], around):
        found["bbox"], found["is_moved"] = around, True
    if annotation.get("area") is not None:
        found["area"] = area(annotation["area"])
    else:
        found["area"] = pixels if around is not None else found["bbox"][2] * found["bbox"][3]
    return found
