"""The authors' layout of MaskFormer: every name consumed, exact round trips."""

from collections.abc import Callable

import pytest

from d2seg.checkpoint.conversion import to_flavour
from d2seg.checkpoint.layouts import find_layout
from d2seg.checkpoint.layouts.official_maskformer import LAYOUT

GOLDEN = [
    "maskformer_ade20k_semantic_R50",
    "maskformer_ade20k_semantic_R101c",
    "maskformer_coco_panoptic_R50",
    "maskformer_coco_panoptic_swin_large",
]
CONFIGS = [
    "ade20k_semantic_resnet50",
    "ade20k_semantic_resnet101c",
    "coco_panoptic_resnet50",
    "coco_panoptic_swin_tiny",
    "ade20k_semantic_per_pixel_resnet50",
    "ade20k_semantic_per_pixel_plus_resnet50",
]


@pytest.mark.parametrize("case", GOLDEN)
def test_every_name_is_consumed(official_state: Callable, case: str) -> None:
    ours = LAYOUT.convert(official_state(case))
    assert {name.partition(".")[0] for name in ours} == {
        "backbone",
        "pixel_decoder",
        "transformer_decoder",
    }
    left = ("adapter_", "layer_", "multihead_attn", "self_attn", "linear1_", "norm3")
    decoders = [name for name in ours if not name.startswith("backbone.")]
    assert not [name for name in decoders if any(part in name for part in left)]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("pixel_decoder.adapter_1.weight", "pixel_decoder.lateral_convs.res2.weight"),
        ("pixel_decoder.adapter_3.norm.bias", "pixel_decoder.lateral_convs.res4.norm.bias"),
        ("pixel_decoder.layer_1.norm.weight", "pixel_decoder.output_convs.res2.norm.weight"),
        ("pixel_decoder.layer_4.weight", "pixel_decoder.output_convs.res5.weight"),
        ("pixel_decoder.mask_features.bias", "pixel_decoder.mask_features.bias"),
        ("pixel_decoder.input_proj.weight", "pixel_decoder.input_proj.weight"),
        (
            "pixel_decoder.transformer.encoder.layers.5.self_attn.in_proj_weight",
            "pixel_decoder.encoder.layers.5.self_attention.attn.in_proj_weight",
        ),
        (
            "pixel_decoder.transformer.encoder.layers.0.norm1.weight",
            "pixel_decoder.encoder.layers.0.self_attention.norm.weight",
        ),
        (
            "pixel_decoder.transformer.encoder.layers.0.norm2.weight",
            "pixel_decoder.encoder.layers.0.feed_forward.norm.weight",
        ),
        (
            "predictor.transformer.decoder.layers.2.self_attn.out_proj.bias",
            "transformer_decoder.layers.2.self_attention.attn.out_proj.bias",
        ),
        (
            "predictor.transformer.decoder.layers.2.norm1.bias",
            "transformer_decoder.layers.2.self_attention.norm.bias",
        ),
        (
            "predictor.transformer.decoder.layers.2.multihead_attn.in_proj_bias",
            "transformer_decoder.layers.2.cross_attention.attn.in_proj_bias",
        ),
        (
            "predictor.transformer.decoder.layers.2.norm2.bias",
            "transformer_decoder.layers.2.cross_attention.norm.bias",
        ),
        (
            "predictor.transformer.decoder.layers.2.linear2.weight",
            "transformer_decoder.layers.2.feed_forward.linear2.weight",
        ),
        (
            "predictor.transformer.decoder.layers.2.norm3.bias",
            "transformer_decoder.layers.2.feed_forward.norm.bias",
        ),
        ("predictor.transformer.decoder.norm.weight", "transformer_decoder.norm.weight"),
        ("predictor.query_embed.weight", "transformer_decoder.query_embed.weight"),
        ("predictor.class_embed.bias", "transformer_decoder.class_embed.bias"),
        ("predictor.mask_embed.layers.2.bias", "transformer_decoder.mask_embed.layers.2.bias"),
    ],
)
def test_names_one_by_one(official_state: Callable, theirs: str, ours: str) -> None:
    state = official_state("maskformer_coco_panoptic_R50")
    converted = LAYOUT.convert(state)
    assert converted[ours] is state[f"sem_seg_head.{theirs}"]


@pytest.mark.parametrize("case", GOLDEN)
def test_round_trip_from_their_side(
    official_state: Callable, case: str, same_state: Callable
) -> None:
    state = official_state(case)
    back = to_flavour(LAYOUT.convert(state), "official")
    same_state(back | {"criterion.empty_weight": state["criterion.empty_weight"]}, state)


@pytest.mark.parametrize("config", CONFIGS)
def test_round_trip_from_our_side(
    small_model: Callable, randomised: Callable, round_trip: Callable, config: str
) -> None:
    round_trip(randomised(small_model(config)).state_dict(), "official", LAYOUT)


@pytest.mark.parametrize("config", CONFIGS)
def test_older_names_without_the_pixel_decoder_level(
    small_model: Callable, same_state: Callable, config: str
) -> None:
    state = small_model(config).state_dict()
    older = {
        name.replace("sem_seg_head.pixel_decoder.", "sem_seg_head."): tensor
        for name, tensor in to_flavour(state, "official").items()
    }
    assert "sem_seg_head.adapter_1.weight" in older
    layout = find_layout(older.keys())
    assert layout is LAYOUT
    same_state(layout.convert(older), state)


@pytest.mark.parametrize("plus", [False, True])
def test_names_of_the_baselines(small_model: Callable, plus: bool) -> None:
    config = f"ade20k_semantic_per_pixel{'_plus' if plus else ''}_resnet50"
    theirs = to_flavour(small_model(config).state_dict(), "official")
    predictor = {n for n in theirs if n.startswith("sem_seg_head.predictor.")}
    assert "sem_seg_head.pixel_decoder.layer_4.norm.weight" in theirs
    if plus:
        prefix = "sem_seg_head.predictor."
        assert f"{prefix}transformer.decoder.layers.0.multihead_attn.in_proj_weight" in theirs
        assert {f"{prefix}query_embed.weight", f"{prefix}mask_embed.layers.2.bias"} <= predictor
    else:
        assert predictor == {"sem_seg_head.predictor.weight", "sem_seg_head.predictor.bias"}
    assert not [name for name in theirs if "class_embed" in name]


def test_its_argument_is_not_changed(official_state: Callable) -> None:
    state = official_state(GOLDEN[0])
    LAYOUT.convert(state)
    assert list(state) == list(official_state(GOLDEN[0]))
