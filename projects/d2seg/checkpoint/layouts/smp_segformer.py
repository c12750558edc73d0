"""SegFormer in segmentation_models.pytorch (``smp.Segformer`` on a Mix Transformer).

Its decoder numbers the levels from the deepest. A model of one class has one logit, for a sigmoid,
see ``one_logit``.
"""

from collections.abc import Set

from ..naming import NameTable, StateDict
from .layout import Layout
from .mit import BACKBONE
from .one_logit import as_two_classes

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


def _matches(names: Set[str]) -> bool:
    return {"encoder.patch_embed1.proj.weight", "decoder.mlp_stage.0.linear.weight"} <= names


def _convert(state: StateDict) -> StateDict:
    return as_two_classes(_NAMES.to_ours(state), "decode_head.predictor")


LAYOUT = Layout(name="SegFormer of segmentation_models.pytorch", matches=_matches, convert=_convert)
