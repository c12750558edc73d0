"""The SegFormer authors' checkpoints.

Their head has a second classifier, ``conv_seg``, that its base class makes and no output depends
on: it is dropped, and not written.
"""

from collections.abc import Set

from ..naming import NameTable, StateDict, without
from .layout import Export, Layout
from .mit import BACKBONE

_HEAD = [
    *(
        (f"linear_c{level}.proj.{{name}}", f"linears.res{level + 1}.{{name}}")
        for level in range(1, 5)
    ),
    ("linear_fuse.conv.{name}", "fuse.{name}"),
    ("linear_fuse.bn.{name}", "norm.{name}"),
    ("linear_pred.{name}", "predictor.{name}"),
]
_NAMES = NameTable(
    [("backbone." + theirs, "backbone." + ours) for theirs, ours in BACKBONE]
    + [("decode_head." + theirs, "decode_head." + ours) for theirs, ours in _HEAD]
)


def _matches(names: Set[str]) -> bool:
    return {"decode_head.linear_c1.proj.weight", "decode_head.linear_pred.weight"} <= names


def _convert(state: StateDict) -> StateDict:
    return _NAMES.to_ours(without(state, r"decode_head\.conv_seg\..*"))


def is_our_segformer(names: Set[str]) -> bool:
    """Whether it is the paper's SegFormer on a Mix Transformer, the backbone of foreign layouts."""
    has_bias = "decode_head.linears.res2.bias" in names  # not so mmsegmentation's variant
    return "backbone.stages.0.patch_embed.conv.weight" in names and has_bias


LAYOUT = Layout(
    name="official SegFormer",
    matches=_matches,
    convert=_convert,
    export=Export(
        "official",
        holds="SegFormer on a Mix Transformer",
        matches=is_our_segformer,
        convert=_NAMES.to_theirs,
    ),
)
