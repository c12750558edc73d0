"""What the report says of instance results: AP by class and size, curves, kinds of errors, scores.

T IoU thresholds, R recalls, K classes, A ranges of area.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ...data.readers import PictureReader
from . import tide
from .gallery import Scene, draw_gallery, palette_of, read_picture

logger = logging.getLogger(__name__)

NUM_BINS = 20  # of the score histograms
MAX_CLASSES = 100  # with curves: those with most objects
_RECALL_STEP = 4  # of COCO's 101 recalls, every so many
ReadSized = Callable[[str, tuple[int, int]], np.ndarray | None]  # of a file and (H, W)
_AREAS = ("all", "small", "medium", "large")


def instance_record(
    coco: COCO,
    results: Sequence[Mapping[str, Any]],
    evaluation: COCOeval,
    kind: str,
    max_detections: int,
    image_root: str | None,
    reader: PictureReader | None = None,
) -> dict[str, Any]:
    """The record of one kind of results.

    Args:
        coco: the ground truth
        results: in COCO's format, with the ids of ``coco``
        evaluation: accumulated, of these results
        kind: "segm" or "bbox"
        max_detections: of a picture and class that count
        image_root: where the pictures of ``coco`` are
        reader: of pictures with other bands
    """
    categories = coco.loadCats(sorted(coco.getCatIds()))
    names = [str(c.get("name", c["id"])) for c in categories]
    image_ids = sorted(coco.getImgIds())
    by_image = _by_image(results, coco, max_detections)
    objects = [_objects(coco, i, by_image.get(i, []), categories, kind) for i in image_ids]
    judged = tide.judge(objects)
    thresholds = [_best_threshold(judged, k) for k in range(len(names))]
    base = tide.mean_ap(judged, len(names))
    costs = [tide.mean_ap(judged, len(names), k) - base for k in range(len(tide.KINDS))]
    certain = judged.scores >= np.array([t["score"] for t in thresholds])[judged.classes]
    record = {
        "kind": kind,
        "classes": names,
        "colors": palette_of(categories),
        "objects": np.bincount(judged.truth_classes, minlength=len(names)),
        "detections": np.bincount(judged.classes, minlength=len(names)),
        "ap": _mean_ap(evaluation.eval["precision"]),
        "areas": _AREAS,
        "curves": _curves(evaluation.eval["precision"], judged.truth_classes),
        "errors": {
            "kinds": tide.KINDS,
            "ap50": base,
            "cost": costs,
            "count": _counts(judged, np.ones_like(certain)),
            "count_certain": _counts(judged, certain),
            "by_class": _counts_by_class(judged, len(names)),
            "swaps": _swaps(judged, certain),
        },
        "scores": _score_histograms(judged, len(names)),
        "thresholds": thresholds,
    }
    if kind == "segm":

        def read(file_name: str, size: tuple[int, int]) -> np.ndarray | None:
            return read_picture(os.path.join(image_root or "", file_name), size, reader)

        record["gallery"] = _gallery(coco, image_ids, by_image, judged, thresholds, read)
    return record


def _by_image(
    results: Sequence[Mapping[str, Any]], coco: COCO, max_detections: int
) -> dict[Any, list[Mapping[str, Any]]]:
    """The results of each picture, the best first, at most so many of each class."""
    grouped: dict[Any, list[Mapping[str, Any]]] = {}
    for result in results:
        grouped.setdefault(result["image_id"], []).append(result)
    kept = {}
    for image_id, found in grouped.items():
        found.sort(key=lambda result: -result["score"])
        numbers: dict[int, int] = {}
        kept[image_id] = []
        for result in found:
            category = result["category_id"]
            numbers[category] = numbers.get(category, 0) + 1
            if numbers[category] <= max_detections:
                kept[image_id].append(result)
    return kept


def _objects(
    coco: COCO,
    image_id: Any,
    results: Sequence[Mapping[str, Any]],
    categories: Sequence[Mapping[str, Any]],
    kind: str,
) -> tide.ImageObjects:
    number = {category["id"]: i for i, category in enumerate(categories)}
    truth = coco.imgToAnns.get(image_id, [])
    if kind == "segm":
        truth = [a for a in truth if "segmentation" in a]
        shapes = [r["segmentation"] for r in results], [coco.annToRLE(a) for a in truth]
    else:
        shapes = [list(r["bbox"]) for r in results], [list(a["bbox"]) for a in truth]
    is_crowd = [int(a.get("iscrowd", 0)) for a in truth]
    ious = mask_util.iou(*shapes, is_crowd) if results and truth else []
    return tide.ImageObjects(
        np.array([r["score"] for r in results], float),
        np.array([number[r["category_id"]] for r in results], int),
        np.array([number[a["category_id"]] for a in truth], int),
        np.asarray(ious, float).reshape(len(results), len(truth)),
        np.array(is_crowd, bool),
    )


def _mean_ap(precision: np.ndarray) -> dict[str, list]:
    """AP of each class, by area; and at single thresholds. NaN without objects.

    Args:
        precision: (T, R, K, A, M) as of pycocotools, -1 where undefined.
    """
    defined = np.where(precision[..., -1] > -1, precision[..., -1], np.nan)  # (T, R, K, A)
    by_area = defined.mean(axis=(0, 1)).T  # (A, K)
    named = {name: by_area[i].tolist() for i, name in enumerate(_AREAS)}
    return {
        **named,
        "50": defined[0, :, :, 0].mean(axis=0).tolist(),
        "75": defined[5, :, :, 0].mean(axis=0).tolist(),
    }


def _curves(precision: np.ndarray, truth_classes: np.ndarray) -> dict[str, Any]:
    """Precision over recall for each threshold, of the classes with most objects."""
    counts = np.bincount(truth_classes, minlength=precision.shape[2])
    chosen = np.sort(np.argsort(-counts, kind="stable")[:MAX_CLASSES])
    chosen = chosen[counts[chosen] > 0]
    values = precision[:, ::_RECALL_STEP][:, :, chosen, 0, -1]  # (T, R', K')
    return {
        "classes": chosen,
        "recall": np.linspace(0, 1, 101)[::_RECALL_STEP],
        "iou": np.linspace(0.5, 0.95, len(precision)),
        "precision": np.round(values.transpose(2, 0, 1), 3),
    }


def _counts(judged: tide.Judged, chosen: np.ndarray) -> dict[str, int]:
    """Detections of each kind among the chosen ones. Missed objects are those of all detections."""
    found = np.bincount(judged.kinds[chosen], minlength=tide.IGNORED + 1)
    counts = dict(zip(tide.KINDS, found[tide.CLASSIFICATION : tide.IGNORED].tolist(), strict=False))
    return {"right": int(found[tide.RIGHT]), **counts, "missed": int(judged.is_missed.sum())}


def _counts_by_class(judged: tide.Judged, num_classes: int) -> np.ndarray:
    """(K, 6) by the class that is predicted, or missed."""
    counts = np.zeros((num_classes, len(tide.KINDS)), int)
    for i, kind in enumerate(range(tide.CLASSIFICATION, tide.IGNORED)):
        counts[:, i] = np.bincount(judged.classes[judged.kinds == kind], minlength=num_classes)
    counts[:, -1] = np.bincount(judged.truth_classes[judged.is_missed], minlength=num_classes)
    return counts


def _swaps(judged: tide.Judged, certain: np.ndarray) -> list[tuple[int, int, int]]:
    """(true class, predicted class, detections) of wrong classes, the most frequent first."""
    chosen = np.flatnonzero((judged.kinds == tide.CLASSIFICATION) & certain)
    pairs = np.stack([judged.truth_classes[judged.targets[chosen]], judged.classes[chosen]], axis=1)
    values, counts = np.unique(pairs, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:20]
    return [(*values[i].tolist(), int(counts[i])) for i in order]


def _score_histograms(judged: tide.Judged, num_classes: int) -> np.ndarray:
    """(K, 2, NUM_BINS): right and wrong detections by score."""
    bins = np.clip((judged.scores * NUM_BINS).astype(int), 0, NUM_BINS - 1)
    counts = np.zeros((num_classes, 2, NUM_BINS), int)
    kept = judged.kinds != tide.IGNORED
    wrong = (judged.kinds != tide.RIGHT).astype(int)
    np.add.at(counts, (judged.classes[kept], wrong[kept], bins[kept]), 1)
    return counts


def _best_threshold(judged: tide.Judged, number: int) -> dict[str, float]:
    """The score from which on detections of a class have the best F1 at an IoU of 0.5."""
    chosen = (judged.classes == number) & (judged.kinds != tide.IGNORED)
    num_truth = int((judged.truth_classes == number).sum())
    order = np.argsort(-judged.scores[chosen], kind="stable")
    scores = judged.scores[chosen][order]
    right = np.cumsum(judged.kinds[chosen][order] == tide.RIGHT)
    # equal scores are taken together
    last = np.flatnonzero(np.append(scores[:-1] != scores[1:], True)) if len(scores) else []
    if not len(last) or right[-1] == 0:
        return {"score": 1.0, "f1": 0.0, "precision": 0.0, "recall": 0.0}
    f1 = 2 * right[last] / (np.asarray(last) + 1 + num_truth)
    best = last[int(np.argmax(f1))]
    return {
        "score": float(scores[best]),
        "f1": float(f1.max()),
        "precision": float(right[best] / (best + 1)),
        "recall": float(right[best] / max(num_truth, 1)),
    }


def _gallery(
    coco: COCO,
    image_ids: Sequence[Any],
    by_image: Mapping[Any, list[Mapping[str, Any]]],
    judged: tide.Judged,
    thresholds: Sequence[Mapping[str, float]],
    read: ReadSized,
) -> list[dict[str, Any]]:
    limits = np.array([t["score"] for t in thresholds])
    certain = (judged.scores >= limits[judged.classes]) & (judged.kinds != tide.IGNORED)
    num = len(image_ids)
    right = np.bincount(judged.image[certain & (judged.kinds == tide.RIGHT)], minlength=num)
    found = np.bincount(judged.image[certain], minlength=num)
    truth = np.bincount(judged.truth_image, minlength=num)
    with np.errstate(invalid="ignore"):
        f1 = 2 * right / (found + truth)
    place = {str(image_id): i for i, image_id in enumerate(image_ids)}

    def members(key: str) -> tuple[np.ndarray, np.ndarray]:
        return certain & (judged.image == place[key]), judged.truth_image == place[key]

    def classes_of(key: str) -> list[int]:
        detections, objects = members(key)
        return [*judged.classes[detections], *judged.truth_classes[objects]]

    def scene_of(key: str) -> Scene:
        image_id = image_ids[place[key]]
        categories = sorted(coco.getCatIds())
        drawn = [
            r
            for r in by_image.get(image_id, [])
            if r["score"] >= limits[categories.index(r["category_id"])]
        ]
        return _scene(coco, image_id, drawn, categories, read)

    def title_of(key: str) -> str:
        return os.path.basename(str(coco.imgs[image_ids[place[key]]].get("file_name", key)))

    scores = {str(i): float(f1[n]) for n, i in enumerate(image_ids)}
    return draw_gallery(scores, scene_of, classes_of, title_of, "F1")


def _scene(
    coco: COCO,
    image_id: Any,
    drawn: Sequence[Mapping[str, Any]],
    categories: Sequence[int],
    read: ReadSized,
) -> Scene:
    image = coco.imgs[image_id]
    size = (image["height"], image["width"])
    maps = [np.full(size, -1), np.full(size, -1)]
    truth = [
        (a["category_id"], coco.annToMask(a).astype(bool))
        for a in coco.imgToAnns.get(image_id, [])
        if "segmentation" in a and not a.get("iscrowd")
    ]
    found = [(r["category_id"], mask_util.decode(r["segmentation"]).astype(bool)) for r in drawn]
    # the least certain first, large objects below small ones
    for labels, masks in zip(maps, (truth, found[::-1]), strict=True):
        for category, mask in sorted(masks, key=lambda pair: -int(pair[1].sum())):
            labels[mask] = categories.index(category)
    picture = read(image["file_name"], size)
    colors = palette_of([coco.cats[i] for i in categories])
    wrong = maps[0] != maps[1]
    return Scene(picture, *maps, colors, wrong & (maps[1] >= 0), wrong & (maps[0] >= 0))
