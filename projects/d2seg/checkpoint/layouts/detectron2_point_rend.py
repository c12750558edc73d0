"""Checkpoints of detectron2's PointRend project: instances, Implicit PointRend, semantic.

Its released R101 and X101 models carry older names, which it renames at loading: the coarse and the
point head lie beside each other in ``roi_heads``, the former's layers are ``coarse_mask_fc1``, ...
"""

import re
from collections.abc import Set

from ..naming import NameTable, StateDict
from .layout import Export, Layout

MAX_LAYERS = 9  # of a head; they are numbered from 1 there, from 0 here

_MASK_HEAD = "roi_heads.mask_head."
_POINT_HEAD = [
    (f"point_head.fc{i + 1}.{{name}}", f"point_head.layers.{i}.{{name}}") for i in range(MAX_LAYERS)
]


def _region_head(name: str) -> list[tuple[str, str]]:
    layers = [
        ("reduce_channel_dim_conv", "reduce_convs.channels"),
        ("reduce_spatial_dim_conv", "reduce_convs.space"),
        *((f"fc{i + 1}", f"fcs.{i}") for i in range(MAX_LAYERS)),
        ("prediction", "predictor"),
    ]
    return [
        (f"{name}.{theirs}.{{name}}", f"region_head.{ours}.{{name}}") for theirs, ours in layers
    ]


_EXPLICIT = NameTable(
    [*_POINT_HEAD, *_region_head("coarse_head")], prefixes=(_MASK_HEAD, _MASK_HEAD)
)
_IMPLICIT = NameTable(
    [
        ("point_head.positional_encoding_gaussian_matrix", "point_head.frequencies"),
        *_region_head("parameter_head"),
    ],
    prefixes=(_MASK_HEAD, _MASK_HEAD),
)
_SEMANTIC = NameTable(
    [
        ("sem_seg_head.coarse_sem_seg_head.{name}", "decode_head.coarse_head.{name}"),
        *(
            (f"sem_seg_head.{theirs}", f"point_refinement.{ours}")
            for theirs, ours in [
                *_POINT_HEAD,
                ("point_head.predictor.{name}", "point_head.predictor.{name}"),
            ]
        ),
    ]
)

_POINT_WEIGHT = re.compile(r"(.*\.)?point_head\.(layers\.[0-9]|predictor)\.weight")
# stored as there, see ``pointrend.instance``
_AS_THERE = _MASK_HEAD + "point_head.predictor.weight"
_OLD_NAMES = [
    (re.compile(r"^roi_heads\.mask_(coarse|point)_head\."), r"roi_heads.mask_head.\1_head."),
    (re.compile(r"^(roi_heads\.mask_head\.coarse_head\.)coarse_mask_fc"), r"\1fc"),
]


def _matches(names: Set[str]) -> bool:
    names = {_new_name(name) for name in names}
    return (
        not names.isdisjoint(
            _MASK_HEAD + head + ".reduce_spatial_dim_conv.weight"
            for head in ("coarse_head", "parameter_head")
        )
        or "sem_seg_head.point_head.fc1.weight" in names
    )


def _new_name(name: str) -> str:
    for pattern, replacement in _OLD_NAMES:
        name = pattern.sub(replacement, name)
    return name


def _convert(state: StateDict) -> StateDict:
    state = {_new_name(name): tensor for name, tensor in state.items()}
    for table in (_EXPLICIT, _IMPLICIT, _SEMANTIC):
        state = table.to_ours(state)
    # points are convolved there; here they are the rows of a linear layer's input
    return {
        name: tensor.squeeze(2) if _POINT_WEIGHT.fullmatch(name) and name != _AS_THERE else tensor
        for name, tensor in state.items()
    }


def _is_ours(names: Set[str]) -> bool:
    return not names.isdisjoint(
        {
            _MASK_HEAD + "region_head.reduce_convs.space.weight",
            # of the per-pixel methods, PointRend alone has a coarse head of detectron2's
            "decode_head.coarse_head.predictor.weight",
        }
    )


def _export(state: StateDict) -> StateDict:
    is_implicit = _MASK_HEAD + "point_head.predictor.weight" not in state
    state = {
        name: tensor.unsqueeze(2) if _POINT_WEIGHT.fullmatch(name) and tensor.dim() == 2 else tensor
        for name, tensor in state.items()
    }
    return _SEMANTIC.to_theirs((_IMPLICIT if is_implicit else _EXPLICIT).to_theirs(state))


LAYOUT = Layout(
    name="detectron2's PointRend",
    matches=_matches,
    convert=_convert,
    export=Export(
        "official",
        holds="PointRend for instances, Implicit PointRend and semantic PointRend",
        matches=_is_ours,
        convert=_export,
    ),
)
