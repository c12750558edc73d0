"""Kinds of errors of detections, and the AP that each costs (Bolya et al., TIDE: A General Toolbox
for Identifying Object Detection Errors, ECCV 2020, sections 2.2 and 2.3).

D detections of all pictures, G annotated objects, K classes. A detection is right if it overlaps an
object of its class, that no better one has taken, by an IoU of 0.5; below 0.1 it overlaps none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FOREGROUND_IOU, BACKGROUND_IOU = 0.5, 0.1
RIGHT, CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, IGNORED = range(7)
KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
_RECALLS = np.linspace(0, 1, 101)  # of COCO's AP


@dataclass(frozen=True)
class ImageObjects:
    """Detections and objects of one picture.

    Args:
        scores: (d,) float
        classes: (d,) of detections, int
        truth_classes: (g,) int
        ious: (d, g); for crowds, the share of the detection that lies in them
        is_crowd: (g,) bool; what lies in a crowd is neither right nor wrong
    """

    scores: np.ndarray
    classes: np.ndarray
    truth_classes: np.ndarray
    ious: np.ndarray
    is_crowd: np.ndarray


@dataclass(frozen=True)
class Judged:
    """What became of the detections and the objects of a data set.

    Args:
        image: (D,) index of the picture
        scores, classes, kinds: (D,) of detections; kinds RIGHT to IGNORED
        targets: (D,) the object that a wrong class or place was meant for; -1: none
        truth_image, truth_classes: (G,) of objects that are no crowds
        is_taken: (G,) bool, a detection of it is right
        is_missed: (G,) bool, no detection is right, nor wrong in class or place alone
    """

    image: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    kinds: np.ndarray
    targets: np.ndarray
    truth_image: np.ndarray
    truth_classes: np.ndarray
    is_taken: np.ndarray
    is_missed: np.ndarray


def judge(images: Sequence[ImageObjects]) -> Judged:
    """The kind of every detection."""
    columns: list[list[np.ndarray]] = [[] for _ in range(9)]
    num_truth = 0
    for index, found in enumerate(images):
        order = np.argsort(-found.scores, kind="stable")
        kinds, targets, is_taken, is_missed = _judge_image(found, order)
        kept = np.flatnonzero(~found.is_crowd)
        place = np.full(len(found.is_crowd) + 1, -1)  # the last stands for "none"
        place[kept] = num_truth + np.arange(len(kept))
        num_truth += len(kept)
        parts = (
            *(np.full(len(kinds), index), found.scores, found.classes, kinds, place[targets]),
            *(np.full(len(kept), index), found.truth_classes[kept]),
            *(is_taken[kept], is_missed[kept]),
        )
        for column, part in zip(columns, parts, strict=True):
            column.append(part)
    types = (int, float, int, int, int, int, int, bool, bool)
    empty = [np.zeros(0, kind) for kind in types]
    joined = [np.concatenate([e, *c]).astype(e.dtype) for e, c in zip(empty, columns, strict=True)]
    return Judged(*joined)


def _judge_image(
    found: ImageObjects, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Kinds and targets (d,) of the detections; of objects, (g,), which are taken and missed.

    Args:
        order: (d,) of the detections, the best first
    """
    num = len(found.truth_classes)
    is_taken, is_reached = np.zeros(num, bool), np.zeros(num, bool)
    kinds, targets = np.full(len(order), BACKGROUND), np.full(len(order), -1)
    if not num or not len(order):
        return kinds, targets, is_taken, ~found.is_crowd
    same = (found.classes[:, None] == found.truth_classes) & ~found.is_crowd
    own = np.where(same, found.ious, -1.0)
    kinds, targets = _kinds_of_wrong(found, own)
    for i in order[own.max(axis=1)[order] >= FOREGROUND_IOU]:
        ious = np.where(is_taken, -1.0, own[i])
        # as COCO's AP, which takes the last of equal ones
        best = num - 1 - int(np.argmax(ious[::-1]))
        if ious[best] >= FOREGROUND_IOU:
            kinds[i], targets[i], is_taken[best] = RIGHT, -1, True
    is_reached[targets[targets >= 0]] = True
    return kinds, targets, is_taken, ~is_taken & ~is_reached & ~found.is_crowd


def _kinds_of_wrong(found: ImageObjects, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The kinds (d,) that the detections have where they are not right, and the objects that they
    were meant for, or -1.

    Args:
        own: (d, g) IoU with objects of the same class, -1 elsewhere
    """
    is_same = found.classes[:, None] == found.truth_classes
    other = np.where(~is_same & ~found.is_crowd, found.ious, -1.0)
    in_crowd = (is_same & found.is_crowd & (found.ious >= FOREGROUND_IOU)).any(axis=1)
    best_own, best_other = own.max(axis=1), other.max(axis=1)
    in_place = best_own >= FOREGROUND_IOU
    conditions = {
        IGNORED: in_crowd & ~in_place,
        LOCALISATION: (best_own >= BACKGROUND_IOU) & ~in_place,
        CLASSIFICATION: best_other >= FOREGROUND_IOU,
        DUPLICATE: in_place,
        BOTH: best_other >= BACKGROUND_IOU,
    }
    kinds = np.select([*conditions.values()], [*conditions], default=BACKGROUND)
    meant = [own.argmax(axis=1), other.argmax(axis=1)]
    targets = np.select([kinds == LOCALISATION, kinds == CLASSIFICATION], meant, default=-1)
    return kinds, targets


def average_precision(scores: np.ndarray, is_right: np.ndarray, num_truth: int) -> float:
    """COCO's AP of one class, in [0, 1]: precision made to fall, at 101 recalls; NaN without
    objects."""
    if num_truth == 0:
        return float("nan")
    order = np.argsort(-scores, kind="mergesort")
    right = np.cumsum(is_right[order])
    precision = right / np.arange(1, len(order) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(right / num_truth, _RECALLS, side="left")
    return float(np.append(precision, 0.0)[np.minimum(at, len(precision))].mean())


def mean_ap(judged: Judged, num_classes: int, fixed: int | None = None) -> float:
    """AP at an IoU of 0.5, in [0, 1], over the classes with objects, after errors of a kind are
    put right.

    Args:
        fixed: an index of KINDS; a wrong class or place becomes right, unless its object has a
            right or a better detection, of either kind, and is left out then; other wrong
            detections are left out; missed objects do not count.
    """
    kinds, classes = judged.kinds.copy(), judged.classes.copy()
    counted = np.ones(len(judged.truth_classes), bool)
    kept = kinds != IGNORED
    name = None if fixed is None else KINDS[fixed]
    if name == "missed":
        counted = ~judged.is_missed
    elif name in ("classification", "localisation"):
        wrong = kinds == (CLASSIFICATION if name == "classification" else LOCALISATION)
        first = _best_of_each_target(judged)
        first = first[wrong[first]]
        classes[first] = judged.truth_classes[judged.targets[first]]
        kinds[first] = RIGHT
        kept &= (kinds == RIGHT) | ~wrong
    elif name is not None:
        kept &= kinds != {"both": BOTH, "duplicate": DUPLICATE, "background": BACKGROUND}[name]
    truth = np.bincount(judged.truth_classes[counted], minlength=num_classes)
    aps = []
    for number in range(num_classes):
        chosen = kept & (classes == number)
        if truth[number]:
            right = kinds[chosen] == RIGHT
            aps.append(average_precision(judged.scores[chosen], right, truth[number]))
    return float(np.mean(aps)) if aps else float("nan")


def _best_of_each_target(judged: Judged) -> np.ndarray:
    """Indices of those detections wrong in class or place alone whose object has no right one, the
    best for each."""
    chosen = np.flatnonzero(judged.targets >= 0)
    chosen = chosen[~judged.is_taken[judged.targets[chosen]]]
    chosen = chosen[np.argsort(-judged.scores[chosen], kind="stable")]
    return chosen[np.unique(judged.targets[chosen], return_index=True)[1]]
