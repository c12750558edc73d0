"""The authors' layout of TopFormer: every name consumed, exact round trips, ImageNet models."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from torch import Tensor

from d2seg.checkpoint.conversion import to_flavour
from d2seg.checkpoint.layouts import LAYOUTS, find_layout
from d2seg.checkpoint.layouts.official_topformer import LAYOUT
from families.topformer_config import small_config


def official_state(repo_dir: Path, size: str) -> dict[str, Tensor]:
    path = repo_dir / "tests" / "golden" / "keys" / f"topformer_{size}_ade20k.json"
    names = json.loads(path.read_text())
    return {name: torch.tensor(float(i)).expand(names[name]) for i, name in enumerate(names)}


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_every_name_is_consumed(repo_dir: Path, same_state: Callable, size: str) -> None:
    state = official_state(repo_dir, size)
    assert [layout for layout in LAYOUTS if layout.matches(state.keys())] == [LAYOUT]
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
def test_names_one_by_one(repo_dir: Path, theirs: str, ours: str) -> None:
    state = official_state(repo_dir, "base")
    assert LAYOUT.convert(state)[ours] is state[theirs]


def test_round_trip_from_our_side(
    repo_dir: Path, randomised: Callable, same_state: Callable
) -> None:
    state = randomised(build_model(small_config(repo_dir))).state_dict()
    assert find_layout(state.keys()) is None
    theirs = to_flavour(state, "official")
    assert find_layout(theirs.keys()) is LAYOUT
    same_state(LAYOUT.convert(theirs), state)


def test_imagenet_model(repo_dir: Path) -> None:
    """The same encoder without the level ``backbone``, and a classifier."""
    state = official_state(repo_dir, "tiny")
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
