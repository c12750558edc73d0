"""SegFormer's Mix Transformer in mmsegmentation 1.x: its backbone, ImageNet or trained.

mmsegmentation's head has a norm and a ReLU behind each level's linear layer, where the paper's and
the authors' have none. No config here builds that head, so its tensors are left out, which is said.
"""

import logging
import re
from collections.abc import Set

from ..naming import NameTable, StateDict, without
from .layout import Layout

logger = logging.getLogger(__name__)

_NAMES = NameTable(
    [
        (f"layers.{{i}}.{theirs}", f"stages.{{i}}.{ours}")
        for theirs, ours in [
            ("0.projection.{name}", "patch_embed.conv.{name}"),
            ("0.norm.{name}", "patch_embed.norm.{name}"),
            ("1.{j}.norm{k}.{name}", "blocks.{j}.norm{k}.{name}"),
            ("1.{j}.attn.attn.out_proj.{name}", "blocks.{j}.attention.output.{name}"),
            ("1.{j}.attn.sr.{name}", "blocks.{j}.attention.reduction.{name}"),
            ("1.{j}.attn.norm.{name}", "blocks.{j}.attention.reduction_norm.{name}"),
            ("1.{j}.ffn.layers.0.{name}", "blocks.{j}.feed_forward.linear1.{name}"),
            ("1.{j}.ffn.layers.1.{name}", "blocks.{j}.feed_forward.depthwise.{name}"),
            ("1.{j}.ffn.layers.4.{name}", "blocks.{j}.feed_forward.linear2.{name}"),
            ("2.{name}", "norm.{name}"),
        ]
    ],
    prefixes=("backbone.", "backbone."),
)
_FUSED = re.compile(r"(backbone\.)layers\.(\d+)\.1\.(\d+)\.attn\.attn\.in_proj_(weight|bias)")
_LINEAR = re.compile(r"backbone\.stages\..*\.feed_forward\.linear[12]\.weight")


def _with_backbone(state: StateDict) -> StateDict:
    """ImageNet files of mmsegmentation's lack the level ``backbone``."""
    if any(name.startswith("backbone.") for name in state):
        return state
    return {f"backbone.{name}": tensor for name, tensor in state.items()}


def _matches(names: Set[str]) -> bool:
    parts = ("layers.0.0.projection.weight", "layers.0.1.0.attn.attn.in_proj_weight")
    depthwise = "layers.0.1.0.ffn.layers.4.weight"  # which Swin and ViT there do not have
    return any({f"{p}{name}" for name in (*parts, depthwise)} <= names for p in ("", "backbone."))


def _convert(state: StateDict) -> StateDict:
    state = _with_backbone(state)
    head = [name for name in state if not name.startswith("backbone.")]
    if head:
        logger.warning(
            "mmsegmentation's SegFormer head has a norm and a ReLU on each level, which no config "
            "of d2seg builds: its %d tensors are left out, the backbone's are taken",
            len(head),
        )
    split: StateDict = {}
    for name, tensor in without(state, r"(?!backbone\.).*").items():
        match = _FUSED.fullmatch(name)
        if match is None:
            split[name] = tensor
            continue
        block = f"backbone.stages.{match[2]}.blocks.{match[3]}.attention."
        width = len(tensor) // 3
        split[f"{block}query.{match[4]}"] = tensor[:width]
        split[f"{block}key_value.{match[4]}"] = tensor[width:]
    renamed = _NAMES.to_ours(split)
    for name, tensor in renamed.items():
        if _LINEAR.fullmatch(name) and tensor.dim() == 4:  # a convolution of one pixel there
            renamed[name] = tensor.flatten(1)
    return renamed


LAYOUT = Layout(
    name="mmsegmentation's Mix Transformer",
    matches=_matches,
    convert=_convert,
    backbone_only=True,
)
