"""SegFormer in segmentation_models.pytorch (``smp.Segformer`` on a Mix Transformer).

Its decoder numbers the levels from the deepest. A model of one class has one logit, for a sigmoid;
here that is two classes, of which the first, the background, has a logit of zero: the softmax of
the two is that sigmoid.
"""

from collections.abc import Set

import torch

from ..naming import NameTable, StateDict
from .layout import Layout
from .mit import BACKBONE

_HEAD = [
    *((f"decoder.mlp_stage.{k}.linear.{{name}}", f"linears.res{5 - k}.{{name}}") for k in range(4)),
    ("decoder.fuse_stage.0.{name}", "fuse.{name}"),
    ("decoder.fuse_stage.1.{name}", "norm.{name}"),
    ("segmentation_head.0.{name}", "predictor.{name}"),
]
_NAMES = NameTable(
    [("encoder." + theirs, "backbone." + ours) for theirs, ours in BACKBONE]
    + [(theirs, "decode_head." + ours) for theirs, ours in _HEAD]
)
_PREDICTOR = ("decode_head.predictor.weight", "decode_head.predictor.bias")


def _matches(names: Set[str]) -> bool:
    return {"encoder.patch_embed1.proj.weight", "decoder.mlp_stage.0.linear.weight"} <= names


def _convert(state: StateDict) -> StateDict:
    renamed = _NAMES.to_ours(state)
    for name in _PREDICTOR:
        tensor = renamed.get(name)
        if tensor is not None and len(tensor) == 1:
            renamed[name] = torch.cat([torch.zeros_like(tensor), tensor])
    return renamed


LAYOUT = Layout(name="SegFormer of segmentation_models.pytorch", matches=_matches, convert=_convert)
