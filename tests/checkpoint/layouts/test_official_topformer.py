"""The authors' layout of TopFormer: every name consumed, exact round trips, ImageNet models."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from d2seg.checkpoint.conversion import to_flavour
from d2seg.checkpoint.layouts import find_layout
from d2seg.checkpoint.layouts.official_topformer import LAYOUT
from families.topformer_config import small_config


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_every_name_is_consumed(official_state: Callable, same_state: Callable, size: str) -> None:
    state = official_state(f"topformer_{size}_ade20k")
    converted = LAYOUT.convert(state)
    assert len(converted) == len(state)
    assert not [name for name in converted if "tpm" in name or "SIM" in name or ".bn." in name]
    same_state(to_flavour(converted, "official"), state)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("backbone.tpm.stem.0.bn.bias", "backbone.pyramid.stem.norm.bias"),
        ("backbone.tpm.layer1.conv.0.c.weight", "backbone.pyramid.blocks.0.depthwise.weight"),
        ("backbone.tpm.layer1.conv.2.c.weight", "backbone.pyramid.blocks.0.project.weight"),
        ("backbone.tpm.layer10.conv.0.c.weight", "backbone.pyramid.blocks.9.expand.weight"),
        ("backbone.tpm.layer10.conv.4.bn.bias", "backbone.pyramid.blocks.9.project.norm.bias"),
        ("backbone.SIM.1.global_act.conv.weight", "backbone.injections.res3.gate.weight"),
        ("backbone.SIM.3.local_embedding.bn.bias", "backbone.injections.res5.local.norm.bias"),
        ("decode_head.conv_seg.bias", "decode_head.predictor.bias"),
    ],
)
def test_names_one_by_one(official_state: Callable, theirs: str, ours: str) -> None:
    state = official_state("topformer_base_ade20k")
    assert LAYOUT.convert(state)[ours] is state[theirs]


def test_round_trip_from_our_side(
    repo_dir: Path, randomised: Callable, round_trip: Callable
) -> None:
    model = randomised(build_model(small_config(repo_dir)))
    round_trip(model.state_dict(), "official", LAYOUT)


def test_imagenet_model(official_state: Callable) -> None:
    """The same encoder without the level ``backbone``, and a classifier."""
    state = official_state("topformer_tiny_ade20k")
    whole = LAYOUT.convert(state)
    published = {
        name.removeprefix("backbone."): tensor
        for name, tensor in state.items()
        if name.startswith(("backbone.tpm.", "backbone.trans."))
    }
    assert find_layout(published.keys()) is LAYOUT
    converted = LAYOUT.convert(published | {"head.weight": torch.zeros(1000, 208)})
    assert converted == {
        name: tensor
        for name, tensor in whole.items()
        if name.startswith(("backbone.pyramid.", "backbone.semantics."))
    }
