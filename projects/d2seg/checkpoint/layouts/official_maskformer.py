"""The MaskFormer authors' checkpoints: MaskFormer and its two per-pixel baselines.

Checkpoints from before version 2 of their heads lack the ``pixel_decoder`` level. The class weights
of the loss (``criterion.empty_weight``) are dropped: here they follow from the config.
"""

import re
from collections.abc import Set

from ..naming import NameTable, StateDict, without
from .layout import Export, Layout

_STAGES = ("res2", "res3", "res4", "res5")
_LATERALS = [
    (f"pixel_decoder.adapter_{n}.{{name}}", f"pixel_decoder.lateral_convs.{stage}.{{name}}")
    for n, stage in enumerate(_STAGES[:3], start=1)
]
_OUTPUTS = [
    (f"pixel_decoder.layer_{n}.{{name}}", f"pixel_decoder.output_convs.{stage}.{{name}}")
    for n, stage in enumerate(_STAGES, start=1)
]
_ENCODER = [
    (
        f"pixel_decoder.transformer.encoder.{theirs}.{{name}}",
        f"pixel_decoder.encoder.{ours}.{{name}}",
    )
    for theirs, ours in [
        ("layers.{i}.self_attn", "layers.{i}.self_attention.attn"),
        ("layers.{i}.norm1", "layers.{i}.self_attention.norm"),
        ("layers.{i}.linear{j}", "layers.{i}.feed_forward.linear{j}"),
        ("layers.{i}.norm2", "layers.{i}.feed_forward.norm"),
        ("norm", "norm"),
    ]
]
_DECODER = [
    (f"predictor.{theirs}.{{name}}", f"transformer_decoder.{ours}.{{name}}")
    for theirs, ours in [
        ("transformer.decoder.layers.{i}.self_attn", "layers.{i}.self_attention.attn"),
        ("transformer.decoder.layers.{i}.norm1", "layers.{i}.self_attention.norm"),
        ("transformer.decoder.layers.{i}.multihead_attn", "layers.{i}.cross_attention.attn"),
        ("transformer.decoder.layers.{i}.norm2", "layers.{i}.cross_attention.norm"),
        ("transformer.decoder.layers.{i}.linear{j}", "layers.{i}.feed_forward.linear{j}"),
        ("transformer.decoder.layers.{i}.norm3", "layers.{i}.feed_forward.norm"),
        ("transformer.decoder.norm", "norm"),
        ("query_embed", "query_embed"),
        ("input_proj", "input_proj"),
        ("class_embed", "class_embed"),
        ("mask_embed", "mask_embed"),
    ]
]
_SAME = [
    (f"pixel_decoder.{part}.{{name}}", f"pixel_decoder.{part}.{{name}}")
    for part in ("mask_features", "input_proj")
]
_PAIRS = [*_LATERALS, *_OUTPUTS, *_SAME, *_ENCODER, *_DECODER]
_MASKFORMER = NameTable(_PAIRS, prefixes=("sem_seg_head.", ""))
# here the baselines are heads of detectron2's SemanticSegmentor
_BASELINE = NameTable(_PAIRS, prefixes=("sem_seg_head.", "sem_seg_head."))

_WITHOUT_LEVEL = re.compile(r"sem_seg_head\.(?!predictor\.|pixel_decoder\.)")
_WITH_LEVEL = "sem_seg_head.pixel_decoder."


def _matches(names: Set[str]) -> bool:
    # Mask2Former's pixel decoder has an adapter_1, too, but other predictors
    pixel_decoders = {"sem_seg_head.adapter_1.weight", _WITH_LEVEL + "adapter_1.weight"}
    predictors = {
        "sem_seg_head.predictor.weight",
        "sem_seg_head.predictor.transformer.decoder.layers.0.norm1.weight",
    }
    return not names.isdisjoint(pixel_decoders) and not names.isdisjoint(predictors)


def _convert(state: StateDict) -> StateDict:
    state = without(state, r"criterion\..*")
    state = {_WITHOUT_LEVEL.sub(_WITH_LEVEL, name): tensor for name, tensor in state.items()}
    is_baseline = "sem_seg_head.predictor.class_embed.weight" not in state
    return (_BASELINE if is_baseline else _MASKFORMER).to_ours(state)


def _is_ours(names: Set[str]) -> bool:
    return _is_our_maskformer(names) or _is_our_baseline(names)


def _is_our_maskformer(names: Set[str]) -> bool:
    needed = {
        "pixel_decoder.lateral_convs.res2.weight",
        "pixel_decoder.output_convs.res5.weight",
        "transformer_decoder.class_embed.weight",
    }
    # which Mask2Former has
    return needed <= names and "transformer_decoder.query_feat.weight" not in names


def _is_our_baseline(names: Set[str]) -> bool:
    return "sem_seg_head.pixel_decoder.output_convs.res5.weight" in names


def _export(state: StateDict) -> StateDict:
    return (_BASELINE if _is_our_baseline(state.keys()) else _MASKFORMER).to_theirs(state)


LAYOUT = Layout(
    name="official MaskFormer",
    matches=_matches,
    convert=_convert,
    export=Export(
        "official",
        holds="MaskFormer and its per-pixel baselines, on any backbone",
        matches=_is_ours,
        convert=_export,
    ),
)
