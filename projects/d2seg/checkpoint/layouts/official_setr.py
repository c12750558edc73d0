"""The SETR authors' checkpoints, which are of their copy of mmsegmentation.

Dropped knowingly: ``conv_seg``, a classifier that every head of theirs has and SETR does not use,
and in MLA the class token and its position, which they leave out before the first block.
"""

from collections.abc import Set

from ..naming import NameTable, StateDict, without
from .layout import Export, Layout

_VIT = [("backbone.{name}", "backbone.model.{name}")]


def _upsampling_head(theirs: str, ours: str, num_convs: int) -> list[tuple[str, str]]:
    """A Naive or PUP head: their classifier is one more convolution."""
    return [
        (f"{theirs}.norm.{{name}}", f"{ours}.norm.{{name}}"),
        (f"{theirs}.conv_{num_convs}.{{name}}", f"{ours}.predictor.{{name}}"),
        (f"{theirs}.syncbn_fc_{{i}}.{{name}}", f"{ours}.convs.{{i}}.norm.{{name}}"),
        (f"{theirs}.conv_{{i}}.{{name}}", f"{ours}.convs.{{i}}.{{name}}"),
    ]


_AUXILIARY = _upsampling_head("auxiliary_head.{j}", "auxiliary_heads.{j}", 1)
_NAIVE = NameTable([*_VIT, *_upsampling_head("decode_head", "decode_head", 1), *_AUXILIARY])
_PUP = NameTable([*_VIT, *_upsampling_head("decode_head", "decode_head", 4), *_AUXILIARY])
_MLA = NameTable(
    [
        ("backbone.norm_{i}.{name}", "backbone.norms.{i}.{name}"),
        *(
            (f"backbone.mla.mla_p{level + 2}{theirs}", f"backbone.{ours}s.{level}{our_part}")
            for level in range(4)
            for infix, ours in [("_1x1", "lateral"), ("", "output")]
            for theirs, our_part in [
                (f"{infix}.0.weight", ".weight"),
                (f"{infix}.1.{{name}}", ".norm.{name}"),
            ]
        ),
        ("backbone.{name}", "backbone.bottom_up.model.{name}"),
        *(
            (f"decode_head.mlahead.head{level + 2}.{theirs}", f"decode_head.streams.{level}.{ours}")
            for level in range(4)
            for theirs, ours in [
                ("0.weight", "0.weight"),
                ("1.{name}", "0.norm.{name}"),
                ("3.weight", "1.weight"),
                ("4.{name}", "1.norm.{name}"),
            ]
        ),
        ("decode_head.cls.{name}", "decode_head.predictor.{name}"),
        ("auxiliary_head.{i}.aux.weight", "auxiliary_heads.{i}.predictor.weight"),
    ]
)
_POSITIONS = "backbone.pos_embed"


def _is_mla(names: Set[str]) -> bool:
    return "decode_head.mlahead.head2.0.weight" in names


def _matches(names: Set[str]) -> bool:
    is_upsampling = {"decode_head.conv_0.weight", "decode_head.syncbn_fc_0.weight"} <= names
    return "backbone.blocks.0.attn.qkv.weight" in names and (is_upsampling or _is_mla(names))


def _convert(state: StateDict) -> StateDict:
    names = state.keys()
    state = without(state, r"(decode_head|auxiliary_head\.[0-9]+)\.conv_seg\..*")
    if not _is_mla(names):
        return (_PUP if "decode_head.conv_4.weight" in names else _NAIVE).to_ours(state)
    state = without(state, r"backbone\.cls_token")
    if _POSITIONS in state:
        state = {**state, _POSITIONS: state[_POSITIONS][:, 1:]}
    return _MLA.to_ours(state)


def _is_ours(names: Set[str]) -> bool:
    return {
        "backbone.model.cls_token",
        "decode_head.norm.weight",
        "decode_head.convs.0.norm.running_mean",
    } <= names


def _export(state: StateDict) -> StateDict:
    return (_PUP if "decode_head.convs.3.weight" in state else _NAIVE).to_theirs(state)


LAYOUT = Layout(
    name="official SETR",
    matches=_matches,
    convert=_convert,
    export=Export(
        "official",
        holds="SETR with the Naive or the PUP head",
        matches=_is_ours,
        convert=_export,
    ),
)
