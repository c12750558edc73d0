"""Panoptic quality (Kirillov et al., Panoptic Segmentation, CVPR 2019, section 4).

The protocol, void and crowd handling included, is that of the reference implementation panopticapi
(https://github.com/cocodataset/panopticapi), and the numbers are the same.

Shape legend: H, W = image size; G = ground-truth segments; P = predicted segments; C = classes;
R = runs of equal pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.utils import comm

from .id_maps import IdLookup

Segment = Mapping[str, Any]

# The first rows and columns of an intersection table; segments follow.
_UNLISTED, _VOID, _FIRST_SEGMENT = 0, 1, 2


@dataclass(frozen=True)
class ImageMatch:
    """How the segments of one image match.

    Args:
        iou: (G, P) of the matched pairs, 0 elsewhere
        overlaps: (G, P) IoU of all pairs, 0 for crowds
        intersections: (G, P) pixels, crowds too
        missed, spurious: (G,) and (P,) bool
        gt_class, pred_class: (G,) and (P,) index of the category; C where it is not evaluated
    """

    iou: np.ndarray
    overlaps: np.ndarray
    intersections: np.ndarray
    missed: np.ndarray
    spurious: np.ndarray
    gt_class: np.ndarray
    pred_class: np.ndarray


class PanopticQuality:
    """Counts matches image by image; :meth:`compute` turns the counts into PQ, SQ and RQ.

    Per class: PQ = sum of the matches' IoU / (TP + FP / 2 + FN / 2), SQ = mean IoU of the matches,
    RQ = TP / (TP + FP / 2 + FN / 2), averaged over the classes with TP + FP + FN > 0.
    """

    def __init__(self, categories: Sequence[Mapping[str, Any]]) -> None:
        """
        Args:
            categories: the ``categories`` of a COCO panoptic JSON; ``id`` and ``isthing`` are read.
        """
        self._index = {category["id"]: i for i, category in enumerate(categories)}
        self._isthing = np.array([category["isthing"] == 1 for category in categories], dtype=bool)
        self._lookup = IdLookup()
        # One entry more than classes: ground truth of categories that are not evaluated.
        self._iou = np.zeros(len(categories) + 1)
        self._tp, self._fp, self._fn = np.zeros((3, len(categories) + 1), dtype=np.int64)

    def update(
        self,
        pred_ids: np.ndarray,
        pred_segments: Sequence[Segment],
        gt_ids: np.ndarray,
        gt_segments: Sequence[Segment],
        name: object = "",
    ) -> ImageMatch:
        """Count the matches of one image, which are returned.

        Args:
            pred_ids, gt_ids: (H, W) integer segment ids in [0, 2**24); 0 is void.
            pred_segments: dicts with ``id`` and ``category_id``.
            gt_segments: dicts with ``id``, ``category_id``, and optionally ``iscrowd`` (0) and
                ``area`` (by default counted; COCO's files state it, and panopticapi uses that).
                Categories that are not among the evaluated ones are ignored.
            name: image id or file name, for the messages.

        Raises:
            ValueError: the maps differ in size, an id lies outside its range, a predicted id is
                used twice, is in the map and not in the list or the reverse, or a predicted
                category is unknown.
        """
        if pred_ids.shape != gt_ids.shape:
            raise ValueError(
                f"image {name}: the predicted map is {pred_ids.shape} (height, width), "
                f"the ground truth is {gt_ids.shape}; the image and its annotation differ in size"
            )
        try:
            table = self._intersections(pred_ids, pred_segments, gt_ids, gt_segments)
        except ValueError as error:
            raise ValueError(f"image {name}: {error}") from error
        pred_area = table[:, _FIRST_SEGMENT:].sum(axis=0)  # (P,)
        self._check_prediction(pred_ids, pred_segments, pred_area, table[:, _UNLISTED].sum(), name)
        pred_class = self._classes(pred_segments)
        gt_class = self._classes(gt_segments)
        match = self._match(table, gt_segments, gt_class, pred_class)

        size, iou = len(self._iou), match.iou
        rows, columns = np.nonzero(iou)
        self._iou += np.bincount(gt_class[rows], iou[rows, columns], minlength=size)
        self._tp += np.bincount(gt_class[rows], minlength=size)
        self._fn += np.bincount(gt_class[match.missed], minlength=size)
        self._fp += np.bincount(pred_class[match.spurious], minlength=size)
        return match

    def counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """True positives, false positives and false negatives of the C classes so far."""
        return self._tp[:-1], self._fp[:-1], self._fn[:-1]

    def merge(self, other: "PanopticQuality") -> None:
        """Add the counts of ``other``, which saw other images of the same data set."""
        self._iou += other._iou
        self._tp += other._tp
        self._fp += other._fp
        self._fn += other._fn

    def gather(self) -> None:
        """Sum the counts of all processes into the main process's; every process must call it."""
        counts = comm.gather((self._iou, self._tp, self._fp, self._fn), dst=0)
        if comm.is_main_process():
            self._iou, self._tp, self._fp, self._fn = (
                np.sum(parts, axis=0) for parts in zip(*counts, strict=True)
            )

    def compute(self) -> dict[str, dict]:
        """The quality of all images so far, in [0, 1] and in the layout of panopticapi.

        Returns:
            ``{"All": {"pq", "sq", "rq", "n"}, "Things": ..., "Stuff": ..., "per_class": {category
            id: {"pq", "sq", "rq"}}}``, where n is the number of classes averaged over; NaN where
            that is none.
        """
        iou, tp, fp, fn = (x[:-1] for x in (self._iou, self._tp, self._fp, self._fn))
        valid = tp + fp + fn > 0
        weight = np.where(valid, tp + 0.5 * fp + 0.5 * fn, 1.0)
        per_class = {"pq": iou / weight, "sq": iou / np.maximum(tp, 1), "rq": tp / weight}
        groups = {
            "All": valid,
            "Things": valid & self._isthing,
            "Stuff": valid & ~self._isthing,
        }
        result: dict[str, dict] = {}
        for group, chosen in groups.items():
            n = int(chosen.sum())
            result[group] = {
                key: float(values[chosen].mean()) if n else float("nan")
                for key, values in per_class.items()
            }
            result[group]["n"] = n
        result["per_class"] = {
            category: {key: float(values[i]) for key, values in per_class.items()}
            for category, i in self._index.items()
        }
        return result

    def _intersections(
        self,
        pred_ids: np.ndarray,
        pred_segments: Sequence[Segment],
        gt_ids: np.ndarray,
        gt_segments: Sequence[Segment],
    ) -> np.ndarray:
        """Pixels of every pair, (2 + G, 2 + P) int64; the first two are unlisted ids and void.

        Neighbours mostly have the same ids, so that a pair is looked up for a run and not for each
        of its pixels.
        """
        starts, lengths = _runs(pred_ids.ravel(), gt_ids.ravel())
        gt = self._lookup(gt_ids.ravel()[starts], _table_rows(gt_segments))
        pred = self._lookup(pred_ids.ravel()[starts], _table_rows(pred_segments))
        shape = (_FIRST_SEGMENT + len(gt_segments), _FIRST_SEGMENT + len(pred_segments))
        pairs = gt.astype(np.int64) * shape[1] + pred
        pixels = np.bincount(pairs, weights=lengths, minlength=shape[0] * shape[1])
        return pixels.astype(np.int64).reshape(shape)

    def _match(
        self,
        table: np.ndarray,
        gt_segments: Sequence[Segment],
        gt_class: np.ndarray,
        pred_class: np.ndarray,
    ) -> ImageMatch:
        inter = table[_FIRST_SEGMENT:, _FIRST_SEGMENT:]  # (G, P)
        void = table[_VOID, _FIRST_SEGMENT:]  # (P,)
        pred_area = table[:, _FIRST_SEGMENT:].sum(axis=0)  # (P,)
        counted = table[_FIRST_SEGMENT:].sum(axis=1)  # (G,)
        gt_area = np.array(
            [s.get("area", n) for s, n in zip(gt_segments, counted, strict=True)], dtype=np.float64
        )
        crowd = np.array([s.get("iscrowd", 0) == 1 for s in gt_segments], dtype=bool)

        touching = ~crowd[:, None] & (inter > 0)
        union = gt_area[:, None] + pred_area - inter - void
        overlaps = np.divide(inter, union, out=np.zeros(inter.shape), where=touching)
        is_match = (gt_class[:, None] == pred_class) & (overlaps > 0.5)
        iou = np.where(is_match, overlaps, 0)
        missed = ~crowd & ~iou.any(axis=1)
        # Most of it on void or on a crowd region of its own class: not held against the model.
        excused = void + self._crowd_intersections(inter, gt_class, crowd, pred_class)
        spurious = ~iou.any(axis=0) & (excused / pred_area <= 0.5)
        return ImageMatch(iou, overlaps, inter, missed, spurious, gt_class, pred_class)

    def _classes(self, segments: Sequence[Segment]) -> np.ndarray:
        """Class index of every segment, int64; C where the category is not evaluated."""
        unknown = len(self._index)
        return np.array(
            [self._index.get(s["category_id"], unknown) for s in segments], dtype=np.int64
        )

    def _check_prediction(
        self,
        pred_ids: np.ndarray,
        pred_segments: Sequence[Segment],
        pred_area: np.ndarray,
        num_unlisted: int,
        name: object,
    ) -> None:
        listed = [s["id"] for s in pred_segments]
        if num_unlisted > 0:
            unlisted = sorted(set(np.unique(pred_ids).tolist()) - set(listed) - {0})
            raise ValueError(
                f"image {name}: segment {unlisted[0]} is in the predicted map, but not in its "
                f"segments_info ({len(unlisted)} such ids, {num_unlisted} pixels)"
            )
        empty = [i for i, area in zip(listed, pred_area, strict=True) if area == 0]
        if empty:
            raise ValueError(
                f"image {name}: segments {empty[:5]} are in segments_info, "
                "but have no pixel in the predicted map"
            )
        for segment in pred_segments:
            if segment["category_id"] not in self._index:
                raise ValueError(
                    f"image {name}: the predicted segment {segment['id']} has the category "
                    f"{segment['category_id']}, which the data set does not have"
                )

    def _crowd_intersections(
        self, inter: np.ndarray, gt_class: np.ndarray, crowd: np.ndarray, pred_class: np.ndarray
    ) -> np.ndarray:
        """(P,) pixels of each prediction on the crowd region of its class.

        Of several crowd regions of one class the last counts, as in panopticapi.
        """
        crowd_row = np.full(len(self._iou), -1)
        for row in np.flatnonzero(crowd):
            crowd_row[gt_class[row]] = row
        rows = crowd_row[pred_class]
        found = np.flatnonzero(rows >= 0)
        result = np.zeros(len(pred_class), dtype=np.int64)
        result[found] = inter[rows[found], found]
        return result


def _runs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and lengths, (R,) int64, of the runs in which neither of two maps (H * W) changes."""
    changes = first[1:] != first[:-1]
    changes |= second[1:] != second[:-1]
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])[: len(first)]
    return starts, np.diff(starts, append=len(first))


def _table_rows(segments: Sequence[Segment]) -> dict[int, int]:
    """Segment id -> its row or column in an intersection table."""
    rows = {0: _VOID}
    for i, segment in enumerate(segments):
        if segment["id"] in rows:
            what = "void" if segment["id"] == 0 else "used by two segments"
            raise ValueError(f"segment id {segment['id']} is {what}; ids are unique and not 0")
        rows[segment["id"]] = _FIRST_SEGMENT + i
    return rows
