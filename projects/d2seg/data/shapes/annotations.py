"""COCO annotations of a scene: instances, panoptic segments and semantic labels."""

from typing import Any

import cv2
import numpy as np
import pycocotools.mask as mask_util

from .categories import CATEGORIES, CONTIGUOUS_ID, STUFF
from .expressions import ObjectFacts
from .scene import Scene
from .textures import RandomState

MIN_POLYGON_IOU = 0.99  # below, the polygons of a mask are not good enough and it is stored as RLE
_UPSCALE = 4  # contours run through pixel centres; on this finer grid that costs 1/8 pixel
_TOLERANCE = 0.45  # pixels that a simplified polygon may deviate

_CATEGORY = {c.name: c for c in CATEGORIES}


def encode_mask(mask: np.ndarray) -> list[list[float]] | dict[str, Any]:
    """Return a COCO segmentation of a bool (H, W) mask.

    Polygons (flat lists of x, y) where the mask has no hole and the polygons, rasterised by
    pycocotools, have an IoU of ``MIN_POLYGON_IOU`` or more with it; else compressed RLE, exact,
    with ``counts`` as text.
    """
    rle = mask_util.encode(np.asfortranarray(mask, np.uint8))
    polygons = _trace(mask)
    if polygons:
        traced = mask_util.merge(mask_util.frPyObjects(polygons, *mask.shape))
        if mask_util.iou([traced], [rle], [0])[0, 0] >= MIN_POLYGON_IOU:
            return polygons
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


def _trace(mask: np.ndarray) -> list[list[float]]:
    """Outlines of all parts of a mask; empty where one has a hole or is too small to outline."""
    x, y, width, height = box_of(mask)
    crop = mask[y : y + height, x : x + width].astype(np.uint8)
    fine = crop.repeat(_UPSCALE, axis=0).repeat(_UPSCALE, axis=1)
    contours, hierarchy = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if (hierarchy[0, :, 3] >= 0).any():  # a contour within another one
        return []
    polygons = []
    for contour in contours:
        corners = cv2.approxPolyDP(contour, _TOLERANCE * _UPSCALE, closed=True)[:, 0]
        if len(corners) < 3:
            return []
        points = (corners + 0.5) / _UPSCALE + (x, y)
        polygons.append(points.round(2).ravel().tolist())
    return polygons


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Tight x, y, width, height of a mask that is not empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y


def gather_facts(scene: Scene, first_id: int) -> list[ObjectFacts]:
    """The facts of each object for referring expressions; ids count up from ``first_id``."""
    facts = []
    for i, item in enumerate(scene.objects):
        area = np.count_nonzero(item.full_mask)
        under = np.bincount(scene.stuff[item.full_mask], minlength=len(STUFF)) / area
        covered = {
            first_id + j: np.count_nonzero(item.full_mask & scene.objects[j].full_mask) / area
            for j in range(i + 1, len(scene.objects))
        }
        moments = cv2.moments(scene.mask_of(i).astype(np.uint8), binaryImage=True)
        facts.append(
            ObjectFacts(
                id=first_id + i,
                name=item.name,
                color=item.color,
                center=(
                    moments["m10"] / moments["m00"] + 0.5,
                    moments["m01"] / moments["m00"] + 0.5,
                ),
                area=int(moments["m00"]),
                size=item.size,
                surface={
                    c.name: round(float(f), 4) for c, f in zip(STUFF, under, strict=True) if f
                },
                hidden_by={j: round(share, 4) for j, share in covered.items() if share},
            )
        )
    return facts


def instance_annotations(
    scene: Scene, facts: list[ObjectFacts], image_id: int
) -> list[dict[str, Any]]:
    """Entries of a COCO instances file; ``attributes`` holds what COCO has no key for."""
    return [_instance_annotation(scene.mask_of(i), fact, image_id) for i, fact in enumerate(facts)]


def _instance_annotation(mask: np.ndarray, facts: ObjectFacts, image_id: int) -> dict[str, Any]:
    return {
        "id": facts.id,
        "image_id": image_id,
        "category_id": _CATEGORY[facts.name].id,
        "iscrowd": 0,
        "area": facts.area,
        "bbox": list(box_of(mask)),
        "segmentation": encode_mask(mask),
        "attributes": {
            "color": facts.color,
            "size": round(facts.size, 2),
            "surface": facts.surface,
            "hidden_by": facts.hidden_by,
        },
    }


def semantic_map(scene: Scene) -> np.ndarray:
    """Contiguous class ids, uint8 (SIZE, SIZE); nothing is left without a class."""
    names = [c.name for c in STUFF] + [item.name for item in scene.objects]
    return np.array([CONTIGUOUS_ID[name] for name in names], np.uint8)[scene.front]


def panoptic_map(scene: Scene, rng: RandomState) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Return the picture of segment ids and its ``segments_info``, with dataset category ids.

    The picture is uint8 (SIZE, SIZE, 3) RGB with id = R + 256 G + 65536 B; ids are colours near
    those of the category, so that the picture is good to look at.
    """
    categories = [*STUFF, *(_CATEGORY[item.name] for item in scene.objects)]
    areas = np.bincount(scene.front.ravel(), minlength=len(categories)).tolist()
    colors: list[tuple[int, ...]] = []
    segments = []
    for i, category in enumerate(categories):
        color = category.color
        while color in colors:
            color = tuple(np.clip(category.color + rng.randint(-40, 41, 3), 1, 255).tolist())
        colors.append(color)
        if areas[i]:
            segments.append(
                {
                    "id": color[0] + 256 * color[1] + 65536 * color[2],
                    "category_id": category.id,
                    "iscrowd": 0,
                    "area": areas[i],
                    "bbox": list(box_of(scene.front == i)),
                }
            )
    return np.array(colors, np.uint8)[scene.front], segments
