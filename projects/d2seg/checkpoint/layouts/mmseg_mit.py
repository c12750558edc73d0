"""Mix Transformers in mmsegmentation 1.x: ImageNet's, or the backbone of a model whose head is not
SegFormer's (``mmseg_segformer`` has those), which is left out and said."""

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


def has_backbone(names: Set[str], prefix: str = "backbone.") -> bool:
    parts = ("layers.0.0.projection.weight", "layers.0.1.0.attn.attn.in_proj_weight")
    depthwise = "layers.0.1.0.ffn.layers.4.weight"  # which Swin and ViT there do not have
    return {f"{prefix}{name}" for name in (*parts, depthwise)} <= names


def convert_backbone(state: StateDict) -> StateDict:
    """Rename the tensors ``backbone.*``; others stay as they are."""
    split: StateDict = {}
    for name, tensor in state.items():
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


def has_head(names: Set[str]) -> bool:
    """Whether SegFormer's is among the names."""
    return {"decode_head.convs.3.conv.weight", "decode_head.fusion_conv.conv.weight"} <= names


def _matches(names: Set[str]) -> bool:
    alone = has_backbone(names, "")  # ImageNet files
    return alone or (has_backbone(names) and not has_head(names))


def _convert(state: StateDict) -> StateDict:
    if has_backbone(state.keys(), ""):
        state = {f"backbone.{name}": tensor for name, tensor in state.items()}
    others = [name for name in state if not name.startswith("backbone.")]
    if others:
        logger.warning(
            "of mmsegmentation's model the backbone is taken; %d tensors of its heads (%s, ...), "
            "which are not SegFormer's, are left out",
            len(others),
            others[0],
        )
    return convert_backbone(without(state, r"(?!backbone\.).*"))


LAYOUT = Layout(
    name="mmsegmentation's Mix Transformer",
    matches=_matches,
    convert=_convert,
    backbone_only=True,
)
