"""Semantic, panoptic and instance results of queries (Cheng et al. 2021, section 3.4).

Q queries, K classes, (h, w) the predicted masks. A ``MaskResizer`` brings masks to their final size
a strip of rows at a time: no function here holds all queries' scores at image size.
"""

from collections.abc import Callable

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torch.nn import functional as F

from ..layers.resampling import argmax
from .mask_resizer import MaskResizer
from .query_masks import ImageMasks


def semantic_inference(pred_logits: Tensor, pred_masks: ImageMasks, resize: MaskResizer) -> Tensor:
    """Score of each class at each pixel: the queries' class probabilities times their masks'.

    Args:
        pred_logits: (Q, K+1). pred_masks: Q of (h, w).

    Returns:
        (K, *final_size) scores >= 0; they need not sum to 1.
    """
    probs = pred_logits.float().softmax(-1)[:, :-1]  # (Q, K)
    of_classes = probs.T.contiguous()  # (K, Q)
    scores = probs.new_empty(len(of_classes), *resize.final_size)
    for rows, masks in resize.strips(pred_masks.logits()):
        probabilities = masks.sigmoid_().flatten(1)  # (Q, n * w)
        if probabilities.requires_grad or of_classes.requires_grad:
            scores[:, rows] = (of_classes @ probabilities).unflatten(1, masks.shape[1:])
        else:  # straight into its place, half the time
            strip = scores[:, rows].view(len(scores), -1)
            torch.mm(of_classes, probabilities, out=strip)
    return scores


def panoptic_inference(
    pred_logits: Tensor,
    pred_masks: ImageMasks,
    resize: MaskResizer,
    *,
    thing_ids: frozenset[int],
    object_mask_threshold: float,
    overlap_threshold: float,
    intersect: bool,
) -> tuple[Tensor, list[dict]]:
    """Non-overlapping segments: each pixel goes to the query with the greatest class x mask score.

    Args:
        pred_logits: (Q, K+1). pred_masks: Q of (h, w).
        thing_ids: classes whose queries stay apart; queries of one stuff class are merged.
        object_mask_threshold: queries whose class score is not above are dropped.
        overlap_threshold: a query is dropped when the number of pixels that it wins, inside and
            outside its own mask (probability >= 0.5), relative to that mask's area, is below.
        intersect: whether a segment is cut to its own mask, as Mask2Former does; MaskFormer does
            not.

    Returns:
        int32 map of final size, 0 where no segment is, and for each segment its unique ``id``,
        ``category_id``, ``isthing`` and the mean class ``score`` of its queries.
    """
    num_classes = pred_logits.shape[1] - 1
    scores, classes = pred_logits.float().softmax(-1).max(-1)
    keep = (classes != num_classes) & (scores > object_mask_threshold)
    scores, classes, masks = scores[keep], classes[keep], pred_masks[keep]

    panoptic = torch.zeros(resize.final_size, dtype=torch.int32, device=pred_masks.device)
    if not len(masks):
        return panoptic, []
    owner, areas, inside = _compete(scores, masks, resize)
    won = visible = torch.bincount(owner.flatten(), minlength=len(masks))
    if intersect:
        owner = torch.where(inside, owner, len(masks))
        visible = torch.bincount(owner.flatten(), minlength=len(masks) + 1)[: len(masks)]
    won, visible, areas = torch.stack([won, visible, areas]).cpu()
    # the ratio is taken in double precision, so that a threshold exactly met is met
    accepted = (visible > 0) & (areas > 0) & ~(won.double() / areas < overlap_threshold)

    id_of_query, segments = _segments(accepted, classes, scores, thing_ids)
    return id_of_query.to(owner.device)[owner], segments


def _segments(
    accepted: Tensor, classes: Tensor, scores: Tensor, thing_ids: frozenset[int]
) -> tuple[Tensor, list[dict]]:
    """One segment for each accepted query of a thing, and for all of a stuff class together.

    Returns:
        Each query's segment, (Q + 1,) int32 on the CPU, 0 for none and for the last, which stands
        for no query; and the segments.
    """
    segments: list[dict] = []
    id_of_query = torch.zeros(len(accepted) + 1, dtype=torch.int32)
    segment_of_stuff: dict[int, dict] = {}
    num_merged: dict[int, int] = {}
    rows = zip(accepted.tolist(), classes.tolist(), scores.tolist(), strict=True)
    for query, (is_accepted, category, score) in enumerate(rows):
        if not is_accepted:
            continue
        segment = segment_of_stuff.get(category)
        if segment is None:
            is_thing = category in thing_ids
            segment = {"id": len(segments) + 1, "isthing": is_thing, "category_id": category}
            segment["score"] = 0.0
            segments.append(segment)
            if not is_thing:
                segment_of_stuff[category] = segment
        merged = num_merged[segment["id"]] = num_merged.get(segment["id"], 0) + 1
        segment["score"] += (score - segment["score"]) / merged
        id_of_query[query] = segment["id"]
    return id_of_query, segments


def _compete(
    scores: Tensor, masks: ImageMasks, resize: MaskResizer
) -> tuple[Tensor, Tensor, Tensor]:
    """
    Returns:
        The query of greatest class x mask score at each pixel (the lowest on ties), the area of
        each query's own mask (probability >= 0.5), (Q,), and where the winner's own mask is, all
        at the final size.
    """
    owner = torch.empty(resize.final_size, dtype=torch.int64, device=masks.device)
    inside = torch.empty(resize.final_size, dtype=torch.bool, device=masks.device)
    areas = torch.zeros(len(masks), dtype=torch.int64, device=masks.device)
    for rows, logits in resize.strips(masks.logits()):
        probs = logits.sigmoid_()
        own = _indicator(torch.ge, probs, 0.5)
        # rows are summed exactly in fp32, which has whole numbers up to 2^24
        areas += own.sum(2).sum(1, dtype=torch.float64).long()
        owner[rows] = argmax(probs.mul_(scores[:, None, None]))
        inside[rows] = own.gather(0, owner[rows][None])[0]
    return owner, areas, inside


def _indicator(compare: Callable[..., Tensor], values: Tensor, bound: float) -> Tensor:
    """Where a comparison is true: on a CPU numbers, 1.0 there and 0.0 elsewhere, as it makes bools
    in six times the time, and sums them as int64; bools elsewhere."""
    if values.device.type != "cpu":
        return compare(values, bound)
    return compare(values.detach(), bound, out=torch.empty_like(values))


def instance_inference(
    pred_logits: Tensor,
    pred_masks: ImageMasks,
    resize: MaskResizer,
    *,
    thing_ids: frozenset[int],
    max_instances: int,
    score_threshold: float,
) -> Instances:
    """The best (query, class) pairs as detections (Cheng et al. 2022, Mask2Former, appendix).

    Args:
        pred_logits: (Q, K+1). pred_masks: Q of (h, w).
        thing_ids: classes that count; pairs of other classes are dropped after the top-k.
        max_instances: bound of the top-k over queries x classes.
        score_threshold: detections with a lower score are dropped.

    Returns:
        Instances of final size with ``pred_masks`` (N, H, W) bool, ``pred_boxes`` tight around
        them, ``scores`` (class probability times mean mask probability) and ``pred_classes``; an
        empty mask scores 0. Best first.
    """
    probs = pred_logits.float().softmax(-1)[:, :-1]
    num_classes = probs.shape[1]
    scores, index = probs.flatten().topk(min(max_instances, probs.numel()))
    queries, classes = index // num_classes, index % num_classes
    is_thing = torch.tensor([c in thing_ids for c in classes.tolist()], dtype=torch.bool)
    # the mask's score is at most 1: what is below the threshold already can only fall
    keep = is_thing.to(scores.device) & (scores >= score_threshold)
    scores, queries, classes = scores[keep], queries[keep], classes[keep]

    # a query may stand for several classes: its mask is resized once
    unique, inverse = queries.unique(return_inverse=True)
    (height, width), num_masks = resize.final_size, len(unique)
    masks = torch.empty(num_masks, height, width, dtype=torch.bool, device=probs.device)
    row_areas = torch.empty(num_masks, height, device=probs.device)
    in_column = torch.zeros(num_masks, width, dtype=torch.bool, device=probs.device)
    inside = torch.zeros(num_masks, device=probs.device)
    for rows, logits in resize.strips(pred_masks[unique].logits()):
        masks[:, rows] = _indicator(torch.gt, logits, 0)
        # what lies in a mask is counted in fp32: sums of bools are made of copies as int64
        own_probs = F.threshold_(logits.sigmoid_(), 0.5, 0.0)
        inside += own_probs.flatten(1).sum(1)
        own = own_probs.sign_()
        row_areas[:, rows] = own.sum(2)
        in_column |= own.amax(1) > 0
    quality = inside / (row_areas.sum(1) + 1e-6)
    scores = scores * quality[inverse]

    order = scores.argsort(descending=True, stable=True)
    order = order[scores[order] >= score_threshold]
    result = Instances(resize.final_size)
    result.pred_masks = masks[inverse[order]]
    result.pred_boxes = tight_boxes(in_column, row_areas > 0)[inverse[order]]
    result.scores = scores[order]
    result.pred_classes = classes[order]
    return result


def tight_boxes(in_column: Tensor, in_row: Tensor) -> Boxes:
    """Around masks of which any pixel lies in the columns (N, W) and rows (N, H), both bool; zeros
    for an empty mask."""
    hits = (in_column.int(), in_row.int())
    low = [hit.argmax(1) for hit in hits]  # the first one
    high = [hit.shape[1] - hit.flip(1).argmax(1) for hit in hits]
    boxes = torch.stack(low + high, dim=1) * in_column.any(1)[:, None]
    return Boxes(boxes.float())
