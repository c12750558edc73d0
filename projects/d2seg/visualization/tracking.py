"""Ids that the objects of a video keep from frame to frame.

Objects of one class are matched by the overlap of their masks with where the earlier ones should be
by now (Hungarian matching; constant velocity, as SORT's: Bewley et al. 2016, section 3.2), then
what is left by the distance of their centres.

H, W the frames' size in pixels; rows and columns count from the top left corner.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from detectron2.structures import Instances
from scipy.optimize import linear_sum_assignment

from .parts import cropped, parts_of_ids
from .segments import instance_categories

MAX_MISSED = 30  # frames for which an object that is out of sight is remembered
_LEAST_IOU = 0.2
_LEAST_SHARE = 0.3  # of a new mask on a known object
_FARTHEST = 1.0  # distance of centres, in square roots of the object's area
_WHOLE = 0.75  # share of an object's largest area of late, below which it counts as covered
_AREA_DECAY = 0.99  # of that largest area, per frame
_LONGEST_COVER = 20  # frames after which the smaller area is the object's own
_GAIN = 0.05  # share of a new velocity in the running one


@dataclass(frozen=True)
class TrackedObject:
    """What a frame has of an object.

    mask: (h, w) bool, not empty, the part of the frame that holds it; corner: (row, column) of the
    part; category: contiguous class id.
    """

    category: int
    mask: np.ndarray
    corner: tuple[int, int]

    @cached_property
    def area(self) -> int:
        return int(np.count_nonzero(self.mask))

    @cached_property
    def center(self) -> np.ndarray:
        """(2,) mean row and column of the mask's pixels."""
        means = []
        for axis, start in enumerate(self.corner):
            counts = self.mask.sum(axis=1 - axis)
            means.append(start + np.average(np.arange(len(counts)), weights=counts))
        return np.array(means)


@dataclass
class _Track:
    number: int
    category: int
    whole: TrackedObject  # as it was when nothing covered it
    shift: np.ndarray  # (2,) float: of the whole since then, as far as it is known
    largest: float  # area of late
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))  # (2,) pixels per frame
    num_steps: int = 0  # from which the velocity is known
    num_covered: int = 0  # frames in a row
    num_missed: int = 0

    @classmethod
    def of(cls, number: int, found: TrackedObject) -> "_Track":
        return cls(number, found.category, found, np.zeros(2), found.area)

    def overlap(self, found: TrackedObject) -> float:
        """IoU, in [0, 1]; 0 where it is too small to count."""
        common = self._common(found)
        iou = common / (self.whole.area + found.area - common)
        return iou if iou >= _LEAST_IOU else 0.0

    def nearness(self, found: TrackedObject) -> float:
        """In [0, 1], for what is left of a covered object and what has moved too far to overlap: 1
        at the same centre, or where what is found lies on the object; 0 where it is too far away.
        """
        distance = np.hypot(*(found.center - self.whole.center - self.shift))
        farthest = _FARTHEST * np.sqrt(self.whole.area)
        share = self._common(found) / found.area
        return max(0.0, 1 - distance / farthest, share if share >= _LEAST_SHARE else 0.0)

    def _common(self, found: TrackedObject) -> int:
        corner = np.rint(self.whole.corner + self.shift).astype(int)
        return _intersection(self.whole.mask, corner, found.mask, np.array(found.corner))

    def move(self, found: TrackedObject) -> None:
        """Bring it to what is seen of it. Of an object that another one covers in part, the centre
        of what is left tells no velocity: the whole moves on as before."""
        num_frames, self.num_missed = self.num_missed, 0
        self.largest = max(found.area, _AREA_DECAY**num_frames * self.largest)
        is_covered = found.area < _WHOLE * self.largest
        self.num_covered = self.num_covered + 1 if is_covered else 0
        if is_covered and self.num_covered <= _LONGEST_COVER:
            return
        if is_covered:
            self.largest = found.area
        else:
            self.num_steps += 1
            gain = max(_GAIN, 1 / self.num_steps)
            unforeseen = found.center - self.whole.center - self.shift
            self.velocity = self.velocity + gain * unforeseen / num_frames
        self.whole, self.shift = found, np.zeros(2)


class ObjectTracker:
    """The ids of one video's objects; they count from 1, and none is given twice."""

    def __init__(self, max_missed: int = MAX_MISSED) -> None:
        """
        Args:
            max_missed: frames for which an object that is out of sight keeps its id.

        Raises:
            ValueError: it is negative.
        """
        if max_missed < 0:
            raise ValueError(f"max_missed is {max_missed}; it is 0 or more frames")
        self._max_missed = max_missed
        self._tracks: list[_Track] = []
        self._stuff: dict[int, int] = {}
        self._num_ids = 0
        self._size: tuple[int, int] | None = None

    def update(self, found: Sequence[TrackedObject], size: tuple[int, int]) -> list[int]:
        """The ids of the next frame's objects, in their order.

        Args:
            size: (height, width) of the frame.

        Raises:
            ValueError: the frames before had another size.
        """
        if self._size not in (None, size):
            raise ValueError(
                f"a frame has {size[0]}x{size[1]} pixels (height x width), the one before "
                f"{self._size[0]}x{self._size[1]}; the frames of a video have one size"
            )
        self._size = size
        for track in self._tracks:
            track.shift = track.shift + track.velocity
            track.num_missed += 1
        ids = [0] * len(found)
        for score in (_Track.overlap, _Track.nearness):
            self._match(score, found, ids)
        self._tracks = [t for t in self._tracks if t.num_missed <= self._max_missed]
        for i, each in enumerate(found):
            if not ids[i]:
                ids[i] = self._new_id()
                self._tracks.append(_Track.of(ids[i], each))
        return ids

    def stuff_id(self, category: int) -> int:
        """The id that a class of stuff has in all frames."""
        if category not in self._stuff:
            self._stuff[category] = self._new_id()
        return self._stuff[category]

    def _new_id(self) -> int:
        self._num_ids += 1
        return self._num_ids

    def _match(
        self,
        score: Callable[[_Track, TrackedObject], float],
        found: Sequence[TrackedObject],
        ids: list[int],
    ) -> None:
        """Give objects without an id, in place, that of a track of their class that has none of
        this frame yet, so that the sum of scores is largest; a pair has a score above 0."""
        tracks = [track for track in self._tracks if track.num_missed > 0]
        free = [i for i, number in enumerate(ids) if not number]
        scores = np.zeros((len(tracks), len(free)))
        for row, track in enumerate(tracks):
            for column, i in enumerate(free):
                if found[i].category == track.category:
                    scores[row, column] = score(track, found[i])
        for row, column in zip(*linear_sum_assignment(scores, maximize=True), strict=True):
            if scores[row, column] > 0:
                ids[free[column]] = tracks[row].number
                tracks[row].move(found[free[column]])


def track_prediction(prediction: dict[str, Any], tracker: ObjectTracker) -> dict[str, Any]:
    """A video's next prediction with the ids of its objects.

    Args:
        prediction: with "instances", which get ``track_ids`` (N,) int64 (0: an empty mask); or with
            "panoptic_seg", whose ids, of the map and of ``segments_info``, become those of the
            video, beside a "track_id" of each thing: stuff has one id per class. Without either it
            comes back as it is.

    Raises:
        ValueError: the frame is of another size than those before.
    """
    if "instances" in prediction:
        return {**prediction, "instances": _track_instances(prediction["instances"], tracker)}
    if "panoptic_seg" in prediction:
        ids, segments_info = prediction["panoptic_seg"]
        return {**prediction, "panoptic_seg": _track_panoptic(ids, segments_info, tracker)}
    return prediction


def _track_instances(instances: Instances, tracker: ObjectTracker) -> Instances:
    found, places = [], []
    for place, category in enumerate(instance_categories(instances)):
        if instances.has("pred_masks"):
            mask, corner = cropped(instances.pred_masks[place].cpu().numpy().astype(bool))
        else:
            mask, corner = _filled_box(instances.pred_boxes.tensor[place].tolist())
        if mask.any():
            found.append(TrackedObject(category, mask, corner))
            places.append(place)
    numbers = torch.zeros(len(instances), dtype=torch.int64)
    numbers[places] = torch.tensor(tracker.update(found, instances.image_size), dtype=torch.int64)
    fields = {**instances.get_fields(), "track_ids": numbers}
    return Instances(instances.image_size, **fields)


def _track_panoptic(
    ids: torch.Tensor, segments_info: list[dict], tracker: ObjectTracker
) -> tuple[torch.Tensor, list[dict]]:
    array = ids.cpu().numpy().astype(np.int32)
    parts = parts_of_ids(array, [info["id"] for info in segments_info])
    present = [info for info in segments_info if info["id"] in parts]
    things = {}
    for info in filter(lambda info: info["isthing"], present):
        part = parts[info["id"]]
        corner = part[0].start, part[1].start
        things[info["id"]] = TrackedObject(info["category_id"], array[part] == info["id"], corner)
    numbers = dict(zip(things, tracker.update([*things.values()], array.shape), strict=True))
    renumbered, infos = np.zeros_like(array), []
    for info in present:
        part, is_thing = parts[info["id"]], info["id"] in numbers
        number = numbers[info["id"]] if is_thing else tracker.stuff_id(info["category_id"])
        renumbered[part][array[part] == info["id"]] = number
        infos.append({**info, "id": number, **({"track_id": number} if is_thing else {})})
    return torch.from_numpy(renumbered), infos


def _filled_box(box: Sequence[float]) -> tuple[np.ndarray, tuple[int, int]]:
    """A box (x0, y0, x1, y1) as a mask, of no memory."""
    x0, y0, x1, y1 = (round(side) for side in box)
    return np.broadcast_to(True, (max(y1 - y0, 0), max(x1 - x0, 0))), (y0, x0)


def _intersection(
    mask: np.ndarray, corner: np.ndarray, other: np.ndarray, other_corner: np.ndarray
) -> int:
    """Pixels that two masks share, each at its corner in the frame."""
    start = np.maximum(corner, other_corner)
    end = np.minimum(corner + mask.shape, other_corner + other.shape)
    if (start >= end).any():
        return 0
    first, second = (
        m[tuple(slice(a, b) for a, b in zip(start - c, end - c, strict=True))]
        for m, c in ((mask, corner), (other, other_corner))
    )
    return int(np.count_nonzero(first & second))
