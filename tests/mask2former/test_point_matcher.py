import itertools
import logging

import pytest
import torch
from torch.nn import functional as F

from d2seg.layers.point_sample import point_sample, regular_grid_coords
from d2seg.mask2former.point_matcher import content_extent
from d2seg.mask_classification.losses import dice_loss, sigmoid_ce_loss
from d2seg.mask_classification.matcher import HungarianMatcher
from d2seg.mask_classification.query_masks import QueryMasks
from d2seg.mask_classification.targets import MaskTargets
from families.dense_masks import query_masks
from families.point_losses import WEIGHTS, point_matcher, random_predictions, random_targets


@pytest.fixture
def pixel_centres(monkeypatch: pytest.MonkeyPatch) -> None:
    """The points that are drawn are the centres of an 8 x 8 image."""
    grid = regular_grid_coords(1, 8, "cpu")
    monkeypatch.setattr(torch, "rand", lambda *size, device: grid)


@pytest.mark.usefixtures("pixel_centres")
def test_points_on_every_pixel_give_the_dense_cost() -> None:
    torch.manual_seed(0)
    targets = MaskTargets(torch.arange(3), torch.randn(3, 8, 8) > 0.5, "a.png")
    logits, masks = random_predictions(2, 1, 4, grid=8)
    dense = HungarianMatcher(**WEIGHTS, mask_loss="bce")._cost(
        logits[:, 0], masks, 0, targets, (8, 8)
    )
    points = point_matcher()._cost(logits[:, 0], masks, 0, targets, (8, 8))
    torch.testing.assert_close(points, dense)


def test_cost_equals_a_plain_one_at_the_same_points() -> None:
    """Of a 20 x 24 image in a 32 x 32 batch, predicted at stride 4."""
    torch.manual_seed(0)
    targets = random_targets(3, 20, 24)
    logits, masks = random_predictions(2, 1, 4, grid=8)
    torch.manual_seed(1)
    cost = point_matcher()._cost(logits[:, 0], masks, 0, targets, (32, 32))
    torch.manual_seed(1)
    coords = torch.rand(1, 64, 2) * torch.tensor([24 / 32, 20 / 32])
    padded = F.pad(targets.masks.float(), (0, 8, 0, 12))
    truth = point_sample(padded[None], coords)[0]
    dense = masks.all()[:, 0]
    for layer, query, target in itertools.product(range(2), range(4), range(3)):
        at_points = point_sample(dense[layer, query][None, None], coords)[0]
        expected = (
            5 * sigmoid_ce_loss(at_points, truth[target : target + 1])
            + 4 * dice_loss(at_points, truth[target : target + 1])
            - 2 * logits[layer, 0, query].softmax(-1)[targets.labels[target]]
        )
        torch.testing.assert_close(cost[layer, query, target], expected[0])


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 24), (1, 32), (7, 1)])
def test_truth_and_prediction_are_sampled_at_the_same_place(height: int, width: int) -> None:
    """A prediction that equals the target in the padded image equals it at the points."""
    torch.manual_seed(0)
    targets = random_targets(3, height, width)
    masks = query_masks(F.pad(targets.masks.float(), (0, 32 - width, 0, 32 - height))[None, None])
    features, truth = point_matcher()._mask_samples(masks, 0, targets, (32, 32))
    assert truth.any()
    torch.testing.assert_close(masks.embeddings[0, 0] @ features, truth, atol=1e-5, rtol=0)


def test_no_point_lies_in_the_padding() -> None:
    """Stride 4: beyond the cell at the border, which bilinear values reach, nothing counts."""
    torch.manual_seed(0)
    targets = MaskTargets(torch.tensor([0]), torch.ones(1, 32, 48, dtype=torch.bool), "a.png")
    masks = torch.full((1, 1, 2, 16, 16), 9.0)
    masks[..., :9, :13] = 0.0
    features, _ = point_matcher(4096)._mask_samples(query_masks(masks), 0, targets, (64, 64))
    assert not features.any()
    extent = content_extent(targets, (64, 64))
    assert extent.tolist() == [0.75, 0.5]


def test_points_are_shared_by_all_masks_and_layers() -> None:
    torch.manual_seed(0)
    targets = random_targets(1, 32, 32)
    twice = MaskTargets(targets.labels.repeat(2), targets.masks.repeat(2, 1, 1), "a.png")
    logits, masks = random_predictions(1, 1, 1, grid=8)
    logits = logits.expand(2, 1, 3, 6)  # two equal layers of three equal queries
    masks = QueryMasks(masks.embeddings.expand(2, 1, 3, 8), masks.features)
    cost = point_matcher()._cost(logits[:, 0], masks, 0, twice, (32, 32))
    torch.testing.assert_close(cost, cost[:1, :1, :1].expand(2, 3, 2))


def test_every_image_and_step_has_points_of_its_own() -> None:
    torch.manual_seed(0)
    targets = random_targets(2, 32, 32)
    logits, masks = random_predictions(1, 1, 3, grid=8)
    costs = [point_matcher()._cost(logits[:, 0], masks, 0, targets, (32, 32)) for _ in range(2)]
    assert not torch.equal(*costs)


def test_finds_the_permutation() -> None:
    torch.manual_seed(0)
    masks = torch.zeros(4, 32, 32, dtype=torch.bool)
    for i in range(4):  # quadrants
        masks[i, 16 * (i // 2) :, 16 * (i % 2) :][:16, :16] = True
    targets = MaskTargets(torch.tensor([1, 3, 0, 2]), masks, "quadrants.png")
    order = [2, 0, 3, 1]
    predicted = query_masks(16.0 * masks[order, ::4, ::4][None, None] - 8)
    ((queries, indices),) = point_matcher()(
        torch.zeros(1, 1, 4, 6), predicted, [targets], (32, 32)
    )[0]
    assert queries.tolist() == [0, 1, 2, 3]
    assert indices.tolist() == order


def test_images_of_different_sizes_and_without_targets() -> None:
    torch.manual_seed(0)
    targets = [random_targets(2, 32, 20), random_targets(0, 9, 32), random_targets(5, 16, 16)]
    logits, masks = random_predictions(3, 3, 4, grid=8)
    matches = point_matcher()(logits, masks, targets, (32, 32))
    assert [[len(queries) for queries, _ in layer] for layer in matches] == [[2, 0, 4]] * 3


def test_non_finite_costs_are_avoided_and_named(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    targets = random_targets(2, 32, 32, "broken.png")
    logits, masks = random_predictions(1, 1, 3, grid=8)
    masks.embeddings[0, 0, 1] = float("nan")
    with caplog.at_level(logging.WARNING):
        ((queries, _),) = point_matcher()(logits, masks, [targets], (32, 32))[0]
    assert queries.tolist() == [0, 2]
    assert "2 of 6 matching costs are not finite, in broken.png" in caplog.text


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_predictions_have_costs_in_fp32(autocast: bool) -> None:
    torch.manual_seed(0)
    targets = random_targets(2, 32, 32)
    logits, masks = random_predictions(1, 1, 3, grid=8)
    half = QueryMasks(masks.embeddings.bfloat16(), masks.features.bfloat16())
    costs = []
    for predicted in (masks, half):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast and predicted is half):
            costs.append(point_matcher()._cost(logits[:, 0], predicted, 0, targets, (32, 32)))
    assert costs[1].dtype == torch.float32
    torch.testing.assert_close(costs[1], costs[0], rtol=0.005, atol=0.005)


def test_no_points_are_refused() -> None:
    with pytest.raises(ValueError, match="NUM_LOSS_POINTS is 0; it must be at least 1"):
        point_matcher(num_points=0)
