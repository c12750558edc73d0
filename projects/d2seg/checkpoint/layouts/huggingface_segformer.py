"""SegFormer in Hugging Face transformers (``SegformerForSemanticSegmentation``).

The files on the hub and those that transformers writes have the older names, models in memory have
newer ones since transformers 5. Both are read, the former are written. Keys and values have a
projection each there and a common one here.
"""

import re
from collections.abc import Set

import torch

from ..naming import NameTable, StateDict
from .layout import Export, Layout
from .official_segformer import is_our_segformer

_BACKBONE = [
    (f"segformer.encoder.{theirs}", f"backbone.stages.{{i}}.{ours}")
    for theirs, ours in [
        ("patch_embeddings.{i}.proj.{name}", "patch_embed.conv.{name}"),
        ("patch_embeddings.{i}.layer_norm.{name}", "patch_embed.norm.{name}"),
        ("layer_norm.{i}.{name}", "norm.{name}"),
    ]
]
_BLOCK = [
    (f"segformer.encoder.block.{{i}}.{{j}}.{theirs}", f"backbone.stages.{{i}}.blocks.{{j}}.{ours}")
    for theirs, ours in [
        ("layer_norm_{k}.{name}", "norm{k}.{name}"),
        ("attention.self.query.{name}", "attention.query.{name}"),
        ("attention.self.key.{name}", "attention.key.{name}"),
        ("attention.self.value.{name}", "attention.value.{name}"),
        ("attention.self.sr.{name}", "attention.reduction.{name}"),
        ("attention.self.layer_norm.{name}", "attention.reduction_norm.{name}"),
        ("attention.output.dense.{name}", "attention.output.{name}"),
        ("mlp.dense{k}.{name}", "feed_forward.linear{k}.{name}"),
        ("mlp.dwconv.dwconv.{name}", "feed_forward.depthwise.{name}"),
    ]
]
_NEWER = [
    (f"segformer.stages.{{i}}.{theirs}", f"backbone.stages.{{i}}.{ours}")
    for theirs, ours in [
        ("patch_embeddings.proj.{name}", "patch_embed.conv.{name}"),
        ("patch_embeddings.layer_norm.{name}", "patch_embed.norm.{name}"),
        ("layer_norm.{name}", "norm.{name}"),
        ("blocks.{j}.layernorm_before.{name}", "blocks.{j}.norm1.{name}"),
        ("blocks.{j}.layernorm_after.{name}", "blocks.{j}.norm2.{name}"),
        ("blocks.{j}.attention.q_proj.{name}", "blocks.{j}.attention.query.{name}"),
        ("blocks.{j}.attention.k_proj.{name}", "blocks.{j}.attention.key.{name}"),
        ("blocks.{j}.attention.v_proj.{name}", "blocks.{j}.attention.value.{name}"),
        ("blocks.{j}.attention.o_proj.{name}", "blocks.{j}.attention.output.{name}"),
        (
            "blocks.{j}.attention.sequence_reduction.sequence_reduction.{name}",
            "blocks.{j}.attention.reduction.{name}",
        ),
        (
            "blocks.{j}.attention.sequence_reduction.layer_norm.{name}",
            "blocks.{j}.attention.reduction_norm.{name}",
        ),
        ("blocks.{j}.mlp.fc{k}.{name}", "blocks.{j}.feed_forward.linear{k}.{name}"),
        ("blocks.{j}.mlp.dwconv.dwconv.{name}", "blocks.{j}.feed_forward.depthwise.{name}"),
    ]
]
_HEAD = [
    (f"decode_head.{theirs}", f"decode_head.{ours}")
    for theirs, ours in [
        *((f"linear_c.{i}.proj.{{name}}", f"linears.res{i + 2}.{{name}}") for i in range(4)),
        *(
            (f"linear_projections.{i}.proj.{{name}}", f"linears.res{i + 2}.{{name}}")
            for i in range(4)
        ),
        ("linear_fuse.{name}", "fuse.{name}"),
        ("batch_norm.{name}", "norm.{name}"),
        ("classifier.{name}", "predictor.{name}"),
    ]
]
_NAMES = NameTable([*_BACKBONE, *_BLOCK, *_NEWER, *_HEAD])  # the first is written
_KEY = re.compile(r"(backbone\.stages\..*\.attention\.)key(\.\w+)")
_KEY_VALUE = re.compile(r"(backbone\.stages\..*\.attention\.)key_value(\.\w+)")


def _matches(names: Set[str]) -> bool:
    return {"decode_head.linear_fuse.weight", "decode_head.classifier.weight"} <= names


def convert(state: StateDict) -> StateDict:
    """Convert the state of a whole model, or of its backbone alone."""
    renamed = _NAMES.to_ours(state)
    for key in list(renamed):
        match = _KEY.fullmatch(key)
        if match is None:
            continue
        value = f"{match[1]}value{match[2]}"
        if value not in renamed:
            raise ValueError(f"the checkpoint has the tensor of {key}, but none for {value}")
        joined = torch.cat([renamed.pop(key), renamed.pop(value)])
        renamed[f"{match[1]}key_value{match[2]}"] = joined
    return renamed


def _export(state: StateDict) -> StateDict:
    split: StateDict = {}
    for name, tensor in state.items():
        match = _KEY_VALUE.fullmatch(name)
        if match is None:
            split[name] = tensor
            continue
        for part, rows in zip(("key", "value"), tensor.chunk(2), strict=True):
            split[f"{match[1]}{part}{match[2]}"] = rows.clone()  # safetensors shares nothing
    return _NAMES.to_theirs(split)


LAYOUT = Layout(
    name="Hugging Face SegFormer",
    matches=_matches,
    convert=convert,
    export=Export(
        "huggingface",
        holds="SegFormer on a Mix Transformer",
        matches=is_our_segformer,
        convert=_export,
    ),
)
