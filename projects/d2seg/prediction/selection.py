"""How far the answers of a model are trusted.

H, W a picture's size in pixels, K classes, E expressions.
"""

import torch
from detectron2.structures import Instances
from torch import Tensor

OUTPUT_KEYS = {
    "panoptic": "panoptic_seg",
    "semantic": "sem_seg",
    "instance": "instances",
    "referring": "referring",
}
_ROWS_AT_ONCE = 256  # of a (K, H, W) score map, where a copy of all of it would be large


def select_confident(output: dict, task: str, threshold: float | None) -> dict:
    """The entry of one task in one model output, without what scores below the threshold.

    On the CPU, but for "sem_seg", which stays what and where it is: its pixels are chosen by
    :func:`label_map`. See :meth:`Predictor.__call__`.
    """
    if task == "instance" and "proposals" in output:
        output = {"instances": _as_instances(output["proposals"])}
    value = output[OUTPUT_KEYS[task]]
    if task == "semantic":
        return {"sem_seg": value}
    if task == "instance":
        if threshold is not None:
            value = value[value.scores >= threshold]
        return {"instances": value.to("cpu")}
    if task == "referring":
        return {"referring": _confident_masks(value.to("cpu"), threshold)}
    panoptic_seg, segments_info = value
    if threshold is not None:
        segments_info = [s for s in segments_info if s.get("score", 1.0) >= threshold]
    return {"panoptic_seg": (panoptic_seg.cpu(), segments_info)}


def label_map(scores: Tensor, threshold: float | None = None) -> Tensor:
    """The best class of each pixel.

    Args:
        scores: (K, H, W). Negative ones mean logits, whose softmax is the probability; scores that
            are nowhere negative (MaskFormer's) count as relative to their sum over the classes.
            Or (H, W) integers: the best classes themselves.
        threshold: pixels whose best class has a lower probability get -1.

    Returns:
        (H, W) int64 on the CPU.

    Raises:
        ValueError: a threshold for labels, which tell no probability.
    """
    if scores.dim() == 2:
        if threshold is not None:
            raise ValueError(
                "a confidence threshold needs class scores, and the model gives labels: set "
                "MODEL.PER_PIXEL.TEST.OUTPUT or MODEL.MASK_CLASSIFICATION.TEST.SEMANTIC_OUTPUT to "
                '"scores"'
            )
        return scores.long().cpu()
    is_logits = threshold is not None and bool((scores < 0).any())
    rows = []
    for part in scores.float().split(_ROWS_AT_ONCE, dim=1):
        best, labels = part.max(0)
        if threshold is not None:
            if is_logits:
                probability = 1 / (part - best).exp_().sum(0)
            else:
                probability = best / part.sum(0).clamp(min=1e-12)
            labels = torch.where(probability >= threshold, labels, -1)
        rows.append(labels.cpu())
    return torch.cat(rows)


def _confident_masks(found: Instances, threshold: float | None) -> Instances:
    """``found`` with the masks of expressions that score below the threshold empty."""
    if threshold is None:
        return found
    is_confident = (found.scores >= threshold)[:, None, None]
    return Instances(
        found.image_size,
        pred_masks=found.pred_masks & is_confident,
        scores=found.scores,
        expressions=found.expressions,
    )


def _as_instances(proposals: Instances) -> Instances:
    """Output of detectron2's ProposalNetwork: class-agnostic boxes, their logits as scores."""
    return Instances(
        proposals.image_size,
        pred_boxes=proposals.proposal_boxes,
        scores=proposals.objectness_logits.sigmoid(),
    )
