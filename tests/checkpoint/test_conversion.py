"""From foreign names to d2seg's, and the place of an ImageNet model inside a model."""

import pytest
import timm
import torch
from detectron2.modeling import build_backbone
from torch import nn

from d2seg.checkpoint.conversion import (
    flavours,
    is_own,
    place_backbone,
    to_d2seg,
    to_flavour,
    without_prefix,
)
from d2seg.config.loading import load_config

TORCHVISION = {
    "conv1.weight": torch.ones(1),
    "layer1.0.conv1.weight": torch.ones(2),
    "fc.weight": torch.ones(3),
}


def test_recognised_names_are_converted() -> None:
    state, layout = to_d2seg(TORCHVISION)
    assert layout.name.startswith("ImageNet ResNet")
    assert set(state) == {"backbone.stem.conv1.weight", "backbone.res2.0.conv1.weight"}


def test_the_prefix_of_parallel_training_is_taken_off() -> None:
    state, layout = to_d2seg({f"module.{name}": t for name, t in TORCHVISION.items()})
    assert layout is not None
    assert "backbone.stem.conv1.weight" in state


def test_other_names_come_back_as_they_are() -> None:
    state = {"backbone.weight": torch.ones(1)}
    assert to_d2seg(state) == (state, None)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.model."])
def test_prefixes_of_wrappers_are_taken_off(prefix: str) -> None:
    state = nn.Sequential(nn.BatchNorm1d(3)).state_dict(prefix=prefix)
    bare, found = without_prefix(state)
    assert found == prefix
    assert list(bare) == list(nn.Sequential(nn.BatchNorm1d(3)).state_dict())
    assert bare._metadata["0"] == {"version": 2}
    assert all(name.startswith(prefix) for name in state)  # left as it was


def test_a_prefix_that_is_the_models_own_stays() -> None:
    state = {"model.weight": torch.ones(1)}
    assert without_prefix(state, {"model.weight"}) == (state, "")
    assert without_prefix({**state, "head.weight": torch.ones(1)})[1] == ""


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["backbone.stem.conv1.weight", "sem_seg_head.x", "pixel_mean"], True),
        (["encoder.weight", "decoder.weight"], False),
        (["backbone.layers.0.weight", "neck.weight"], False),
    ],
)
def test_a_layout_that_nobody_knows_is_not_called_our_own(names: list[str], expected: bool) -> None:
    assert is_own(set(names)) is expected


def test_unknown_models_cannot_be_written() -> None:
    assert flavours() == ["huggingface", "official"]
    with pytest.raises(
        ValueError, match=r"no 'official' layout .* \['x'\]\); it holds: .*MaskForm"
    ):
        to_flavour({"x": torch.ones(1)}, "official")


@pytest.mark.parametrize(
    ("original", "in_model"),
    [
        ("conv1.weight", "backbone.stem.conv1.weight"),  # detectron2's ResNet
        ("conv1.weight", "backbone.bottom_up.stem.conv1.weight"),  # inside its FPN
        ("conv1.weight", "stem.conv1.weight"),  # by itself
        ("conv1.weight", "backbone.model.conv1.weight"),  # timm's ResNet
        ("conv1.weight", "backbone.bottom_up.model.conv1.weight"),  # inside an FPN
    ],
)
def test_place_of_a_resnet(original: str, in_model: str) -> None:
    converted, _ = to_d2seg(TORCHVISION)
    placed = place_backbone(converted, TORCHVISION, {in_model, "head.weight"})
    assert placed[in_model] is TORCHVISION[original]


@pytest.mark.parametrize(
    ("original", "in_model"),
    [
        ("stages.0.blocks.1.norm.weight", "backbone.model.stages_0.blocks.1.norm.weight"),
        ("stages.0.blocks.1.norm.weight", "backbone.model.stages.0.blocks.1.norm.weight"),
        ("stages.0.blocks.1.norm.weight", "backbone.bottom_up.model.stages_0.blocks.1.norm.weight"),
        ("res2.0.conv1.weight", "backbone.res2.0.conv1.weight"),
        ("backbone.res2.0.conv1.weight", "backbone.bottom_up.res2.0.conv1.weight"),
        ("backbone.res2.0.conv1.weight", "backbone.res2.0.conv1.weight"),
    ],
)
def test_place_of_unrecognised_names(original: str, in_model: str) -> None:
    state = {original: torch.ones(1)}
    assert set(place_backbone(state, state, {in_model})) == {in_model}


@pytest.mark.parametrize("bottom_up", ["resnet10t", "convnext_atto"])
def test_place_of_timms_own_weights_inside_an_fpn(bottom_up: str) -> None:
    """Every tensor of the backbone is filled from the file of the whole classifier."""
    opts = ["MODEL.BACKBONE.NAME", "build_fpn_backbone", "MODEL.TIMM.NAME", bottom_up]
    cfg = load_config(None, [*opts, "MODEL.FPN.IN_FEATURES", ["res2", "res3", "res4", "res5"]])
    names = {f"backbone.{name}" for name in build_backbone(cfg).state_dict()}
    original = timm.create_model(bottom_up).state_dict()
    converted, _ = to_d2seg(original)
    placed = place_backbone(converted, original, names)
    wanted = {name for name in names if name.startswith("backbone.bottom_up.")}
    assert wanted
    assert wanted <= placed.keys()


def test_names_that_fit_nowhere_stay() -> None:
    state = {"a": torch.ones(1)}
    assert place_backbone(state, state, {"b"}) is state
