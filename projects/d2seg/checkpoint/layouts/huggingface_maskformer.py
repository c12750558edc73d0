"""MaskFormer in Hugging Face transformers (``MaskFormerForInstanceSegmentation``).

The files on the hub have DETR's old names in the transformer decoder; models in memory have newer
ones since transformers 5. Both are read, the former are written.

Backbones: Swin, ResNet, and any timm model, see ``huggingface_backbones``. The class weights of the
loss are dropped: here they follow from the config.
"""

from collections.abc import Set

from ..naming import NameTable
from .huggingface_backbones import ENCODER, RESNET_AND_TIMM, ModelNames, swin_pairs
from .layout import Export, Layout

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
_NAMES = ModelNames(
    table=NameTable(
        [
            *swin_pairs(ENCODER + "model.", [f"hidden_states_norms.{i}" for i in range(4)]),
            *RESNET_AND_TIMM,
            *_PIXEL_DECODER,
            *_ATTENTION,
            *_TRANSFORMER,
        ]
    ),
    newer_names=_NEWER_NAMES,
    pooled_norm=ENCODER + "model.layernorm.",
    last_stage_norm=ENCODER + "hidden_states_norms.3.",
)


def _matches(names: Set[str]) -> bool:
    return {_FPN + "stem.0.weight", "model.transformer_module.queries_embedder.weight"} <= names


def _is_ours(names: Set[str]) -> bool:
    needed = {
        "pixel_decoder.lateral_convs.res2.norm.weight",
        "pixel_decoder.output_convs.res5.norm.weight",
        "transformer_decoder.class_embed.weight",
    }
    has_encoder = any(name.startswith("pixel_decoder.encoder.") for name in names)
    has_deep_stem = "backbone.stem.conv2.weight" in names
    is_mask2former = "transformer_decoder.query_feat.weight" in names
    return needed <= names and not (has_encoder or has_deep_stem or is_mask2former)


LAYOUT = Layout(
    name="Hugging Face MaskFormer",
    matches=_matches,
    convert=_NAMES.to_ours,
    export=Export(
        "huggingface",
        holds="MaskFormer on Swin, ResNet or a timm model, without a deep stem and without a "
        "transformer encoder in the pixel decoder",
        matches=_is_ours,
        convert=_NAMES.to_theirs,
    ),
)
