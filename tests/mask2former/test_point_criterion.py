import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from d2seg.layers.point_sample import point_sample, regular_grid_coords
from d2seg.mask2former import point_criterion as module
from d2seg.mask_classification import criterion as set_criterion
from d2seg.mask_classification.criterion import SetCriterion
from d2seg.mask_classification.losses import dice_loss, sigmoid_ce_loss
from d2seg.mask_classification.query_masks import QueryMasks
from d2seg.mask_classification.targets import MaskTargets
from families import point_losses
from families.dense_masks import query_masks
from families.point_losses import NUM_CLASSES, point_criterion, random_targets

unweighted = partial(point_criterion, class_weight=1.0, mask_weight=1.0, dice_weight=1.0)
random_predictions = partial(point_losses.random_predictions, requires_grad=True)


def test_logits_of_zero_by_hand() -> None:
    """Whatever the points are, the probability is one half there. Two masks, none of them seen."""
    empty = MaskTargets(torch.tensor([1, 2]), torch.zeros(2, 32, 32, dtype=torch.bool), "a.png")
    masks = query_masks(torch.zeros(1, 1, 3, 8, 8))
    losses = unweighted(64)(torch.zeros(1, 1, 3, NUM_CLASSES + 1), masks, [empty], (32, 32))
    assert losses["loss_mask"].item() == pytest.approx(math.log(2))
    assert losses["loss_dice"].item() == pytest.approx(1 - 1 / (64 * 0.5 + 1))
    assert losses["loss_ce"].item() == pytest.approx(math.log(NUM_CLASSES + 1))


def test_weights_multiply_the_terms() -> None:
    torch.manual_seed(0)
    targets = [random_targets(1, 32, 32)]
    logits, masks = random_predictions(1, 1, 1, grid=8)
    results = []
    for make in (unweighted, point_criterion):
        torch.manual_seed(1)
        results.append(make()(logits, masks, targets, (32, 32)))
    for name, factor in (("loss_ce", 2.0), ("loss_mask", 5.0), ("loss_dice", 4.0)):
        torch.testing.assert_close(results[1][name], factor * results[0][name])


def test_points_on_every_pixel_give_the_dense_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks at the image's resolution; values and gradients."""
    torch.manual_seed(0)
    targets = [random_targets(3, 8, 8), random_targets(2, 8, 8)]
    logits, masks = random_predictions(3, 2, 4, grid=8)
    monkeypatch.setattr(torch, "rand", lambda *size, device: regular_grid_coords(1, 8, "cpu"))
    monkeypatch.setattr(
        module,
        "uncertain_point_coords",
        lambda maps, *settings: regular_grid_coords(len(maps), 8, "cpu"),
    )
    points = point_criterion()
    dense = SetCriterion(num_classes=NUM_CLASSES, matcher=points.matcher, no_object_weight=0.1)
    leaves = [logits, masks.embeddings, masks.features]
    actual, expected = (c(logits, masks, targets, (8, 8)) for c in (points, dense))
    assert set(actual) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value)
    for ours, theirs in zip(
        torch.autograd.grad(sum(actual.values()), leaves),
        torch.autograd.grad(sum(expected.values()), leaves),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("num_queries", [6, 2])
def test_losses_equal_plain_ones_at_the_same_points(
    num_queries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two images of different sizes; with 2 queries there are more targets than queries."""
    torch.manual_seed(0)
    targets = [random_targets(3, 20, 24), random_targets(4, 32, 9)]
    logits, masks = random_predictions(3, 2, num_queries, grid=8)
    drawn = []
    choose = module.uncertain_point_coords

    def record(*args) -> Tensor:
        drawn.append(choose(*args))
        return drawn[-1]

    monkeypatch.setattr(module, "uncertain_point_coords", record)
    points = unweighted()
    matches = points.matcher(logits, masks, targets, (32, 32))
    mask, dice = points._mask_losses(masks, targets, matches, (32, 32))
    coords = iter(torch.cat(drawn))
    expected = torch.zeros(2, 3)
    for image, target in enumerate(targets):
        height, width = target.masks.shape[-2:]
        padded = F.pad(target.masks.float(), (0, 32 - width, 0, 32 - height))
        dense = masks.all()[:, image]
        for layer in range(3):
            for query, index in zip(*matches[layer][image], strict=True):
                where = next(coords)[None]
                assert (where <= torch.tensor([width / 32, height / 32])).all()
                at_points = point_sample(dense[layer, query][None, None], where)[0]
                truth = point_sample(padded[index][None, None], where)[0]
                expected[0, layer] += sigmoid_ce_loss(at_points, truth)[0]
                expected[1, layer] += dice_loss(at_points, truth)[0]
    assert next(coords, None) is None
    torch.testing.assert_close(mask, expected[0])
    torch.testing.assert_close(dice, expected[1])


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 24), (1, 32), (7, 1)])
def test_truth_and_prediction_are_sampled_at_the_same_place(height: int, width: int) -> None:
    """A prediction that equals its target in the padded image equals it at the points."""
    torch.manual_seed(0)
    targets = random_targets(3, height, width)
    indices = torch.tensor([[2, 0, 1], [1, 0, 2]])
    maps = F.pad(targets.masks[indices].float(), (0, 32 - width, 0, 32 - height))
    logits, truth = point_criterion()._mask_samples(maps, targets, indices, (32, 32))
    assert logits.shape == truth.shape == (6, 64)
    assert truth.any()
    torch.testing.assert_close(logits, truth, atol=1e-5, rtol=0)


def test_padding_has_neither_loss_nor_gradient() -> None:
    """A 32 x 48 image in a 64 x 64 batch at stride 4. Beyond the cell at the border, which bilinear
    values reach, nothing counts."""
    torch.manual_seed(0)
    dense = torch.full((2, 1, 3, 16, 16), 9.0)
    dense[..., :9, :13] = 0.0
    masks = query_masks(dense)
    features = masks.features.requires_grad_()
    targets = [random_targets(3, 32, 48)]
    losses = unweighted(1024)(torch.zeros(2, 1, 3, NUM_CLASSES + 1), masks, targets, (64, 64))
    assert losses["loss_mask"].item() == pytest.approx(math.log(2))
    assert losses["loss_mask_0"].item() == pytest.approx(math.log(2))
    sum(losses.values()).backward()
    assert features.grad[..., :8, :12].all()
    assert not features.grad[..., 9:, :].any()
    assert not features.grad[..., 13:].any()


def test_padding_does_not_change_the_distribution() -> None:
    """The same image with and without padding: means over many draws agree."""
    torch.manual_seed(0)
    targets = [random_targets(3, 32, 32)]
    logits, masks = random_predictions(1, 1, 3, grid=8)
    # a frame of zeros, because outside of the map there are zeros as well
    features = F.pad(masks.features.detach(), (0, 4, 0, 8))
    padded = QueryMasks(masks.embeddings, features)
    points = point_criterion(256)
    draws = {
        size: torch.tensor(
            [points(logits, predicted, targets, size)["loss_mask"].item() for _ in range(100)]
        )
        for size, predicted in (((32, 32), masks), ((64, 48), padded))
    }
    alone, within = draws.values()
    error = (alone.var() / 100 + within.var() / 100).sqrt()
    assert abs(alone.mean() - within.mean()) < 4 * error
    assert error < 0.01 * alone.mean()


def test_only_matched_masks_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args) -> Tensor:
        raise AssertionError("masks of all queries were made")

    monkeypatch.setattr(QueryMasks, "all", refuse)
    logits, masks = random_predictions(2, 2, 5, grid=8)
    losses = point_criterion()(logits, masks, [random_targets(2, 32, 32)] * 2, (32, 32))
    assert torch.isfinite(torch.stack(list(losses.values()))).all()


def test_every_layer_has_its_losses() -> None:
    logits, masks = random_predictions(3, 1, 4, grid=8)
    losses = point_criterion()(logits, masks, [random_targets(2, 32, 32)], (32, 32))
    assert set(losses) == {
        f"loss_{kind}{suffix}" for kind in ("ce", "mask", "dice") for suffix in ("", "_0", "_1")
    }


def test_batch_without_any_target_trains() -> None:
    logits, masks = random_predictions(2, 2, 3, grid=8)
    losses = point_criterion()(logits, masks, [random_targets(0, 32, 32)] * 2, (32, 32))
    sum(losses.values()).backward()
    assert losses["loss_mask"] == losses["loss_dice"] == 0
    assert logits.grad.any()
    for tensor in (masks.embeddings, masks.features):  # distributed training needs gradients
        assert tensor.grad is not None
        assert not tensor.grad.any()


def test_single_pixel_instance_of_a_single_pixel_image() -> None:
    target = MaskTargets(torch.tensor([0]), torch.ones(1, 1, 1, dtype=torch.bool), "dot.png")
    logits, masks = random_predictions(1, 1, 3, grid=8)
    sum(point_criterion()(logits, masks, [target], (32, 32)).values()).backward()
    assert torch.isfinite(masks.features.grad).all()
    assert masks.features.grad[..., 0, 0].any()


def test_half_precision_predictions_have_losses_in_fp32() -> None:
    torch.manual_seed(0)
    targets = [random_targets(2, 32, 32)]
    logits, masks = random_predictions(1, 1, 2, grid=8)
    half = QueryMasks(masks.embeddings.bfloat16(), masks.features.bfloat16())
    losses = point_criterion()(logits, half, targets, (32, 32))
    assert {value.dtype for value in losses.values()} == {torch.float32}
    with torch.autocast("cpu", torch.bfloat16):
        losses = point_criterion()(logits, masks, targets, (32, 32))
    assert {value.dtype for value in losses.values()} == {torch.float32}


def test_number_of_masks_is_averaged_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one of two processes has 5 masks: 3 and 5 make 4 for each."""
    others = torch.tensor([5.0, 1.0])  # number of masks, summed class weights of the only layer
    monkeypatch.setattr(set_criterion, "differentiable_all_reduce", lambda own: own + others)
    monkeypatch.setattr(set_criterion.comm, "get_world_size", lambda: 2)
    masks = query_masks(torch.zeros(1, 1, 3, 8, 8))
    logits = torch.zeros(1, 1, 3, NUM_CLASSES + 1)
    losses = unweighted()(logits, masks, [random_targets(3, 32, 32)], (32, 32))
    assert losses["loss_mask"].item() == pytest.approx(math.log(2) * 3 / 4)


def test_impossible_ratios_are_refused_at_construction() -> None:
    with pytest.raises(ValueError, match=r"at least 1 .* got 0.5 and 0.75"):
        point_criterion(oversample_ratio=0.5)
