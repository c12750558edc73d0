"""The Mask2Former authors' checkpoints, with either of their pixel decoders.

Checkpoints from before version 2 of their heads lack the ``pixel_decoder`` level and call the
queries ``static_query``. The class weights of the loss (``criterion.empty_weight``) are dropped:
here they follow from the config.
"""

import re
from collections.abc import Set

from ..naming import NameTable, StateDict, without
from .layout import Export, Layout

_STAGES = ("res2", "res3", "res4", "res5")
_PIXEL_DECODER = [
    (f"pixel_decoder.{theirs}.{{name}}", f"pixel_decoder.{ours}.{{name}}")
    for theirs, ours in [
        *((f"adapter_{n}", f"lateral_convs.{stage}") for n, stage in enumerate(_STAGES, start=1)),
        *((f"layer_{n}", f"output_convs.{stage}") for n, stage in enumerate(_STAGES, start=1)),
        ("input_proj.{i}", "input_projs.{i}"),
        ("mask_features", "mask_features"),
        ("transformer.encoder.layers.{i}.self_attn", "encoder.layers.{i}.attention"),
        ("transformer.encoder.layers.{i}.norm1", "encoder.layers.{i}.norm"),
        ("transformer.encoder.layers.{i}.linear{j}", "encoder.layers.{i}.feed_forward.linear{j}"),
        ("transformer.encoder.layers.{i}.norm2", "encoder.layers.{i}.feed_forward.norm"),
    ]
] + [("pixel_decoder.transformer.level_embed", "pixel_decoder.encoder.level_embed.weight")]
_DECODER = [
    (f"predictor.{theirs}.{{name}}", f"transformer_decoder.{ours}.{{name}}")
    for theirs, ours in [
        (
            "transformer_cross_attention_layers.{i}.multihead_attn",
            "layers.{i}.cross_attention.attn",
        ),
        ("transformer_cross_attention_layers.{i}.norm", "layers.{i}.cross_attention.norm"),
        ("transformer_self_attention_layers.{i}.self_attn", "layers.{i}.self_attention.attn"),
        ("transformer_self_attention_layers.{i}.norm", "layers.{i}.self_attention.norm"),
        ("transformer_ffn_layers.{i}", "layers.{i}.feed_forward"),
        ("decoder_norm", "norm"),
        ("input_proj.{i}", "input_projs.{i}"),
        *((same, same) for same in ("query_feat", "query_embed", "level_embed")),
        *((same, same) for same in ("class_embed", "mask_embed")),
    ]
]
_TABLE = NameTable([*_PIXEL_DECODER, *_DECODER], prefixes=("sem_seg_head.", ""))

_WITHOUT_LEVEL = re.compile(r"sem_seg_head\.(?!predictor\.|pixel_decoder\.)")
_WITH_LEVEL = "sem_seg_head.pixel_decoder."
_PREDICTOR = "sem_seg_head.predictor."


def _matches(names: Set[str]) -> bool:
    queries = {_PREDICTOR + "query_feat.weight", _PREDICTOR + "static_query.weight"}
    first_norm = _PREDICTOR + "transformer_cross_attention_layers.0.norm.weight"
    return first_norm in names and not names.isdisjoint(queries)


def _convert(state: StateDict) -> StateDict:
    state = without(state, r"criterion\..*")
    state = {_WITHOUT_LEVEL.sub(_WITH_LEVEL, name): tensor for name, tensor in state.items()}
    state = {
        name.replace(_PREDICTOR + "static_query.", _PREDICTOR + "query_feat."): tensor
        for name, tensor in state.items()
    }
    return _TABLE.to_ours(state)


def _is_ours(names: Set[str]) -> bool:
    return {
        "pixel_decoder.mask_features.weight",
        "transformer_decoder.query_feat.weight",
    } <= names


LAYOUT = Layout(
    name="official Mask2Former",
    matches=_matches,
    convert=_convert,
    export=Export(
        "official",
        holds="Mask2Former, on any backbone",
        matches=_is_ours,
        convert=_TABLE.to_theirs,
    ),
)
