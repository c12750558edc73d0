"""Mask2Former in Hugging Face transformers (``Mask2FormerForUniversalSegmentation``).

The files have older names in Swin than models in memory have since transformers 5. Both are read,
the former are written. Backbones: Swin, ResNet, and any timm model, see ``huggingface_backbones``.
The class weights of the loss are dropped: here they follow from the config.
"""

import re
from collections.abc import Set

from ..naming import NameTable
from .huggingface_backbones import ENCODER, RESNET_AND_TIMM, ModelNames, swin_pairs
from .layout import Export, Layout

_NEWER_NAMES = NameTable(
    [
        (f"swin.{newer}", older)
        for newer, older in [
            ("embeddings.{name}", "embeddings.{name}"),
            ("encoder.layers.{i}.downsample.{name}", "encoder.layers.{i}.downsample.{name}"),
            *(
                (
                    f"encoder.layers.{{i}}.blocks.{{j}}.{of_block}",
                    f"encoder.layers.{{i}}.blocks.{{j}}.{was}",
                )
                for of_block, was in [
                    ("layernorm_before.{name}", "layernorm_before.{name}"),
                    ("attention.q_proj.{name}", "attention.self.query.{name}"),
                    ("attention.k_proj.{name}", "attention.self.key.{name}"),
                    ("attention.v_proj.{name}", "attention.self.value.{name}"),
                    ("attention.o_proj.{name}", "attention.output.dense.{name}"),
                    (
                        "attention.relative_position_bias.{name}",
                        "attention.self.{name}",
                    ),
                    ("layernorm_after.{name}", "layernorm_after.{name}"),
                    ("mlp.fc1.{name}", "intermediate.dense.{name}"),
                    ("mlp.fc2.{name}", "output.dense.{name}"),
                ]
            ),
        ]
    ],
    prefixes=(ENCODER, ENCODER),
)
_PIXEL_DECODER = [
    (f"model.pixel_level_module.decoder.{theirs}", f"pixel_decoder.{ours}")
    for theirs, ours in [
        ("level_embed", "encoder.level_embed.weight"),
        ("input_projections.{name}", "input_projs.{name}"),
        ("encoder.layers.{i}.self_attn.{name}", "encoder.layers.{i}.attention.{name}"),
        ("encoder.layers.{i}.self_attn_layer_norm.{name}", "encoder.layers.{i}.norm.{name}"),
        ("encoder.layers.{i}.fc{j}.{name}", "encoder.layers.{i}.feed_forward.linear{j}.{name}"),
        (
            "encoder.layers.{i}.final_layer_norm.{name}",
            "encoder.layers.{i}.feed_forward.norm.{name}",
        ),
        ("adapter_1.0.weight", "lateral_convs.res2.weight"),
        ("adapter_1.1.{name}", "lateral_convs.res2.norm.{name}"),
        ("layer_1.0.weight", "output_convs.res2.weight"),
        ("layer_1.1.{name}", "output_convs.res2.norm.{name}"),
        ("mask_projection.{name}", "mask_features.{name}"),
    ]
]
_TRANSFORMER = [
    (f"model.transformer_module.{theirs}", f"transformer_decoder.{ours}")
    for theirs, ours in [
        ("queries_embedder.{name}", "query_embed.{name}"),
        ("queries_features.{name}", "query_feat.{name}"),
        ("level_embed.{name}", "level_embed.{name}"),
        ("input_projections.{name}", "input_projs.{name}"),
        ("decoder.layernorm.{name}", "norm.{name}"),
        ("decoder.mask_predictor.mask_embedder.{i}.0.{name}", "mask_embed.layers.{i}.{name}"),
        *(
            (f"decoder.layers.{{i}}.{of_layer}", f"layers.{{i}}.{our_part}")
            for of_layer, our_part in [
                ("cross_attn.{name}", "cross_attention.attn.{name}"),
                ("cross_attn_layer_norm.{name}", "cross_attention.norm.{name}"),
                ("self_attn.q_proj.{name}", "self_attention.attn.in_proj_{name}[q]"),
                ("self_attn.k_proj.{name}", "self_attention.attn.in_proj_{name}[k]"),
                ("self_attn.v_proj.{name}", "self_attention.attn.in_proj_{name}[v]"),
                ("self_attn.out_proj.{name}", "self_attention.attn.out_proj.{name}"),
                ("self_attn_layer_norm.{name}", "self_attention.norm.{name}"),
                ("fc{j}.{name}", "feed_forward.linear{j}.{name}"),
                ("final_layer_norm.{name}", "feed_forward.norm.{name}"),
            ]
        ),
    ]
] + [("class_predictor.{name}", "transformer_decoder.class_embed.{name}")]
_NAMES = ModelNames(
    table=NameTable(
        [
            *swin_pairs(ENCODER, [f"hidden_states_norms.stage{stage}" for stage in (1, 2, 3, 4)]),
            *RESNET_AND_TIMM,
            *_PIXEL_DECODER,
            *_TRANSFORMER,
        ]
    ),
    newer_names=_NEWER_NAMES,
    pooled_norm=ENCODER + "swin.layernorm.",
    last_stage_norm=ENCODER + "hidden_states_norms.stage4.",
)


def _matches(names: Set[str]) -> bool:
    return {
        "model.transformer_module.queries_features.weight",
        "model.pixel_level_module.decoder.mask_projection.weight",
    } <= names


def _is_ours(names: Set[str]) -> bool:
    lateral = {
        m[1] for name in names if (m := re.match(r"pixel_decoder\.lateral_convs\.(\w+)", name))
    }
    needed = {
        "pixel_decoder.encoder.level_embed.weight",
        "pixel_decoder.lateral_convs.res2.norm.weight",
        "transformer_decoder.query_feat.weight",
    }
    return needed <= names and lateral == {"res2"} and "backbone.stem.conv2.weight" not in names


LAYOUT = Layout(
    name="Hugging Face Mask2Former",
    matches=_matches,
    convert=_NAMES.to_ours,
    export=Export(
        "huggingface",
        holds="Mask2Former with the deformable pixel decoder on Swin, ResNet or a timm model, "
        "without a deep stem",
        matches=_is_ours,
        convert=_NAMES.to_theirs,
    ),
)
