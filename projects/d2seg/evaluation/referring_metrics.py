"""Figures of referring segmentation, from the counts of single expressions.

Overall IoU and precision: Hu et al. 2016 (Segmentation from Natural Language Expressions), section
4; gIoU, N-acc and T-acc: Liu et al. 2023 (GRES), section 3. H, W a picture's size in pixels.
"""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)  # of the precision


@dataclass(frozen=True)
class ExpressionCounts:
    """What is kept of one expression's mask, all in pixels; the target of ``None`` is empty.

    ``nearer`` tells for each other object that the picture's expressions mean whether the mask
    overlaps its own object more, by IoU.
    """

    intersection: int
    union: int
    num_predicted: int
    num_target: int
    nearer: dict[Hashable, bool] = field(default_factory=dict)

    @property
    def iou(self) -> float:
        """The IoU in [0, 1]; without a target 1 for an empty mask, else 0."""
        return self.intersection / self.union if self.union else 1.0


def count_expression(
    mask: np.ndarray, target: np.ndarray | None, others: Mapping[Hashable, np.ndarray]
) -> ExpressionCounts:
    """
    Args:
        mask: (H, W) bool, the prediction.
        target: (H, W) bool; None for an expression that means nothing in the picture.
        others: objects (H, W) bool of the picture's other expressions, by what tells them apart.
    """
    num_predicted = int(np.count_nonzero(mask))
    if target is None:
        return ExpressionCounts(0, num_predicted, num_predicted, 0)
    own = _overlap(mask, num_predicted, target)
    nearer = {}
    for name, other in others.items():
        intersection, union = _overlap(mask, num_predicted, other)
        nearer[name] = own[0] * union > intersection * own[1]  # of integers, hence exact
    return ExpressionCounts(*own, num_predicted, int(np.count_nonzero(target)), nearer)


def summarise(counts: Sequence[ExpressionCounts]) -> dict[str, float]:
    """All figures over expressions, in percent; NaN where there is nothing to average.

    ==========  ==================================================================================
    oIoU        sum of intersections / sum of unions. What is predicted for an expression without a
                target joins the unions, as in GRES's cumulative IoU
    mIoU        mean IoU of the expressions with a target
    gIoU        mean IoU of all, where one without a target counts 1 for an empty mask and 0 for any
                other
    Pr@X        share of the expressions with a target whose IoU is X or more
    N-acc       share of the expressions without a target whose mask is empty
    T-acc       share of the expressions with a target whose mask is not empty
    ==========  ==================================================================================

    N-acc and T-acc are there only if there are expressions without a target.
    """
    ious = np.array([c.iou for c in counts])
    has_target = np.array([c.num_target > 0 for c in counts], dtype=bool)
    is_empty = np.array([c.num_predicted == 0 for c in counts], dtype=bool)
    union = sum(c.union for c in counts)
    results = {
        "oIoU": 100 * sum(c.intersection for c in counts) / union if union else float("nan"),
        "mIoU": _percent(ious[has_target]),
        "gIoU": _percent(ious),
    }
    for threshold in THRESHOLDS:
        results[f"Pr@{threshold}"] = _percent(ious[has_target] >= threshold)
    if not has_target.all():
        results["N-acc"] = _percent(is_empty[~has_target])
        results["T-acc"] = _percent(~is_empty[has_target])
    return results


def mean_iou_by_kind(
    counts: Sequence[ExpressionCounts], kinds: Sequence[str | None]
) -> dict[str, float]:
    """mIoU of each kind of expression that has a target, in percent, in alphabetical order."""
    ious: dict[str, list[float]] = {}
    for one, kind in zip(counts, kinds, strict=True):
        if kind is not None and one.num_target:
            ious.setdefault(kind, []).append(one.iou)
    return {f"mIoU-{kind}": _percent(np.array(ious[kind])) for kind in sorted(ious)}


def listening(
    pictures: Iterable[Collection[tuple[Hashable, ExpressionCounts]]],
) -> dict[str, float]:
    """How far masks follow their expressions from object to object, in percent.

    Over the pairs (A, B) of expressions of one picture that mean different objects, both with a
    target:

    ============  ================================================================================
    listens       share of the ordered pairs in which the mask of B has a higher IoU with B's object
                  than with A's. A model that is deaf, and so gives both the same mask, gets 50 at
                  most
    listens-both  share of the unordered pairs in which that holds for the masks of both. A deaf
                  model gets 0
    ============  ================================================================================

    Args:
        pictures: the expressions of each with what tells their object apart.

    Returns:
        Nothing, where there are no such pairs.
    """
    num_pairs = num_near = num_both = 0
    for expressions in pictures:
        with_target = [(name, counts) for name, counts in expressions if counts.num_target]
        for (name_a, a), (name_b, b) in permutations(with_target, 2):
            if name_a not in b.nearer or name_b not in a.nearer:
                continue
            num_pairs += 1
            num_near += b.nearer[name_a]
            num_both += b.nearer[name_a] and a.nearer[name_b]
    if not num_pairs:
        return {}
    # each unordered pair has come twice
    return {"listens": 100 * num_near / num_pairs, "listens-both": 100 * num_both / num_pairs}


def _overlap(mask: np.ndarray, num_predicted: int, target: np.ndarray) -> tuple[int, int]:
    """Intersection and union."""
    intersection = int(np.count_nonzero(mask & target))
    return intersection, num_predicted + int(np.count_nonzero(target)) - intersection


def _percent(values: np.ndarray) -> float:
    return 100 * float(values.mean()) if values.size else float("nan")
