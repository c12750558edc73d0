"""Models of one class with one logit, for a sigmoid, as models of two classes.

The first, the background, gets a logit of zero: the softmax of the two is that sigmoid.
"""

import torch

from ..naming import StateDict


def as_two_classes(state: StateDict, predictor: str) -> StateDict:
    """``state``, where the layer ``predictor`` of one row has two."""
    names = [name for name in (f"{predictor}.weight", f"{predictor}.bias") if name in state]
    doubled = {
        name: torch.cat([torch.zeros_like(state[name]), state[name]])
        for name in names
        if len(state[name]) == 1
    }
    return state | doubled
