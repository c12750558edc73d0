"""The segments, instances, classes or expressions of a result, in one form for other formats."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from detectron2.data import Metadata

from ..data.segmentations import encode_mask
from ..visualization.segments import class_name, instance_categories


@dataclass(frozen=True)
class Found:
    """One of them. H, W the picture's size in pixels."""

    name: str
    box: tuple[float, float, float, float]  # x0, y0, x1, y1
    mask: np.ndarray | None  # (H, W) bool; a detector of boxes gives none
    category: int  # contiguous; of an expression its place
    dataset_id: int | None  # of the category, as annotations have it; None: an expression
    score: float | None  # in [0, 1]; None where the model gives none
    track_id: int | None = None  # of an object in a video

    def coco_record(self) -> dict[str, Any]:
        """In COCO's results format, without "image_id"."""
        x0, y0, x1, y1 = self.box
        record: dict[str, Any] = {"bbox": [x0, y0, x1 - x0, y1 - y0]}
        if self.dataset_id is None:
            record["expression"] = self.name
        else:
            record["category_id"] = self.dataset_id
        if self.mask is not None:
            record["segmentation"] = encode_mask(self.mask)
        if self.score is not None:
            record["score"] = self.score
        if self.track_id is not None:
            record["track_id"] = self.track_id
        return record


def find(drawable: dict[str, Any], metadata: Metadata) -> Iterator[Found]:
    """
    Args:
        drawable: what ``draw_prediction`` takes.

    Yields:
        What is there; empty masks are left out.
    """
    if "instances" in drawable:
        yield from _instances(drawable["instances"], metadata)
    elif "referring" in drawable:
        found = drawable["referring"]
        for place, text in enumerate(found.expressions):
            mask, score = found.pred_masks[place].numpy(), float(found.scores[place])
            if mask.any():
                yield Found(text, box_of(mask), mask, place, None, score)
    elif "panoptic_seg" in drawable:
        ids, segments_info = drawable["panoptic_seg"]
        for info in segments_info:
            kind, mask = "thing" if info["isthing"] else "stuff", (ids == info["id"]).numpy()
            if mask.any():
                found = _of_class(kind, info["category_id"], mask, info.get("score"), metadata)
                yield replace(found, track_id=info.get("track_id"))
    else:
        labels = drawable["sem_seg"].numpy()
        for category in np.unique(labels[labels >= 0]).tolist():
            yield _of_class("stuff", category, labels == category, None, metadata)


def box_of(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Of a mask that is not empty: x0, y0, x1, y1, the latter two exclusive."""
    x, y = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return float(x[0]), float(y[0]), float(x[-1] + 1), float(y[-1] + 1)


def _instances(instances: Any, metadata: Metadata) -> Iterator[Found]:
    boxes = instances.pred_boxes.tensor.tolist() if instances.has("pred_boxes") else None
    numbers = instances.track_ids.tolist() if instances.has("track_ids") else None
    for place, category in enumerate(instance_categories(instances)):
        mask = (
            instances.pred_masks[place].numpy().astype(bool)
            if instances.has("pred_masks")
            else None
        )
        if mask is not None and not mask.any():
            continue
        box = tuple(boxes[place]) if boxes is not None else box_of(mask)
        yield Found(
            class_name(metadata, "thing", category),
            box,
            mask,
            category,
            dataset_id(metadata, "thing", category),
            float(instances.scores[place]),
            None if numbers is None else numbers[place],
        )


def _of_class(
    kind: str, category: int, mask: np.ndarray, score: float | None, metadata: Metadata
) -> Found:
    name, number = class_name(metadata, kind, category), dataset_id(metadata, kind, category)
    return Found(name, box_of(mask), mask, category, number, score)


def dataset_id(metadata: Metadata, kind: str, category: int) -> int:
    """The data set's own id of a contiguous one, which it is where the metadata has no other.

    kind: "thing" or "stuff".
    """
    mapping = metadata.get(f"{kind}_dataset_id_to_contiguous_id") or {}
    return next((theirs for theirs, ours in mapping.items() if ours == category), category)
