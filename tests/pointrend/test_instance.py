"""PointRend's instance heads against detectron2's own with the same weights."""

import pytest
import torch
from detectron2.projects.point_rend import mask_head as reference_module
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from d2seg.layers import point_head as our_module
from d2seg.layers.point_sample import most_uncertain_cells
from families.point_rend_reference import (
    build_pair,
    example,
    our_config,
    reference_config,
)

TIE = 1e-5  # of uncertainties, which are logits without their sign
HEADS = {
    "explicit": ("PointRendMaskHead", "PointRendInstanceHead"),
    "implicit": ("ImplicitPointRendMaskHead", "ImplicitPointRendInstanceHead"),
}


@pytest.fixture(scope="module", params=HEADS)
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module]:
    reference, ours = HEADS[request.param]
    # with which masks are neither empty nor full
    return build_pair(reference_config(reference), our_config(ours), seed=3)


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


@pytest.fixture
def same_cells(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Lets ours predict those cells anew that the reference, which is to be run first, has chosen.

    Logits of both sides differ in their rounding, and so does the choice where two cells are
    equally uncertain but for that; the cell that one side leaves is then another number altogether.
    That what the reference chose are the most uncertain cells of ours is asserted each time.
    """
    choose = reference_module.get_uncertain_point_coords_on_grid
    chosen: list[Tensor] = []  # (R, P) indices into H * W, of all images, step by step
    num_calls = 0

    def record(uncertainty: Tensor, num_points: int) -> tuple[Tensor, Tensor]:
        indices, coords = choose(uncertainty, num_points)
        chosen.append(indices)
        return indices, coords

    def replay(uncertainty: Tensor, num_points: int) -> tuple[Tensor, Tensor]:
        """Ours are asked for image by image."""
        nonlocal num_calls
        image, step = divmod(num_calls, len(chosen))
        num_calls += 1
        indices = chosen[step].split(len(uncertainty))[image]
        assert indices.shape[1] == min(num_points, uncertainty[0].numel())
        scores = uncertainty.flatten(1)
        is_chosen = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, indices, True)
        least = scores.masked_fill(~is_chosen, torch.inf).amin(1)
        greatest_left = scores.masked_fill(is_chosen, -torch.inf).amax(1)
        assert (greatest_left - least).max() < TIE
        return most_uncertain_cells(is_chosen.view_as(uncertainty).float(), num_points)

    monkeypatch.setattr(reference_module, "get_uncertain_point_coords_on_grid", record)
    monkeypatch.setattr(our_module, "most_uncertain_cells", replay)
    return chosen


def test_masks_are_the_reference_s(
    pair: tuple[nn.Module, nn.Module], same_cells: list[Tensor]
) -> None:
    batch = [example(96, 128, []), example(80, 100, [], seed=1)]
    with torch.no_grad():
        theirs, ours = (model.eval().inference(batch, do_postprocess=False) for model in pair)
    assert len(same_cells) > 1
    for expected, found in zip(theirs, ours, strict=True):
        assert len(found) == 12
        assert found.pred_masks.shape == (12, 1, 224, 224)
        assert torch.equal(found.pred_classes, expected.pred_classes)
        torch.testing.assert_close(found.pred_masks, expected.pred_masks, atol=5e-6, rtol=0)
        assert 0.05 < (expected.pred_masks > 0.5).float().mean() < 0.95
