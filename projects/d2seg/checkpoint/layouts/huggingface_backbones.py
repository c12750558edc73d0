"""The backbones in transformers' checkpoints of MaskFormer and Mask2Former: Swin, ResNet, and any
timm model.

Dropped are what no output depends on, the norm of the pooled Swin feature and the counts of batch
norms. Written checkpoints get both as transformers initialises them, so that nothing is missing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ..naming import NameTable, StateDict, without
from .resnet import LAYOUT as RESNET

ENCODER = "model.pixel_level_module.encoder."
_TIMM = ENCODER + "_backbone."

_RESNET_CONVS = [("embedder.embedder", "stem.conv1")] + [
    (f"encoder.stages.{stage}.layers.{{i}}.{theirs}", f"res{stage + 2}.{{i}}.{ours}")
    for stage in range(4)
    for theirs, ours in [
        ("layer.0", "conv1"),
        ("layer.1", "conv2"),
        ("layer.2", "conv3"),
        ("shortcut", "shortcut"),
    ]
]
RESNET_AND_TIMM = [
    (f"{ENCODER}{theirs}.{their_part}", f"backbone.{ours}.{our_part}")
    for theirs, ours in _RESNET_CONVS
    for their_part, our_part in [
        ("convolution.weight", "weight"),
        ("normalization.{name}", "norm.{name}"),
    ]
] + [(_TIMM + "{name}", "backbone.model.{name}")]


def swin_pairs(prefix: str, stage_norms: Iterable[str]) -> list[tuple[str, str]]:
    """Templates of Swin's names below ``prefix``.

    Args:
        stage_norms: the names, below ``ENCODER``, of the norms of the four outputs.
    """
    trunk = [
        (prefix + theirs, "backbone." + ours)
        for theirs, ours in [
            ("embeddings.patch_embeddings.projection.{name}", "patch_embed.proj.{name}"),
            ("embeddings.norm.{name}", "patch_embed.norm.{name}"),
            ("encoder.layers.{i}.downsample.{name}", "layers.{i}.downsample.{name}"),
        ]
    ]
    blocks = [
        (
            f"{prefix}encoder.layers.{{i}}.blocks.{{j}}.{theirs}",
            f"backbone.layers.{{i}}.blocks.{{j}}.{ours}",
        )
        for theirs, ours in [
            ("layernorm_before.{name}", "norm1.{name}"),
            ("attention.self.query.{name}", "attn.qkv.{name}[q]"),
            ("attention.self.key.{name}", "attn.qkv.{name}[k]"),
            ("attention.self.value.{name}", "attn.qkv.{name}[v]"),
            ("attention.self.relative_position_{name}", "attn.relative_position_{name}"),
            ("attention.output.dense.{name}", "attn.proj.{name}"),
            ("layernorm_after.{name}", "norm2.{name}"),
            ("intermediate.dense.{name}", "mlp.fc1.{name}"),
            ("output.dense.{name}", "mlp.fc2.{name}"),
        ]
    ]
    norms = [
        (f"{ENCODER}{theirs}.{{name}}", f"backbone.norm{index}.{{name}}")
        for index, theirs in enumerate(stage_norms)
    ]
    return trunk + blocks + norms


@dataclass(frozen=True)
class ModelNames:
    """The names of a whole model of transformers that has one of these backbones."""

    table: NameTable  # theirs, as files have them, and ours
    newer_names: NameTable  # of models in memory since transformers 5, and of files
    pooled_norm: str  # the prefix of its names
    last_stage_norm: str  # the prefix of the norm of Swin's last output, which has the same width

    def to_ours(self, state: StateDict) -> StateDict:
        state = without(state, r"criterion\..*|.*\.normalization\.num_batches_tracked")
        state = {n: tensor for n, tensor in state.items() if not n.startswith(self.pooled_norm)}
        resnet, rest = _split_timm_resnet(state)
        return resnet | self.table.to_ours(self.newer_names.to_ours(rest))

    def to_theirs(self, state: StateDict) -> StateDict:
        """Rename as in files; what :meth:`to_ours` drops gets transformers' initial values."""
        theirs = self.table.to_theirs(state)
        last = theirs.get(self.last_stage_norm + "weight")
        if last is not None:
            theirs[self.pooled_norm + "weight"] = torch.ones_like(last)
            theirs[self.pooled_norm + "bias"] = torch.zeros_like(last)
        for name in list(theirs):
            if name.endswith(".normalization.running_mean"):
                count = name.replace("running_mean", "num_batches_tracked")
                theirs.setdefault(count, torch.tensor(0))
        return theirs


def _split_timm_resnet(state: StateDict) -> tuple[StateDict, StateDict]:
    """timm's ResNet under our names, since our configs take detectron2's, and all other tensors.
    The former is empty where the backbone is another one."""
    timm = {n.removeprefix(_TIMM): tensor for n, tensor in state.items() if n.startswith(_TIMM)}
    if not RESNET.matches(timm.keys()):
        return {}, state
    rest = {n: tensor for n, tensor in state.items() if not n.startswith(_TIMM)}
    return RESNET.convert(timm), rest
