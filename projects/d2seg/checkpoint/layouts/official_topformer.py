"""The TopFormer authors' checkpoints: models in mmsegmentation's names, and ImageNet ones, whose
names lack the level ``backbone``."""

from collections.abc import Set

from ..naming import NameTable, StateDict, without
from .layout import Export, Layout

# parts of theirs -> ours: a convolution "c" and a batch norm "bn"
_FIRST_BLOCK = [("conv.0", "depthwise"), ("conv.2", "project")]  # it does not widen
_BLOCK = [("conv.0", "expand"), ("conv.2", "depthwise"), ("conv.4", "project")]
_MAX_BLOCKS = 30  # of the token pyramid; the published ones have 9 or 10
_CONV_NORMS = [("tpm.stem.0", "pyramid.stem")]
_CONV_NORMS += [
    (f"tpm.layer{number}.{theirs}", f"pyramid.blocks.{number - 1}.{ours}")
    for number in range(1, _MAX_BLOCKS + 1)
    for theirs, ours in (_FIRST_BLOCK if number == 1 else _BLOCK)
]
_CONV_NORMS += [
    (f"trans.transformer_blocks.{{i}}.{theirs}", f"semantics.{{i}}.{ours}")
    for theirs, ours in [
        ("attn.to_q", "attention.query"),
        ("attn.to_k", "attention.key"),
        ("attn.to_v", "attention.value"),
        ("attn.proj.1", "attention.project"),
        ("mlp.fc1", "feed_forward.expand"),
        ("mlp.fc2", "feed_forward.project"),
    ]
]
_INJECTIONS = [
    (f"SIM.{index}.{theirs}", f"injections.{stage}.{ours}")
    for index, stage in enumerate(("res2", "res3", "res4", "res5"))
    for theirs, ours in [
        ("local_embedding", "local"),
        ("global_embedding", "content"),
        ("global_act", "gate"),
    ]
]
_BACKBONE = [
    *((f"{theirs}.c.weight", f"{ours}.weight") for theirs, ours in _CONV_NORMS),
    *((f"{theirs}.bn.{{name}}", f"{ours}.norm.{{name}}") for theirs, ours in _CONV_NORMS),
    *((f"{theirs}.conv.weight", f"{ours}.weight") for theirs, ours in _INJECTIONS),
    *((f"{theirs}.bn.{{name}}", f"{ours}.norm.{{name}}") for theirs, ours in _INJECTIONS),
    (
        "trans.transformer_blocks.{i}.mlp.dwconv.{name}",
        "semantics.{i}.feed_forward.depthwise.{name}",
    ),
]
_HEAD = [
    ("decode_head.linear_fuse.conv.weight", "decode_head.fuse.weight"),
    ("decode_head.linear_fuse.bn.{name}", "decode_head.fuse.norm.{name}"),
    ("decode_head.conv_seg.{name}", "decode_head.predictor.{name}"),
]
_TABLE = NameTable(
    [*((f"backbone.{theirs}", f"backbone.{ours}") for theirs, ours in _BACKBONE), *_HEAD]
)
_STEM = "tpm.stem.0.c.weight"


def _matches(names: Set[str]) -> bool:
    return not names.isdisjoint({_STEM, f"backbone.{_STEM}"})


def _convert(state: StateDict) -> StateDict:
    if _STEM in state:  # trained on ImageNet: what is none of the encoder's parts classifies
        encoder = without(state, r"(?!tpm\.|trans\.|SIM\.).*")
        state = {f"backbone.{name}": tensor for name, tensor in encoder.items()}
    return _TABLE.to_ours(state)


def _is_ours(names: Set[str]) -> bool:
    return {"backbone.pyramid.stem.weight", "decode_head.fuse.weight"} <= names


LAYOUT = Layout(
    name="official TopFormer",
    matches=_matches,
    convert=_convert,
    export=Export("official", holds="TopFormer", matches=_is_ours, convert=_TABLE.to_theirs),
)
