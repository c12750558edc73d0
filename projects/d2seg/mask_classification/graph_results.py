"""Results of queries as a graph gives them: without shapes that depend on values, at the input's
size (Cheng et al. 2021, section 3.4). ``postprocessing.py`` gives the same values in detectron2's
formats and in bounded memory; here the masks of all queries are held at the input's size.

B = 1 image, Q queries, K classes, (H, W) the input, (h, w) the masks, N instances.
"""

import torch
from torch import Tensor

from ..layers.resampling import resize

Size = tuple[int, int]


def semantic_labels(pred_logits: Tensor, pred_masks: Tensor, size: Size) -> dict[str, Tensor]:
    """
    Args:
        pred_logits: (1, Q, K+1). pred_masks: (1, Q, h, w) logits. size: (H, W).

    Returns:
        ``labels`` (H, W) int32.
    """
    probs = pred_logits[0].softmax(-1)[:, :-1]  # (Q, K)
    masks = resize(pred_masks, size)[0].sigmoid()
    scores = (probs.T @ masks.flatten(1)).unflatten(1, size)
    return {"labels": scores.argmax(0).int()}


def panoptic_map(
    pred_logits: Tensor,
    pred_masks: Tensor,
    size: Size,
    *,
    is_thing: Tensor,
    object_mask_threshold: float,
    overlap_threshold: float,
    intersect: bool,
) -> dict[str, Tensor]:
    """Arguments as of ``panoptic_inference``; ``is_thing``: (K,) bool.

    Returns:
        ``segments`` (H, W) int32, 0 where no segment is; and of each query, in whose order ids
        count up, ``segment_ids`` (Q,) int32, 0 unless it is the first of its segment,
        ``segment_classes`` (Q,) int32 and ``segment_scores`` (Q,), the mean of its queries.
    """
    num_queries, num_classes = pred_logits.shape[1], pred_logits.shape[2] - 1
    scores, classes = pred_logits[0].softmax(-1).max(-1)
    keep = (classes != num_classes) & (scores > object_mask_threshold)
    probs = resize(pred_masks, size)[0].sigmoid()  # (Q, H, W)
    own = probs >= 0.5
    weights = torch.where(keep, scores, -1.0)  # what is dropped wins nothing
    owner = (probs * weights[:, None, None]).argmax(0)  # (H, W)
    index = torch.arange(num_queries)[:, None, None]
    wins = (owner[None] == index) & keep[:, None, None]
    visible = wins & own if intersect else wins
    counts = visible.flatten(1).sum(1)
    areas = own.flatten(1).sum(1)
    ratio = wins.flatten(1).sum(1).double() / areas.clamp(min=1)
    accepted = keep & (counts > 0) & (areas > 0) & ~(ratio < overlap_threshold)

    # queries of one stuff class are one segment, named by the first of them
    is_stuff = ~torch.cat([is_thing, is_thing.new_ones(1)])[classes]
    same = (classes[:, None] == classes[None]) & is_stuff[:, None] & accepted[:, None]
    same = (same | torch.eye(num_queries, dtype=torch.bool)) & accepted[None]
    first = same.int().argmax(1)  # (Q,)
    is_first = accepted & (first == torch.arange(num_queries))
    numbers = is_first.int().cumsum(0)
    id_of_query = torch.where(accepted, numbers[first], 0).int()
    shares = same.to(scores.dtype)
    means = (shares @ scores) / shares.sum(1).clamp(min=1)
    segments = (visible * id_of_query[:, None, None]).sum(0)
    return {
        "segments": segments.int(),
        "segment_ids": torch.where(is_first, id_of_query, 0).int(),
        "segment_classes": classes.int(),
        "segment_scores": means,
    }


def instances(
    pred_logits: Tensor,
    pred_masks: Tensor,
    size: Size,
    *,
    is_thing: Tensor,
    max_instances: int,
) -> dict[str, Tensor]:
    """Arguments as of ``instance_inference``; ``is_thing``: (K,) bool.

    Returns:
        N = ``max_instances``, or Q x K where these are fewer, best first; of other classes than
        things and of empty masks the score is 0. ``masks`` (N, H, W) bool, ``boxes`` (N, 4) XYXY,
        ``scores`` (N,), ``classes`` (N,) int32.
    """
    probs = pred_logits[0].softmax(-1)[:, :-1]  # (Q, K)
    num_queries, num_classes = probs.shape
    scores, index = probs.flatten().topk(min(max_instances, num_queries * num_classes))
    queries, classes = index // num_classes, index % num_classes
    logits = resize(pred_masks[:, queries], size)[0]  # (N, H, W)
    masks = logits > 0
    inside = (logits.sigmoid() * masks).flatten(1).sum(1)
    scores = scores * is_thing[classes] * inside / (masks.flatten(1).sum(1) + 1e-6)
    scores, order = scores.topk(len(scores))
    masks = masks[order]
    return {
        "masks": masks,
        "boxes": _tight_boxes(masks),
        "scores": scores,
        "classes": classes[order].int(),
    }


def _tight_boxes(masks: Tensor) -> Tensor:
    """(N, H, W) bool -> (N, 4); zeros for an empty mask."""
    hits = masks.any(1).int(), masks.any(2).int()  # columns and rows
    low = [hit.argmax(1) for hit in hits]  # the first one
    high = [hit.shape[1] - hit.flip(1).argmax(1) for hit in hits]
    return (torch.stack(low + high, 1) * masks.flatten(1).any(1)[:, None]).float()
