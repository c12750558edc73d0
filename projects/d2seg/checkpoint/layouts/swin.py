"""ImageNet checkpoints of Swin Transformer (Liu et al. 2021): the authors' and timm's.

detectron2's backbone keeps the authors' names. It has no classifier, and one norm per output in
place of the last norm: those of a bare ImageNet model start from scratch, as published.
"""

import re
from collections.abc import Set

from ..naming import StateDict, without
from .layout import Layout

_LEFT_OUT = r"head\..*|norm\.(weight|bias)|.*\.attn_mask"
_DOWNSAMPLE = re.compile(r"layers\.([0-9]+)\.downsample\.")


def _matches(names: Set[str]) -> bool:
    first_block = "layers.0.blocks.0.attn."
    return (
        {"patch_embed.proj.weight", first_block + "relative_position_bias_table"} <= names
        and first_block + "logit_scale" not in names  # Swin V2, another architecture
    )


def _convert(state: StateDict) -> StateDict:
    # timm (since 0.9) merges patches at the start of a stage, the authors at the end of the last
    shift = 0 if "layers.0.downsample.norm.weight" in state else 1

    def rename(name: str) -> str:
        name = _DOWNSAMPLE.sub(lambda m: f"layers.{int(m[1]) - shift}.downsample.", name)
        return f"backbone.{name}"

    return {rename(name): tensor for name, tensor in without(state, _LEFT_OUT).items()}


LAYOUT = Layout(
    name="ImageNet Swin Transformer", matches=_matches, convert=_convert, backbone_only=True
)
