"""From queries to semantic, panoptic and instance results (Cheng et al. 2021, section 3.4).

Q queries, K classes, (h, w) the predicted masks, (H, W) the padded batch. A ``MaskResizer`` brings
masks to their final size a few at a time: no function here holds all queries at image size.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from detectron2.structures import BitMasks, Instances
from torch import Tensor
from torch.nn import functional as F

from .query_masks import ImageMasks

# Upper bound of the numbers that a chunk of masks may take at image size: 64 MiB in fp32.
CHUNK_ELEMENTS = 1 << 24


@dataclass(frozen=True)
class MaskResizer:
    """Resizes mask logits as detectron2 does images: to the padded batch, cut to the content, and
    on to the output size.

    padded_size: (H, W) of the batch. content_size: (h, w) of the image within.
    output_size: (h, w) of the result; ``None`` leaves the content as it is.
    """

    padded_size: tuple[int, int]
    content_size: tuple[int, int]
    output_size: tuple[int, int] | None = None

    @property
    def final_size(self) -> tuple[int, int]:
        return self.output_size or self.content_size

    def __call__(self, masks: Tensor) -> Tensor:
        """(N, h, w) -> (N, *final_size), in fp32."""
        height, width = self.content_size
        masks = _bilinear(masks.float(), self.padded_size)[:, :height, :width]
        return _bilinear(masks, self.final_size)

    def chunks(self, masks: ImageMasks) -> Iterator[tuple[slice, Tensor]]:
        """Resized mask logits in pieces of bounded memory, each with its slice of the queries.

        The caller may overwrite a piece.
        """
        height, width = (max(a, b) for a, b in zip(self.padded_size, self.final_size, strict=True))
        step = max(1, CHUNK_ELEMENTS // (height * width))
        for start in range(0, len(masks), step):
            part = slice(start, min(start + step, len(masks)))
            yield part, self(masks[part].logits())


def _bilinear(masks: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(masks.shape[-2:]) == tuple(size):
        return masks
    return F.interpolate(masks[None], size=size, mode="bilinear", align_corners=False)[0]


def semantic_inference(pred_logits: Tensor, pred_masks: ImageMasks, resize: MaskResizer) -> Tensor:
    """Score of each class at each pixel: the queries' class probabilities times their masks'.

    Args:
        pred_logits: (Q, K+1). pred_masks: Q of (h, w).

    Returns:
        (K, *final_size) scores >= 0; they need not sum to 1.
    """
    probs = pred_logits.float().softmax(-1)[:, :-1]  # (Q, K)
    height, width = resize.final_size
    scores = probs.new_zeros(probs.shape[1], height * width)
    for part, masks in resize.chunks(pred_masks):
        scores.addmm_(probs[part].T, masks.sigmoid_().flatten(1))
    return scores.view(-1, height, width)


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
    """Running argmax of class x mask score over chunks of queries.

    Returns:
        The winner's index at each pixel (the lowest on ties), the area of each query's own mask
        (probability >= 0.5), (Q,), and where the winner's own mask is, all at the final size.
    """
    best = torch.full(resize.final_size, -1.0, device=masks.device)
    owner = torch.zeros(resize.final_size, dtype=torch.int64, device=masks.device)
    inside = torch.zeros(resize.final_size, dtype=torch.bool, device=masks.device)
    areas = torch.zeros(len(masks), dtype=torch.int64, device=masks.device)
    for part, logits in resize.chunks(masks):
        probs = logits.sigmoid_()
        own = probs >= 0.5
        areas[part] = own.flatten(1).sum(1)
        # max() with indices is faster than argmax() over a long first axis
        value, index = probs.mul_(scores[part, None, None]).max(0)
        better = value > best
        best = torch.where(better, value, best)
        owner = torch.where(better, index + part.start, owner)
        inside = torch.where(better, own.gather(0, index[None])[0], inside)
    return owner, areas, inside


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
    masks = torch.zeros(len(unique), *resize.final_size, dtype=torch.bool, device=probs.device)
    quality = torch.zeros(len(unique), device=probs.device)
    for part, logits in resize.chunks(pred_masks[unique]):
        masks[part] = logits > 0
        area = masks[part].flatten(1).sum(1)
        inside = (logits.sigmoid_() * masks[part]).flatten(1).sum(1)
        quality[part] = inside / (area + 1e-6)
    scores = scores * quality[inverse]

    order = scores.argsort(descending=True, stable=True)
    order = order[scores[order] >= score_threshold]
    result = Instances(resize.final_size)
    result.pred_masks = masks[inverse[order]]
    result.pred_boxes = BitMasks(masks).get_bounding_boxes()[inverse[order]]
    result.scores = scores[order]
    result.pred_classes = classes[order]
    return result
