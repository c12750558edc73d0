"""Semantic PointRend against detectron2's own with the same weights."""

import pytest
import torch
from detectron2.projects.point_rend import semantic_seg as reference_module
from torch import nn

from families.point_rend_reference import (
    build_pair,
    our_semantic_config,
    reference_semantic_config,
    semantic_example,
)

HEADS = ("SemSegFPNHead", "DeepLabV3PlusHead")


@pytest.fixture(scope="module", params=HEADS)
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module]:
    return build_pair(reference_semantic_config(request.param), our_semantic_config(request.param))


@pytest.fixture
def pair_with_two_features(monkeypatch: pytest.MonkeyPatch) -> tuple[nn.Module, nn.Module]:
    """detectron2 joins several features along the batch at inference; here along the channels."""
    monkeypatch.setattr(reference_module, "cat", lambda tensors, dim=1: torch.cat(tensors, dim))
    configs = reference_semantic_config(HEADS[0]), our_semantic_config(HEADS[0])
    for cfg in configs:
        cfg.MODEL.POINT_HEAD.IN_FEATURES = ["p2", "p3"]
        cfg.MODEL.POINT_HEAD.COARSE_PRED_EACH_LAYER = True
    return build_pair(*configs)


def check_losses(pair: tuple[nn.Module, nn.Module]) -> None:
    batch = [semantic_example(64, 96), semantic_example(64, 64, seed=1)]
    losses = []
    for model in pair:
        torch.manual_seed(1)
        losses.append(model.train()(batch))
    theirs, ours = losses
    assert ours.keys() == {"loss_sem_seg", "loss_sem_seg_point"}
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=1e-5, rtol=1e-5)


def check_scores(pair: tuple[nn.Module, nn.Module]) -> None:
    image = semantic_example(64, 96) | {"height": 50, "width": 120}
    with torch.no_grad():
        [theirs], [ours] = (model.eval()([image]) for model in pair)
    theirs, ours = theirs["sem_seg"], ours["sem_seg"]
    assert theirs.max(0)[1].unique().numel() > 1
    torch.testing.assert_close(ours, theirs, atol=1e-5 * theirs.abs().max().item(), rtol=0)


def test_losses_are_the_reference_s(pair: tuple[nn.Module, nn.Module]) -> None:
    check_losses(pair)


def test_scores_are_the_reference_s(pair: tuple[nn.Module, nn.Module]) -> None:
    check_scores(pair)


def test_two_features_are_joined_along_channels(
    pair_with_two_features: tuple[nn.Module, nn.Module],
) -> None:
    check_losses(pair_with_two_features)
    check_scores(pair_with_two_features)
