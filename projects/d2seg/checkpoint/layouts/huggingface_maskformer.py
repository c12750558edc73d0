"""MaskFormer in Hugging Face transformers (``MaskFormerForInstanceSegmentation``).

The files on the hub have DETR's old names in the transformer decoder; models in memory have newer
ones since transformers 5. Both are read, the former are written.

Backbones: Swin, ResNet, and any timm model. Dropped are what no output depends on, the norm of the
pooled Swin feature and the counts of batch norms, and the class weights of the loss. Written
checkpoints get the former two as transformers initialises them, so that nothing is missing there.
"""

from collections.abc import Set

import torch

from ..naming import NameTable, StateDict, without
from .layout import Export, Layout
from .resnet import LAYOUT as RESNET

_ENCODER = "model.pixel_level_module.encoder."
_TIMM = _ENCODER + "_backbone."
_POOLED_NORM = _ENCODER + "model.layernorm."
_FPN = "model.pixel_level_module.decoder.fpn."
_DECODER = "model.transformer_module.decoder."

_NEWER_NAMES = NameTable(
    [
        ("layers.{i}.self_attn.o_proj.{name}", "layers.{i}.self_attn.out_proj.{name}"),
        ("layers.{i}.encoder_attn.o_proj.{name}", "layers.{i}.encoder_attn.out_proj.{name}"),
        ("layers.{i}.mlp.fc{j}.{name}", "layers.{i}.fc{j}.{name}"),
    ],
    prefixes=(_DECODER, _DECODER),
)
_SWIN = [
    (_ENCODER + theirs, "backbone." + ours)
    for theirs, ours in [
        ("model.embeddings.patch_embeddings.projection.{name}", "patch_embed.proj.{name}"),
        ("model.embeddings.norm.{name}", "patch_embed.norm.{name}"),
        ("model.encoder.layers.{i}.downsample.{name}", "layers.{i}.downsample.{name}"),
        ("hidden_states_norms.{i}.{name}", "norm{i}.{name}"),
    ]
]
_SWIN_BLOCK = [
    (
        f"{_ENCODER}model.encoder.layers.{{i}}.blocks.{{j}}.{theirs}",
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
_RESNET = [
    (f"{_ENCODER}{theirs}.{their_part}", f"backbone.{ours}.{our_part}")
    for theirs, ours in _RESNET_CONVS
    for their_part, our_part in [
        ("convolution.weight", "weight"),
        ("normalization.{name}", "norm.{name}"),
    ]
]
_PIXEL_DECODER = [
    (_FPN + "stem.0.weight", "pixel_decoder.output_convs.res5.weight"),
    (_FPN + "stem.1.{name}", "pixel_decoder.output_convs.res5.norm.{name}"),
    (
        "model.pixel_level_module.decoder.mask_projection.{name}",
        "pixel_decoder.mask_features.{name}",
    ),
] + [
    (f"{_FPN}layers.{level}.{theirs}", f"pixel_decoder.{ours}")
    for level, stage in enumerate(["res4", "res3", "res2"])
    for theirs, ours in [
        ("proj.0.weight", f"lateral_convs.{stage}.weight"),
        ("proj.1.{name}", f"lateral_convs.{stage}.norm.{{name}}"),
        ("block.0.weight", f"output_convs.{stage}.weight"),
        ("block.1.{name}", f"output_convs.{stage}.norm.{{name}}"),
    ]
]
_ATTENTION = [
    (f"{_DECODER}layers.{{i}}.{theirs}", f"transformer_decoder.layers.{{i}}.{ours}")
    for their_block, our_block in [
        ("self_attn", "self_attention"),
        ("encoder_attn", "cross_attention"),
    ]
    for theirs, ours in [
        (f"{their_block}.q_proj.{{name}}", f"{our_block}.attn.in_proj_{{name}}[q]"),
        (f"{their_block}.k_proj.{{name}}", f"{our_block}.attn.in_proj_{{name}}[k]"),
        (f"{their_block}.v_proj.{{name}}", f"{our_block}.attn.in_proj_{{name}}[v]"),
        (f"{their_block}.out_proj.{{name}}", f"{our_block}.attn.out_proj.{{name}}"),
        (f"{their_block}_layer_norm.{{name}}", f"{our_block}.norm.{{name}}"),
    ]
]
_TRANSFORMER = [
    (theirs, f"transformer_decoder.{ours}")
    for theirs, ours in [
        (_DECODER + "layers.{i}.fc{j}.{name}", "layers.{i}.feed_forward.linear{j}.{name}"),
        (_DECODER + "layers.{i}.final_layer_norm.{name}", "layers.{i}.feed_forward.norm.{name}"),
        (_DECODER + "layernorm.{name}", "norm.{name}"),
        ("model.transformer_module.queries_embedder.{name}", "query_embed.{name}"),
        ("model.transformer_module.input_projection.{name}", "input_proj.{name}"),
        ("class_predictor.{name}", "class_embed.{name}"),
        ("mask_embedder.{i}.0.{name}", "mask_embed.layers.{i}.{name}"),
    ]
]
_TABLE = NameTable(
    [
        *_SWIN,
        *_SWIN_BLOCK,
        *_RESNET,
        (_TIMM + "{name}", "backbone.model.{name}"),
        *_PIXEL_DECODER,
        *_ATTENTION,
        *_TRANSFORMER,
    ]
)


def _matches(names: Set[str]) -> bool:
    return {_FPN + "stem.0.weight", "model.transformer_module.queries_embedder.weight"} <= names


def _convert(state: StateDict) -> StateDict:
    state = without(state, r"criterion\..*|.*\.normalization\.num_batches_tracked")
    state = {n: tensor for n, tensor in state.items() if not n.startswith(_POOLED_NORM)}
    timm = {n.removeprefix(_TIMM): tensor for n, tensor in state.items() if n.startswith(_TIMM)}
    backbone: StateDict = {}
    if RESNET.matches(timm.keys()):  # this project's configs take detectron2's ResNet
        backbone = RESNET.convert(timm)
        state = {n: tensor for n, tensor in state.items() if not n.startswith(_TIMM)}
    return backbone | _TABLE.to_ours(_NEWER_NAMES.to_ours(state))


def _is_ours(names: Set[str]) -> bool:
    needed = {
        "pixel_decoder.lateral_convs.res2.norm.weight",
        "pixel_decoder.output_convs.res5.norm.weight",
        "transformer_decoder.class_embed.weight",
    }
    has_encoder = any(name.startswith("pixel_decoder.encoder.") for name in names)
    has_deep_stem = "backbone.stem.conv2.weight" in names
    return needed <= names and not has_encoder and not has_deep_stem


def _export(state: StateDict) -> StateDict:
    exported = _TABLE.to_theirs(state)
    last_norm = exported.get(_ENCODER + "hidden_states_norms.3.weight")
    if last_norm is not None:
        exported[_POOLED_NORM + "weight"] = torch.ones_like(last_norm)
        exported[_POOLED_NORM + "bias"] = torch.zeros_like(last_norm)
    for name in list(exported):
        if name.endswith(".normalization.running_mean"):
            count = name.replace("running_mean", "num_batches_tracked")
            exported.setdefault(count, torch.tensor(0))
    return exported


LAYOUT = Layout(
    name="Hugging Face MaskFormer",
    matches=_matches,
    convert=_convert,
    export=Export(
        "huggingface",
        holds="MaskFormer on Swin, ResNet or a timm model, without a deep stem and without a "
        "transformer encoder in the pixel decoder",
        matches=_is_ours,
        convert=_export,
    ),
)
