"""SegFormer in mmsegmentation 1.x, and 0.x from 0.20 on.

Its head has a norm and a ReLU behind each level's linear layer, which the paper and the authors do
not have: MODEL.SEGFORMER.LEVEL_NORMS. It joins the levels from the finest. A model of one class has
one logit, for a sigmoid, see ``one_logit``. Auxiliary heads serve training alone and are left out.
"""

from collections.abc import Set

import torch

from ..naming import NameTable, StateDict, without
from .layout import Layout
from .mmseg_mit import convert_backbone, has_backbone, has_head
from .one_logit import as_two_classes

_LEVELS = 4
_NAMES = NameTable(
    [
        *((f"convs.{i}.conv.{{name}}", f"linears.res{i + 2}.{{name}}") for i in range(_LEVELS)),
        *((f"convs.{i}.bn.{{name}}", f"level_norms.res{i + 2}.{{name}}") for i in range(_LEVELS)),
        ("fusion_conv.conv.{name}", "fuse.{name}"),
        ("fusion_conv.bn.{name}", "norm.{name}"),
        ("conv_seg.{name}", "predictor.{name}"),
    ],
    prefixes=("decode_head.", "decode_head."),
)
_FUSE = "decode_head.fuse.weight"


def _matches(names: Set[str]) -> bool:
    return has_backbone(names) and has_head(names)


def _convert(state: StateDict) -> StateDict:
    state = without(state, r"(auxiliary_head|data_preprocessor)\..*")
    renamed = _NAMES.to_ours(convert_backbone(state))
    for level in range(_LEVELS):
        name = f"decode_head.linears.res{level + 2}.weight"
        if name in renamed:
            renamed[name] = renamed[name].flatten(1)  # a convolution of one pixel there
    if _FUSE in renamed:
        renamed[_FUSE] = torch.cat(renamed[_FUSE].chunk(_LEVELS, 1)[::-1], 1)
    return as_two_classes(renamed, "decode_head.predictor")


LAYOUT = Layout(
    name="mmsegmentation's SegFormer",
    matches=_matches,
    convert=_convert,
    options=("MODEL.SEGFORMER.LEVEL_NORMS", True),
)
