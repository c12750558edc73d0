"""What the report says of panoptic results: quality by class, kinds of wrong segments, confusions.

C categories; G annotated and P predicted segments of a picture.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.utils import comm

from ...data.readers import PictureReader
from ..panoptic_quality import ImageMatch, PanopticQuality, Segment
from .gallery import Scene, draw_gallery, palette_of, read_picture

# of a segment that has no match; the overlaps are IoUs with the segment that it has most of
KINDS = ("class", "place", "class and place", "nothing there")
_FOREGROUND_IOU, _BACKGROUND_IOU = 0.5, 0.1


@dataclass(frozen=True)
class ImageScore:
    """Panoptic quality of a picture's segments together, its categories, and its file."""

    quality: float
    classes: tuple[int, ...]
    file_name: str


class PanopticRecord:
    """Counts of wrong segments, picture by picture, in any process."""

    def __init__(self, num_categories: int) -> None:
        self._num = num_categories
        self.reset()

    def reset(self) -> None:
        # one more: categories that are not evaluated, and nothing
        self.spurious = np.zeros((self._num + 1, len(KINDS)), np.int64)
        self.missed = np.zeros((self._num + 1, len(KINDS)), np.int64)
        self.pixels = np.zeros((self._num + 1, self._num + 1), np.int64)  # truth x prediction
        self.swaps = np.zeros((self._num + 1, self._num + 1), np.int64)  # segments, likewise
        self.images: dict[str, ImageScore] = {}

    def add(self, key: str, file_name: str, match: ImageMatch) -> None:
        """
        Args:
            key: of the picture
            match: of its segments
        """
        gt, pred = match.gt_class, match.pred_class
        iou = match.overlaps
        same = gt[:, None] == pred
        spurious = _kinds(np.where(same, iou, 0).T, np.where(same, 0, iou).T)
        missed = _kinds(np.where(same, iou, 0), np.where(same, 0, iou))
        np.add.at(self.spurious, (pred[match.spurious], spurious[match.spurious]), 1)
        np.add.at(self.missed, (gt[match.missed], missed[match.missed]), 1)
        for row, column in zip(*np.nonzero((iou > _FOREGROUND_IOU) & ~same), strict=True):
            self.swaps[gt[row], pred[column]] += 1
        np.add.at(self.pixels, (gt[:, None], pred), match.intersections)
        num_right = np.count_nonzero(match.iou)
        wrong = np.count_nonzero(match.spurious) + np.count_nonzero(match.missed)
        total = num_right + wrong / 2
        quality = float(match.iou.sum() / total) if total else float("nan")
        present = sorted({*gt.tolist(), *pred.tolist()} - {self._num})
        self.images[key] = ImageScore(quality, tuple(present), file_name)

    def gather(self) -> None:
        """Join the records of all processes in the main one; each must call it."""
        state = (self.spurious, self.missed, self.pixels, self.swaps, self.images)
        gathered = comm.gather(state)
        if comm.is_main_process():
            *counts, images = zip(*gathered, strict=True)
            self.spurious, self.missed, self.pixels, self.swaps = (
                np.sum(parts, axis=0) for parts in counts
            )
            self.images = {key: value for part in images for key, value in part.items()}

    def content(
        self,
        quality: PanopticQuality,
        categories: Sequence[Mapping[str, Any]],
        maps_of: Callable[[str], "SegmentMaps"],
        reader: PictureReader | None = None,
    ) -> dict[str, Any]:
        """The record of the whole data set.

        Args:
            maps_of: reads prediction and truth of a picture by its key.
            reader: of pictures with other bands
        """
        per_class = quality.compute()["per_class"]
        rows = [per_class[category["id"]] for category in categories]
        scores = {key: image.quality for key, image in self.images.items()}
        return {
            "classes": [str(c.get("name", c["id"])) for c in categories],
            "colors": palette_of(categories),
            "is_thing": [bool(category["isthing"]) for category in categories],
            "quality": [[row[key] for key in ("pq", "sq", "rq")] for row in rows],
            "counts": np.stack(quality.counts(), axis=1),  # right, spurious, missed
            "kinds": KINDS,
            "spurious": self.spurious[:-1],
            "missed": self.missed[:-1],
            "pixels": self.pixels[:-1, :-1],
            "swaps": self.swaps[:-1, :-1],
            "gallery": draw_gallery(
                scores,
                lambda key: _scene(maps_of(key), categories, self.images[key].file_name, reader),
                lambda key: self.images[key].classes,
                lambda key: os.path.basename(self.images[key].file_name),
                "PQ",
            ),
        }


@dataclass(frozen=True)
class SegmentMaps:
    """Id maps, (H, W), with their segments, as :meth:`PanopticQuality.update` takes them."""

    pred_ids: np.ndarray
    pred_segments: Sequence[Segment]
    gt_ids: np.ndarray
    gt_segments: Sequence[Segment]


def _scene(
    maps: SegmentMaps,
    categories: Sequence[Mapping[str, Any]],
    file_name: str,
    reader: PictureReader | None,
) -> Scene:
    match = PanopticQuality(categories).update(
        maps.pred_ids, maps.pred_segments, maps.gt_ids, maps.gt_segments, file_name
    )
    index = {category["id"]: i for i, category in enumerate(categories)}
    truth = _labels(maps.gt_ids, maps.gt_segments, index)
    prediction = _labels(maps.pred_ids, maps.pred_segments, index)
    extra = [s["id"] for s, wrong in zip(maps.pred_segments, match.spurious, strict=True) if wrong]
    missed = [s["id"] for s, wrong in zip(maps.gt_segments, match.missed, strict=True) if wrong]
    return Scene(
        read_picture(file_name, truth.shape, reader),
        truth,
        prediction,
        palette_of(categories),
        np.isin(maps.pred_ids, extra),
        np.isin(maps.gt_ids, missed),
    )


def _labels(ids: np.ndarray, segments: Sequence[Segment], index: Mapping[int, int]) -> np.ndarray:
    """(H, W) index of the category, -1 where there is none."""
    labels = np.full(ids.shape, -1)
    for segment in segments:
        if segment["category_id"] in index:
            labels[ids == segment["id"]] = index[segment["category_id"]]
    return labels


def _kinds(of_class: np.ndarray, of_others: np.ndarray) -> np.ndarray:
    """The kind of each segment, (n,), from its IoUs with segments of its class and of others,
    (n, m) each, 0 where they do not apply."""
    if of_class.shape[1] == 0:
        return np.full(len(of_class), KINDS.index("nothing there"))
    own, other = of_class.max(axis=1), of_others.max(axis=1)
    conditions = [other > _FOREGROUND_IOU, own >= _BACKGROUND_IOU, other >= _BACKGROUND_IOU]
    return np.select(conditions, range(3), default=3)
