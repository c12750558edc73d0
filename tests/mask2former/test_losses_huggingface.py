"""Equality with transformers' matcher and losses of Mask2Former at the same points."""

import pytest
import torch
from torch import Tensor

from d2seg.mask2former.point_criterion import PointSetCriterion
from d2seg.mask_classification.query_masks import QueryMasks
from d2seg.mask_classification.targets import MaskTargets
from families.point_losses import NUM_CLASSES, point_criterion

theirs = pytest.importorskip("transformers.models.mask2former.modeling_mask2former")

NUM_POINTS, SIZE = 200, (48, 64)
THEIR_NAMES = {"loss_ce": "loss_cross_entropy", "loss_mask": "loss_mask", "loss_dice": "loss_dice"}


@pytest.fixture
def same_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every draw of so many points gives the same ones, in whatever order masks are treated."""
    draw = torch.rand

    def drawn(num: int, num_points: int, _: int, device: torch.device) -> Tensor:
        generator = torch.Generator().manual_seed(num_points)
        return draw(1, num_points, 2, generator=generator).expand(num, -1, -1).contiguous()

    monkeypatch.setattr(torch, "rand", drawn)


def predictions(num_layers: int = 3, batch: int = 2, queries: int = 7) -> tuple[Tensor, QueryMasks]:
    torch.manual_seed(0)
    logits = torch.randn(num_layers, batch, queries, NUM_CLASSES + 1)
    embeddings = torch.randn(num_layers, batch, queries, 8, requires_grad=True)
    features = torch.randn(batch, 8, SIZE[0] // 4, SIZE[1] // 4, requires_grad=True)
    return logits, QueryMasks(embeddings, features)


def targets() -> list[MaskTargets]:
    """Three blobs in the first image, five in the second."""
    torch.manual_seed(1)
    coarse = torch.nn.functional.interpolate(torch.randn(1, 8, 6, 8), SIZE, mode="bilinear")[0]
    labels = torch.tensor([0, 4, 2, 1, 1, 3, 0, 2])
    return [
        MaskTargets(labels[part], coarse[part] > 0.2, "a.png") for part in (slice(3), slice(3, 8))
    ]


def our_criterion() -> PointSetCriterion:
    return point_criterion(NUM_POINTS, dice_weight=5.0)


@pytest.mark.usefixtures("same_points")
def test_losses_and_gradients() -> None:
    """Of all layers; their terms come without the weights."""
    logits, masks = predictions()
    truth = targets()
    ours = our_criterion()(logits, masks, truth, SIZE)
    config = theirs.Mask2FormerConfig(num_labels=NUM_CLASSES, train_num_points=NUM_POINTS)
    their_criterion = theirs.Mask2FormerLoss(config, weight_dict={})
    outputs = [
        {"masks_queries_logits": layer_masks, "class_queries_logits": layer_logits}
        for layer_masks, layer_logits in zip(masks.all(), logits, strict=True)
    ]
    expected = their_criterion(
        **outputs[-1],
        mask_labels=[target.masks.float() for target in truth],
        class_labels=[target.labels for target in truth],
        auxiliary_predictions=outputs[:-1],
    )
    weights = {"loss_ce": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
    assert len(ours) == len(expected) == 9
    scaled = {}
    for name in ours:
        kind = "_".join(name.split("_")[:2])
        scaled[name] = weights[kind] * expected[name.replace(kind, THEIR_NAMES[kind])]
        torch.testing.assert_close(ours[name], scaled[name])
    leaves = (masks.embeddings, masks.features)
    our_gradients = torch.autograd.grad(sum(ours.values()), leaves)
    their_gradients = torch.autograd.grad(sum(scaled.values()), leaves)
    for our_gradient, their_gradient in zip(our_gradients, their_gradients, strict=True):
        torch.testing.assert_close(our_gradient, their_gradient, atol=1e-7, rtol=1e-5)


@pytest.mark.usefixtures("same_points")
def test_matches() -> None:
    logits, masks = predictions()
    truth = targets()
    their_matcher = theirs.Mask2FormerHungarianMatcher(2.0, 5.0, 5.0, NUM_POINTS)
    ours = our_criterion().matcher(logits, masks, truth, SIZE)
    for layer, dense in enumerate(masks.all()):
        expected = their_matcher(
            dense,
            logits[layer],
            [target.masks.float() for target in truth],
            [target.labels for target in truth],
        )
        for our_match, their_match in zip(ours[layer], expected, strict=True):
            assert all(map(torch.equal, our_match, their_match))
