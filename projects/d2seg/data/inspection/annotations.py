"""Looks at the instances of one dataset dict, for the inspection of data sets."""

from typing import Any

import pycocotools.mask as mask_util
from detectron2.structures import BoxMode

from ..entries import boxes_differ
from ..segmentations import FAR, MaskSizeError, sound_segmentation, to_rle
from .report import Counts, Report


def inspect_annotations(
    entry: dict[str, Any], size: tuple[int, int] | None, num_classes: int, report: Report
) -> None:
    """Add to ``report`` what is annotated with instances in one checked dict."""
    file = entry["file_name"]
    counts = report.counts.setdefault("instance", Counts())
    for number, annotation in enumerate(entry["annotations"]):
        category = annotation["category_id"]
        if not 0 <= category < num_classes:
            detail = f"{category} of annotation {number}"
            report.problem("category out of range", file, detail, ("annotation", number))
            continue
        area = _mask_area(annotation, number, file, size, report)
        if area == 0:
            report.problem("empty mask", file, f"annotation {number}", ("annotation", number))
        if area is not None:
            report.areas.append(area)
        counts.pixels[category] += area or 0
        counts.instances[category] += 1
        _check_box(annotation, number, file, report)
    counts.images.update(counts.instances.keys())


def _mask_area(
    annotation: dict[str, Any],
    number: int,
    file: str,
    size: tuple[int, int] | None,
    report: Report,
) -> int | None:
    """Pixels of the mask; None where there is no usable one. Counts its format."""
    mask = annotation.get("segmentation")
    if mask is None:
        report.formats["none"] += 1
        detail = f"annotation {number} has no segmentation"
        report.problem("no mask", file, detail, ("annotation", number))
        return None
    if size is None:
        return None
    kind = {list: "polygon", dict: "RLE"}.get(type(mask), "bitmap")
    report.formats[kind] += 1
    try:
        polygons = [part for part in mask if part] if kind == "polygon" else []
        if {list} == set(map(type, polygons)) and max(map(max, polygons)) <= 1:
            raise ValueError("all coordinates are below 1; they are counted in pixels")
        rle = to_rle(sound_segmentation(mask, size, slack=0, reach=FAR), size)
    except MaskSizeError as error:  # of a picture whose entry says another size
        where = f"{file}, annotation {number}"
        kind = "annotation and image differ in size"
        report.problem(kind, where, str(error), ("annotation", number))
        return None
    except ValueError as error:
        detail = f"annotation {number}: {error}"
        report.problem("unusable mask", file, detail, ("annotation", number))
        return None
    area = int(mask_util.area(rle))
    given = _as_xywh(annotation) if "bbox" in annotation else [0, 0]
    if (
        area
        and min(given[2:4], default=0) > 0
        and boxes_differ(given, mask_util.toBbox(rle).tolist())
    ):
        detail = f"annotation {number}: {annotation['bbox']}"
        report.problem("box elsewhere than its mask", file, detail, ("annotation", number))
    return area


def _check_box(annotation: dict[str, Any], number: int, file: str, report: Report) -> None:
    if "bbox" in annotation:
        box = _as_xywh(annotation)
        if min(box[2:4]) <= 0:
            detail = f"annotation {number}: {annotation['bbox']}"
            report.problem("empty box", file, detail, ("annotation", number))


def _as_xywh(annotation: dict[str, Any]) -> list[float]:
    values, mode = list(annotation["bbox"]), BoxMode(annotation.get("bbox_mode", BoxMode.XYWH_ABS))
    return BoxMode.convert(values, mode, BoxMode.XYWH_ABS) if len(values) == 4 else values
