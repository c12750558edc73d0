"""transformers' layout of MaskFormer: every name consumed, every tensor given, exact round trips."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from d2seg.checkpoint.conversion import to_flavour
from d2seg.checkpoint.layouts.huggingface_maskformer import LAYOUT

transformers = pytest.importorskip("transformers")

from families.huggingface_layouts import (  # noqa: E402
    BACKBONES,
    COMPUTED,
    assert_round_trip,
    backbone_config,
    states,
)

IN_HUGGING_FACE = ["ade20k_semantic_resnet50", "coco_panoptic_swin_tiny"]
NOT_IN_HUGGING_FACE = [
    "ade20k_semantic_resnet101c",
    "coco_panoptic_resnet50",
    "ade20k_semantic_per_pixel_resnet50",
    "ade20k_semantic_per_pixel_plus_resnet50",
]


@pytest.fixture(scope="module", params=BACKBONES)
def their_model(request: pytest.FixtureRequest, randomised: Callable) -> nn.Module:
    decoder = transformers.DetrConfig(
        d_model=32,
        decoder_layers=6,
        decoder_attention_heads=4,
        decoder_ffn_dim=64,
        num_queries=7,
    )
    config = transformers.MaskFormerConfig(
        backbone_config=backbone_config(request.param),
        decoder_config=decoder,
        fpn_feature_size=64,
        mask_feature_size=32,
        num_labels=5,
    )
    model = randomised(transformers.MaskFormerForInstanceSegmentation(config))
    model.kind = request.param
    return model


def our_model(small_model: Callable, kind: str) -> nn.Module:
    if kind == "swin":
        return small_model("coco_panoptic_swin_tiny")
    if kind == "timm":
        return small_model(BACKBONE__NAME="build_timm_backbone", TIMM__NAME="convnext_atto")
    return small_model()


def test_every_name_is_consumed_and_every_tensor_given(
    their_model: nn.Module, small_model: Callable, tmp_path: Path
) -> None:
    expected = our_model(small_model, their_model.kind).state_dict()
    for state in states(their_model, tmp_path):
        ours = LAYOUT.convert(state)
        assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in expected.items()}
        for name in expected:
            if name.endswith(COMPUTED):
                assert torch.equal(ours[name], expected[name])


# timm's ResNet would come back as transformers' own
@pytest.mark.parametrize("their_model", ["swin", "resnet", "timm"], indirect=True)
def test_round_trip_from_their_side(their_model: nn.Module, tmp_path: Path) -> None:
    assert_round_trip(their_model, LAYOUT, tmp_path)


@pytest.mark.parametrize("config", IN_HUGGING_FACE)
def test_round_trip_from_our_side(
    small_model: Callable, randomised: Callable, round_trip: Callable, config: str
) -> None:
    round_trip(randomised(small_model(config)).state_dict(), "huggingface", LAYOUT)


@pytest.mark.parametrize("config", NOT_IN_HUGGING_FACE)
def test_what_it_cannot_hold_is_refused(small_model: Callable, config: str) -> None:
    state = small_model(config).state_dict()
    with pytest.raises(ValueError, match="no 'huggingface' layout holds this model"):
        to_flavour(state, "huggingface")
