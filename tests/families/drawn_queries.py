"""Queries of three classes whose masks are drawn by hand on 4 x 4 pixels."""

import torch
from torch import Tensor

THING, STUFF, OTHER_THING = 0, 1, 2  # three classes
NO_OBJECT = 3


def logits_of(*queries: tuple[int, float]) -> Tensor:
    """(Q, 4) logits whose softmax gives each query's class the stated probability."""
    probs = torch.zeros(len(queries), 4)
    for row, (category, probability) in zip(probs, queries, strict=True):
        row.fill_((1 - probability) / 3)
        row[category] = probability
    return probs.log()


def masks_of(*drawings: str) -> Tensor:
    """(Q, 4, 4) logits; a digit d of a drawing is a mask probability of d / 10."""
    probs = [[[int(c) / 10 for c in row] for row in drawing.split()] for drawing in drawings]
    return torch.logit(torch.tensor(probs), eps=1e-4)


LEFT = "9900 9900 9900 9900"
RIGHT = "0099 0099 0099 0099"
TOP = "9999 9999 0000 0000"
