"""ImageNet checkpoints of Mix Transformer (Xie et al. 2021): the SegFormer authors'.

The classifier is left out.
"""

from collections.abc import Set

from ..naming import NameTable, StateDict, without
from .layout import Layout

# the authors' names of the backbone; they count stages from 1
BACKBONE = [
    (theirs.format(stage + 1), f"stages.{stage}.{ours}")
    for stage in range(4)
    for theirs, ours in [
        ("patch_embed{}.proj.{{name}}", "patch_embed.conv.{name}"),
        ("patch_embed{}.norm.{{name}}", "patch_embed.norm.{name}"),
        ("block{}.{{i}}.norm{{j}}.{{name}}", "blocks.{i}.norm{j}.{name}"),
        ("block{}.{{i}}.attn.q.{{name}}", "blocks.{i}.attention.query.{name}"),
        ("block{}.{{i}}.attn.kv.{{name}}", "blocks.{i}.attention.key_value.{name}"),
        ("block{}.{{i}}.attn.proj.{{name}}", "blocks.{i}.attention.output.{name}"),
        ("block{}.{{i}}.attn.sr.{{name}}", "blocks.{i}.attention.reduction.{name}"),
        ("block{}.{{i}}.attn.norm.{{name}}", "blocks.{i}.attention.reduction_norm.{name}"),
        ("block{}.{{i}}.mlp.fc{{j}}.{{name}}", "blocks.{i}.feed_forward.linear{j}.{name}"),
        ("block{}.{{i}}.mlp.dwconv.dwconv.{{name}}", "blocks.{i}.feed_forward.depthwise.{name}"),
        ("norm{}.{{name}}", "norm.{name}"),
    ]
]
_NAMES = NameTable(BACKBONE, prefixes=("", "backbone."))


def _matches(names: Set[str]) -> bool:
    has_blocks = {"patch_embed1.proj.weight", "block1.0.mlp.dwconv.dwconv.weight"} <= names
    return has_blocks and "pos_embed1" not in names  # which is the Pyramid Vision Transformer's


def _convert(state: StateDict) -> StateDict:
    return _NAMES.to_ours(without(state, r"head\..*"))


LAYOUT = Layout(
    name="ImageNet Mix Transformer", matches=_matches, convert=_convert, backbone_only=True
)
