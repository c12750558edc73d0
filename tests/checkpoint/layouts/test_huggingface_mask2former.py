"""transformers' layout of Mask2Former: every name consumed, every tensor given, round trips."""

from collections.abc import Callable
from pathlib import Path

import pytest
from detectron2.modeling import build_model
from torch import nn

from d2seg.checkpoint.conversion import to_flavour
from d2seg.checkpoint.layouts import find_layout
from d2seg.checkpoint.layouts.huggingface_mask2former import LAYOUT
from families.mask2former_config import small_config

transformers = pytest.importorskip("transformers")

from families.huggingface_layouts import (  # noqa: E402
    BACKBONES,
    COMPUTED,
    assert_round_trip,
    backbone_config,
    states,
)


@pytest.fixture(scope="module", params=BACKBONES)
def their_model(request: pytest.FixtureRequest, randomised: Callable) -> nn.Module:
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone_config(request.param),
        feature_size=64,
        mask_feature_size=32,
        hidden_dim=32,
        num_attention_heads=4,
        encoder_layers=2,
        encoder_feedforward_dim=64,
        dim_feedforward=64,
        decoder_layers=5,
        num_queries=7,
        num_labels=5,
    )
    model = randomised(transformers.Mask2FormerForUniversalSegmentation(config))
    model.kind = request.param
    return model


def our_model(repo_dir: Path, kind: str, **changes: object) -> nn.Module:
    cfg = small_config(
        repo_dir, "coco_panoptic_swin_tiny" if kind == "swin" else "coco_panoptic_resnet50"
    )
    cfg.MODEL.SWIN.EMBED_DIM = 12
    cfg.MODEL.SWIN.DEPTHS = [2, 1, 1, 1]
    if kind == "timm":
        cfg.MODEL.BACKBONE.NAME = "build_timm_backbone"
        cfg.MODEL.TIMM.NAME = "convnext_atto"
    cfg.MODEL.MASK2FORMER.update(changes)
    return build_model(cfg)


def test_every_name_is_consumed_and_every_tensor_given(
    their_model: nn.Module, repo_dir: Path, tmp_path: Path
) -> None:
    expected = our_model(repo_dir, their_model.kind).state_dict()
    expected = {n: tensor for n, tensor in expected.items() if not n.endswith(COMPUTED)}
    for state in states(their_model, tmp_path):
        assert find_layout(state.keys()) is LAYOUT
        ours = LAYOUT.convert(state)
        assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in expected.items()}


# timm's ResNet would come back as transformers' own
@pytest.mark.parametrize("their_model", ["swin", "resnet", "timm"], indirect=True)
def test_round_trip_from_their_side(their_model: nn.Module, tmp_path: Path) -> None:
    assert_round_trip(their_model, LAYOUT, tmp_path)


@pytest.mark.parametrize("kind", ["swin", "resnet"])
def test_round_trip_from_our_side(
    repo_dir: Path, randomised: Callable, round_trip: Callable, kind: str
) -> None:
    round_trip(randomised(our_model(repo_dir, kind)).state_dict(), "huggingface", LAYOUT)


@pytest.mark.parametrize(
    "changes", [{"PIXEL_DECODER": "fpn"}, {"ENCODER_IN_FEATURES": ["res4", "res5"]}]
)
def test_what_it_cannot_hold_is_refused(repo_dir: Path, changes: dict[str, object]) -> None:
    state = our_model(repo_dir, "resnet", **changes).state_dict()
    with pytest.raises(ValueError, match="no 'huggingface' layout holds this model"):
        to_flavour(state, "huggingface")
