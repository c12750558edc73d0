import itertools
import logging

import pytest
import torch
from torch.nn import functional as F

from d2seg.layers.chunking import budget
from d2seg.mask_classification import matcher as matcher_module
from d2seg.mask_classification.matcher import HungarianMatcher, downsample_to
from d2seg.mask_classification.targets import MaskTargets
from families.dense_masks import query_masks


def matcher(**weights: float) -> HungarianMatcher:
    defaults = {"class_weight": 1.0, "mask_weight": 20.0, "dice_weight": 1.0}
    return HungarianMatcher(**(defaults | weights), mask_loss="focal")


def quadrant_targets(labels: list[int]) -> MaskTargets:
    """Target i fills quadrant i of an 8 x 8 image."""
    masks = torch.zeros(len(labels), 8, 8, dtype=torch.bool)
    for i in range(len(labels)):
        row, column = 4 * (i // 2), 4 * (i % 2)
        masks[i, row : row + 4, column : column + 4] = True
    return MaskTargets(torch.tensor(labels, dtype=torch.int64), masks, "quadrants.png")


def predictions_of(targets: MaskTargets, order: list[int], num_classes: int = 5):
    """Near-perfect predictions (1, 1, Q, ...) of the targets in the given query order."""
    logits = torch.full((1, 1, len(order), num_classes + 1), -5.0)
    masks = torch.full((1, 1, len(order), 4, 4), -8.0)
    for query, target in enumerate(order):
        logits[0, 0, query, targets.labels[target]] = 5.0
        masks[0, 0, query][targets.masks[target, ::2, ::2]] = 8.0
    return logits, masks


def test_finds_the_permutation() -> None:
    targets = quadrant_targets([1, 3, 0, 2])
    order = [2, 0, 3, 1]
    logits, masks = predictions_of(targets, order)
    ((queries, indices),) = matcher()(logits, query_masks(masks), [targets], (8, 8))[0]
    assert queries.tolist() == [0, 1, 2, 3]
    assert indices.tolist() == order


def test_least_cost_over_all_permutations() -> None:
    torch.manual_seed(0)
    targets = quadrant_targets([1, 3, 0])
    logits, masks = torch.randn(2, 1, 4, 6), torch.randn(2, 1, 4, 4, 4)
    match = matcher()
    cost = match._cost(logits[:, 0], query_masks(masks), 0, targets, (8, 8))
    for layer, ((queries, indices),) in enumerate(
        match(logits, query_masks(masks), [targets], (8, 8))
    ):
        found = cost[layer, queries, indices].sum()
        best = min(
            sum(cost[layer, query, target] for target, query in enumerate(choice))
            for choice in itertools.permutations(range(4), 3)
        )
        torch.testing.assert_close(found, best)


@pytest.mark.parametrize("num_logits", [0, 2 * 4 * 16])
def test_layers_in_groups(monkeypatch: pytest.MonkeyPatch, num_logits: int) -> None:
    """One layer and two layers at a time against all five together."""
    torch.manual_seed(0)
    targets, logits, masks = (
        quadrant_targets([1, 3, 0]),
        torch.randn(5, 4, 6),
        torch.randn(5, 4, 4, 4),
    )
    arguments = (logits, query_masks(masks[:, None]), 0, targets, (8, 8))
    expected, products = matcher()._cost(*arguments), []

    class Counting(HungarianMatcher):
        def _mask_cost(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
            products.append(len(logits))
            return super()._mask_cost(logits, truth)

    monkeypatch.setattr(matcher_module, "_LOGITS_AT_ONCE", budget(num_logits))
    grouped = Counting(class_weight=1.0, mask_weight=20.0, dice_weight=1.0, mask_loss="focal")
    torch.testing.assert_close(grouped._cost(*arguments), expected)
    assert products == ([8, 8, 4] if num_logits else [4] * 5)


def test_layers_and_images_are_independent() -> None:
    """One pass over everything equals a pass per layer and image."""
    torch.manual_seed(1)
    targets = [quadrant_targets([1, 2]), quadrant_targets([]), quadrant_targets([0, 4, 3])]
    logits, masks = torch.randn(2, 3, 5, 6), torch.randn(2, 3, 5, 4, 4)
    together = matcher()(logits, query_masks(masks), targets, (8, 8))
    for layer, image in itertools.product(range(2), range(3)):
        alone = matcher()(
            logits[layer : layer + 1, image : image + 1],
            query_masks(masks[layer : layer + 1, image : image + 1]),
            [targets[image]],
            (8, 8),
        )[0][0]
        for ours, theirs in zip(together[layer][image], alone, strict=True):
            assert torch.equal(ours, theirs)


def test_padding_does_not_count() -> None:
    """Whatever is predicted in the padding, the cost is that of the content."""
    torch.manual_seed(2)
    targets = quadrant_targets([1, 3, 0])
    logits, masks = torch.randn(1, 1, 4, 6), torch.randn(1, 1, 4, 8, 12)
    cost = matcher()._cost(logits[:, 0], query_masks(masks), 0, targets, (16, 24))
    masks[..., 4:, :] = 50.0
    masks[..., 4:] = -50.0
    assert torch.equal(
        cost, matcher()._cost(logits[:, 0], query_masks(masks), 0, targets, (16, 24))
    )


def test_more_targets_than_queries_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    targets = quadrant_targets([0, 1, 2, 3])
    logits, masks = predictions_of(targets, [3, 1])
    match = matcher()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            ((queries, indices),) = match(logits, query_masks(masks), [targets], (8, 8))[0]
    assert indices[queries.argsort()].tolist() == [3, 1]
    assert [r.getMessage() for r in caplog.records] == [
        "quadrants.png has 4 ground-truth masks but the model 2 queries; the worst matches go "
        "without a query. Raise MODEL.MASK_CLASSIFICATION.NUM_QUERIES. (Said once.)"
    ]


def test_non_finite_costs_are_avoided_and_named(caplog: pytest.LogCaptureFixture) -> None:
    targets = quadrant_targets([1, 3])
    logits, masks = predictions_of(targets, [0, 1, 0])
    logits[0, 0, 0] = float("nan")
    with caplog.at_level(logging.WARNING):
        ((queries, indices),) = matcher()(logits, query_masks(masks), [targets], (8, 8))[0]
    assert dict(zip(queries.tolist(), indices.tolist(), strict=True)) == {1: 1, 2: 0}
    assert "2 of 6 matching costs are not finite, in quadrants.png" in caplog.text


def test_all_costs_non_finite_still_matches() -> None:
    targets = quadrant_targets([1, 3])
    logits, masks = predictions_of(targets, [0, 1, 0])
    ((queries, _),) = matcher()(logits * float("nan"), query_masks(masks), [targets], (8, 8))[0]
    assert len(queries) == 2


@pytest.mark.parametrize("padded", [(32, 48), (30, 45)])
def test_downsampling_equals_nearest_of_the_padded_masks(padded: tuple[int, int]) -> None:
    torch.manual_seed(0)
    height, width = 21, 33
    masks = torch.rand(3, height, width) > 0.5
    size = tuple(-(-side // 4) for side in padded)
    full = torch.zeros(3, *padded)
    full[:, :height, :width] = masks.float()
    expected = F.interpolate(full[None], size=size, mode="nearest")[0].bool()
    actual = downsample_to(masks, size, padded)
    rows, columns = actual.shape[-2:]
    assert torch.equal(actual, expected[:, :rows, :columns])
    assert not expected[:, rows:].any()
    assert not expected[..., columns:].any()


def test_unknown_mask_loss_is_named() -> None:
    with pytest.raises(ValueError, match=r"'l1' is no mask loss; choose from \['focal', 'bce'\]"):
        HungarianMatcher(class_weight=1, mask_weight=1, dice_weight=1, mask_loss="l1")
