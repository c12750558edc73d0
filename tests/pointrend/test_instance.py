"""PointRend's instance heads against detectron2's own with the same weights."""

import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import nn

from families.point_rend_reference import (
    build_pair,
    example,
    our_config,
    reference_config,
)

HEADS = {
    "explicit": ("PointRendMaskHead", "PointRendInstanceHead"),
    "implicit": ("ImplicitPointRendMaskHead", "ImplicitPointRendInstanceHead"),
}


@pytest.fixture(scope="module", params=HEADS)
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module]:
    reference, ours = HEADS[request.param]
    return build_pair(reference_config(reference), our_config(ours))


def losses_of(model: nn.Module, batch: list[dict]) -> dict[str, torch.Tensor]:
    model.train()
    torch.manual_seed(1)
    with EventStorage():
        return model(batch)


def test_losses_and_gradients_are_the_reference_s(pair: tuple[nn.Module, nn.Module]) -> None:
    batch = [example(96, 128, [0, 3, 3]), example(80, 100, [4], seed=1)]
    theirs, ours = (losses_of(model, batch) for model in pair)
    theirs["loss_mask_parameters"] = theirs.pop("loss_l2", None)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=1e-5, rtol=1e-5)
        assert name.startswith("loss_rpn") or value > 0
    for model, losses in zip(pair, (theirs, ours), strict=True):
        model.zero_grad()
        sum(x for x in losses.values() if x is not None).backward()
    pooled = [model.backbone.fpn_output2.weight.grad for model in pair]
    torch.testing.assert_close(pooled[1], pooled[0], atol=1e-4, rtol=1e-3)


def test_masks_are_the_reference_s(pair: tuple[nn.Module, nn.Module]) -> None:
    batch = [example(96, 128, []), example(80, 100, [], seed=1)]
    with torch.no_grad():
        theirs, ours = (model.eval().inference(batch, do_postprocess=False) for model in pair)
    for expected, found in zip(theirs, ours, strict=True):
        assert len(found) == 12
        assert found.pred_masks.shape == (12, 1, 224, 224)
        assert torch.equal(found.pred_classes, expected.pred_classes)
        # of points that are equally uncertain to rounding, either side may choose others
        differ = (found.pred_masks - expected.pred_masks).abs() > 2e-5
        assert differ.float().mean() < 1e-4
        torch.testing.assert_close(found.pred_masks, expected.pred_masks, atol=2e-2, rtol=0)
        assert 0.05 < (expected.pred_masks > 0.5).float().mean() < 0.95
