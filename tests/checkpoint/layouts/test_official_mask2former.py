"""The authors' layout of Mask2Former: every name consumed, exact round trips."""

from collections.abc import Callable
from pathlib import Path

import pytest
from detectron2.modeling import build_model
from torch import nn

from d2seg.checkpoint.conversion import to_flavour
from d2seg.checkpoint.layouts import find_layout
from d2seg.checkpoint.layouts.official_mask2former import LAYOUT
from families.mask2former_config import small_config

GOLDEN = [
    "mask2former_ade20k_semantic_swin_tiny",
    "mask2former_coco_instance_R101",
    "mask2former_coco_panoptic_R50",
    "mask2former_coco_panoptic_swin_large",
]


@pytest.fixture(params=["deformable", "fpn", "two encoder levels"])
def model(request: pytest.FixtureRequest, repo_dir: Path, randomised: Callable) -> nn.Module:
    cfg = small_config(repo_dir)
    if request.param == "fpn":
        cfg.MODEL.MASK2FORMER.PIXEL_DECODER = "fpn"
    if request.param == "two encoder levels":
        cfg.MODEL.MASK2FORMER.ENCODER_IN_FEATURES = ["res4", "res5"]
    return randomised(build_model(cfg))


@pytest.mark.parametrize("case", GOLDEN)
def test_every_name_is_consumed(official_state: Callable, case: str) -> None:
    ours = LAYOUT.convert(official_state(case))
    assert {name.partition(".")[0] for name in ours} == {
        "backbone",
        "pixel_decoder",
        "transformer_decoder",
    }
    left = ("adapter_", "layer_", "multihead_attn", "self_attn", "_layers", "norm1", "norm2")
    decoders = [name for name in ours if not name.startswith("backbone.")]
    assert not [name for name in decoders if any(part in name for part in left)]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("pixel_decoder.input_proj.2.1.weight", "pixel_decoder.input_projs.2.1.weight"),
        ("pixel_decoder.transformer.level_embed", "pixel_decoder.encoder.level_embed.weight"),
        (
            "pixel_decoder.transformer.encoder.layers.5.self_attn.sampling_offsets.bias",
            "pixel_decoder.encoder.layers.5.attention.sampling_offsets.bias",
        ),
        (
            "pixel_decoder.transformer.encoder.layers.0.norm1.weight",
            "pixel_decoder.encoder.layers.0.norm.weight",
        ),
        (
            "pixel_decoder.transformer.encoder.layers.0.norm2.weight",
            "pixel_decoder.encoder.layers.0.feed_forward.norm.weight",
        ),
        ("pixel_decoder.adapter_1.norm.bias", "pixel_decoder.lateral_convs.res2.norm.bias"),
        ("pixel_decoder.layer_1.weight", "pixel_decoder.output_convs.res2.weight"),
        ("pixel_decoder.mask_features.bias", "pixel_decoder.mask_features.bias"),
        (
            "predictor.transformer_cross_attention_layers.8.multihead_attn.in_proj_weight",
            "transformer_decoder.layers.8.cross_attention.attn.in_proj_weight",
        ),
        (
            "predictor.transformer_self_attention_layers.2.norm.bias",
            "transformer_decoder.layers.2.self_attention.norm.bias",
        ),
        (
            "predictor.transformer_ffn_layers.2.linear2.weight",
            "transformer_decoder.layers.2.feed_forward.linear2.weight",
        ),
        (
            "predictor.transformer_ffn_layers.2.norm.weight",
            "transformer_decoder.layers.2.feed_forward.norm.weight",
        ),
        ("predictor.decoder_norm.weight", "transformer_decoder.norm.weight"),
        ("predictor.query_feat.weight", "transformer_decoder.query_feat.weight"),
        ("predictor.query_embed.weight", "transformer_decoder.query_embed.weight"),
        ("predictor.level_embed.weight", "transformer_decoder.level_embed.weight"),
        ("predictor.class_embed.bias", "transformer_decoder.class_embed.bias"),
        ("predictor.mask_embed.layers.2.bias", "transformer_decoder.mask_embed.layers.2.bias"),
    ],
)
def test_names_one_by_one(official_state: Callable, theirs: str, ours: str) -> None:
    state = official_state("mask2former_coco_panoptic_R50")
    assert LAYOUT.convert(state)[ours] is state[f"sem_seg_head.{theirs}"]


@pytest.mark.parametrize("case", GOLDEN)
def test_round_trip_from_their_side(
    official_state: Callable, case: str, same_state: Callable
) -> None:
    state = official_state(case)
    back = to_flavour(LAYOUT.convert(state), "official")
    same_state(back | {"criterion.empty_weight": state["criterion.empty_weight"]}, state)


def test_round_trip_from_our_side(model: nn.Module, round_trip: Callable) -> None:
    round_trip(model.state_dict(), "official", LAYOUT)


def test_older_names(model: nn.Module, same_state: Callable) -> None:
    """Without the level of the pixel decoder, and with the queries' old name."""
    state = model.state_dict()
    older = {
        name.replace("sem_seg_head.pixel_decoder.", "sem_seg_head.").replace(
            "query_feat", "static_query"
        ): tensor
        for name, tensor in to_flavour(state, "official").items()
    }
    assert {"sem_seg_head.adapter_1.weight", "sem_seg_head.predictor.static_query.weight"} <= set(
        older
    )
    layout = find_layout(older.keys())
    assert layout is LAYOUT
    same_state(layout.convert(older), state)
