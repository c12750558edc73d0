"""Detections of several views of a picture as one list.

As in weighted boxes fusion (Solovyev et al. 2021, section 3), with masks: from the surest on, a
detection joins the first of its class that it overlaps and that its view has no share in yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.structures import Boxes, Instances

from .mask_crops import Crop, MaskCrops, intersection

SAME_OBJECT_IOU = 0.5


@dataclass
class _Member:
    view: int
    score: float
    category: int
    box: list[float]
    crop: Crop
    area: int


def merge_detections(views: Sequence[Instances], *, tight_boxes: bool) -> Instances:
    """
    Args:
        views: of one size (H, W), in one frame, on the CPU; with ``pred_masks`` or none of them.
        tight_boxes: boxes are around the merged masks; else means of the views' boxes.

    Returns:
        One detection for each object, best first. A mask holds the pixels on which more than half
        of its views, weighted by their scores, agree; a box is their weighted mean. A score is the
        mean over all views, 0 of those that miss the object.
    """
    size, has_masks = views[0].image_size, views[0].has("pred_masks")
    members = [member for number, view in enumerate(views) for member in _members(view, number)]
    clusters: list[list[_Member]] = []
    for member in sorted(members, key=lambda member: -member.score):
        best = max(clusters, key=lambda cluster: _affinity(cluster, member), default=None)
        if best is None or _affinity(best, member) < SAME_OBJECT_IOU:
            clusters.append([member])
        else:
            best.append(member)
    merged = [_merge(cluster, len(views), has_masks, tight_boxes) for cluster in clusters]
    merged.sort(key=lambda member: -member.score)
    result = Instances(size)
    result.pred_boxes = Boxes(torch.tensor([one.box for one in merged]).reshape(-1, 4))
    if has_masks:
        result.pred_masks = MaskCrops([one.crop for one in merged], size).compact()
    result.scores = torch.tensor([one.score for one in merged])
    result.pred_classes = torch.tensor([one.category for one in merged], dtype=torch.int64)
    return result


def _members(view: Instances, number: int) -> list[_Member]:
    found = []
    rows = zip(
        view.pred_boxes.tensor.float().tolist(),
        view.scores.tolist(),
        view.pred_classes.tolist(),
        strict=True,
    )
    for place, (box, score, category) in enumerate(rows):
        if view.has("pred_masks"):
            crop = Crop(view.pred_masks[place] > 0, 0, 0).trimmed()
        else:
            left, top, right, bottom = (round(side) for side in box)
            filled = torch.ones(max(bottom - top, 1), max(right - left, 1), dtype=torch.bool)
            crop = Crop(filled, top, left)
        found.append(_Member(number, score, category, box, crop, crop.area()))
    return found


def _affinity(cluster: list[_Member], member: _Member) -> float:
    """The IoU with the surest of a cluster, or -1 where the member cannot join."""
    first = cluster[0]
    if first.category != member.category or any(m.view == member.view for m in cluster):
        return -1.0
    shared = intersection(first.crop, member.crop)
    union = first.area + member.area - shared
    return shared / union if union else -1.0


def _merge(cluster: list[_Member], num_views: int, has_masks: bool, tight_boxes: bool) -> _Member:
    total = sum(member.score for member in cluster)
    first = cluster[0]
    weights = [m.score / total if total else 1 / len(cluster) for m in cluster]
    crop = _mean_mask(cluster, weights).trimmed() if has_masks else first.crop
    pairs = zip(weights, cluster, strict=True)
    sums = torch.zeros(4, dtype=torch.float64)
    for weight, member in pairs:
        sums += weight * torch.tensor(member.box, dtype=torch.float64)
    box = [float(side) for side in crop.box()] if tight_boxes and has_masks else sums.tolist()
    return _Member(first.view, total / num_views, first.category, box, crop, crop.area())


def _mean_mask(cluster: list[_Member], weights: list[float]) -> Crop:
    top, left = (min(getattr(m.crop, side) for m in cluster) for side in ("top", "left"))
    bottom, right = (max(getattr(m.crop, side) for m in cluster) for side in ("bottom", "right"))
    votes = torch.zeros(bottom - top, right - left, dtype=torch.float64)
    for weight, member in zip(weights, cluster, strict=True):
        rows = slice(member.crop.top - top, member.crop.bottom - top)
        columns = slice(member.crop.left - left, member.crop.right - left)
        votes[rows, columns] += weight * member.crop.mask
    return Crop(votes > 0.5, top, left)
