"""ImageNet checkpoints of distilled DeiT (Touvron et al. 2021), as plain vision transformers.

The distillation token, its position (the second) and both classifiers are left out, as in SETR.
DeiT without distillation has timm's names and needs no layout.
"""

from collections.abc import Set

import torch

from ..naming import StateDict, without
from .layout import Layout

_POSITIONS = "pos_embed"


def _matches(names: Set[str]) -> bool:
    return {"dist_token", _POSITIONS, "blocks.0.attn.qkv.weight"} <= names


def _convert(state: StateDict) -> StateDict:
    kept = without(state, r"dist_token|head(_dist)?\..*")
    if _POSITIONS in kept:
        positions = kept[_POSITIONS]
        kept[_POSITIONS] = torch.cat([positions[:, :1], positions[:, 2:]], dim=1)
    return {f"backbone.{name}": tensor for name, tensor in kept.items()}


LAYOUT = Layout(
    name="ImageNet DeiT with distillation",
    matches=_matches,
    convert=_convert,
    backbone_only=True,
)
