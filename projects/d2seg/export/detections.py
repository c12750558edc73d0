"""Detections of two programs, brought into one order: rounding alone swaps equal scores."""

import torch
from torch import Tensor

Named = dict[str, Tensor]
_SAME_BOX = 1e-3  # greatest distance of two boxes' sides, relative to the longest side of the input


def align(actual: Named, expected: Named, size: tuple[int, int]) -> tuple[Named, Named, float]:
    """The detections that both have, row by row.

    Args:
        actual, expected: ``boxes`` (N, 4), ``classes`` (N,) and others of N rows.
        size: (H, W) of the input.

    Returns:
        Both with M rows, and the share of ``expected`` that ``actual`` lacks.
    """
    apart = (expected["boxes"][:, None] - actual["boxes"][None]).abs().amax(-1)  # (N, N)
    is_other = expected["classes"][:, None] != actual["classes"][None]
    apart = torch.where(is_other, torch.inf, apart.double())
    # a box may be there twice, for two classes of one score: take the nearest score then
    scores = (expected["scores"][:, None] - actual["scores"][None]).abs()
    partner = (apart + scores).argmin(1)
    is_there = apart.gather(1, partner[:, None])[:, 0] <= _SAME_BOX * max(size)
    return (
        {name: value[partner[is_there]] for name, value in actual.items()},
        {name: value[is_there] for name, value in expected.items()},
        float((~is_there).double().mean()),
    )
