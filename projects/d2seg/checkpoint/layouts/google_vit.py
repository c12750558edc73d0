"""ImageNet checkpoints of vision transformers as their authors publish them (Dosovitskiy et al.
2021): ``.npz`` files of JAX arrays, of the pure transformer and of the hybrid with a ResNet.

The transformer gets timm's names, the ResNet those of :class:`ResNetV2`. Kernels come input
channels before output channels: those of convolutions (h, w, in, out), of the attention (in, heads,
channels per head) and back. The classifier and the layer before it are left out.
"""

import re
from collections.abc import Set

from torch import Tensor

from ..naming import NameTable, StateDict, without
from .layout import Layout

_POSITIONS = "Transformer/posembed_input/pos_embedding"
_PAIRS = [
    ("cls", "cls_token"),
    (_POSITIONS, "pos_embed"),
    ("embedding/{name}", "patch_embed.proj.{name}"),
    ("Transformer/encoder_norm/{name}", "norm.{name}"),
    *(
        (f"Transformer/encoderblock_{{i}}/{theirs}/{{name}}", f"blocks.{{i}}.{ours}")
        for theirs, ours in [
            ("LayerNorm_0", "norm1.{name}"),
            ("MultiHeadDotProductAttention_1/query", "attn.qkv.{name}[q]"),
            ("MultiHeadDotProductAttention_1/key", "attn.qkv.{name}[k]"),
            ("MultiHeadDotProductAttention_1/value", "attn.qkv.{name}[v]"),
            ("MultiHeadDotProductAttention_1/out", "attn.proj.{name}"),
            ("LayerNorm_2", "norm2.{name}"),
            ("MlpBlock_3/Dense_0", "mlp.fc1.{name}"),
            ("MlpBlock_3/Dense_1", "mlp.fc2.{name}"),
        ]
    ),
    ("conv_root/{name}", "cnn.root.conv.{name}"),
    ("gn_root/{name}", "cnn.root.gn.{name}"),
    ("block{i}/unit{j}/{layer}/{name}", "cnn.block{i}.unit{j}.{layer}.{name}"),
]
_NAMES = NameTable(_PAIRS, prefixes=("", "backbone."))
_CLASSIFIER = r"(head|pre_logits)/.*"
_IN_ATTENTION = re.compile(r".*MultiHeadDotProductAttention_1/(query|key|value|out)/(kernel|bias)")


def _as_torch(name: str, tensor: Tensor) -> Tensor:
    attention = _IN_ATTENTION.fullmatch(name)
    if attention:
        is_out, is_bias = attention[1] == "out", attention[2] == "bias"
        if is_bias:
            return tensor.flatten()
        return tensor.flatten(0, 1).T if is_out else tensor.flatten(1).T
    if name.endswith("/kernel"):
        return tensor.permute(3, 2, 0, 1) if tensor.dim() == 4 else tensor.T
    if name.endswith(("/scale", "/bias")):
        return tensor.flatten()  # some have (1, 1, 1, C)
    return tensor


def _torch_name(name: str) -> str:
    return re.sub(r"/(kernel|scale)$", "/weight", name)


def _matches(names: Set[str]) -> bool:
    return {_POSITIONS, "embedding/kernel"} <= names


def _convert(state: StateDict) -> StateDict:
    return _NAMES.to_ours(
        {
            _torch_name(name): _as_torch(name, tensor).contiguous()
            for name, tensor in without(state, _CLASSIFIER).items()
        }
    )


LAYOUT = Layout(
    name="ImageNet vision transformer (.npz)",
    matches=_matches,
    convert=_convert,
    backbone_only=True,
)
