"""Losses by hand, and the pairwise forms against the elementwise ones."""

import math

import pytest
import torch
from torch import Tensor

from d2seg.mask_classification import losses

PAIRS = [
    (losses.sigmoid_focal_loss, losses.pairwise_sigmoid_focal_loss),
    (losses.sigmoid_ce_loss, losses.pairwise_sigmoid_ce_loss),
    (losses.dice_loss, losses.pairwise_dice_loss),
]


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


@pytest.fixture
def one_pair() -> tuple[Tensor, Tensor]:
    """Two pixels with probabilities 0.8 and 0.4, the first one inside the target."""
    return torch.tensor([[logit(0.8), logit(0.4)]]), torch.tensor([[1.0, 0.0]])


def test_focal_by_hand(one_pair: tuple[Tensor, Tensor]) -> None:
    inside = 0.25 * 0.2**2 * -math.log(0.8)
    outside = 0.75 * 0.4**2 * -math.log(0.6)
    assert losses.sigmoid_focal_loss(*one_pair).item() == pytest.approx((inside + outside) / 2)


def test_ce_by_hand(one_pair: tuple[Tensor, Tensor]) -> None:
    expected = -(math.log(0.8) + math.log(0.6)) / 2
    assert losses.sigmoid_ce_loss(*one_pair).item() == pytest.approx(expected)


def test_dice_by_hand(one_pair: tuple[Tensor, Tensor]) -> None:
    expected = 1 - (2 * 0.8 + 1) / (0.8 + 0.4 + 1 + 1)
    assert losses.dice_loss(*one_pair).item() == pytest.approx(expected)


@pytest.mark.parametrize(("elementwise", "pairwise"), PAIRS)
def test_pairwise_equals_elementwise(elementwise, pairwise) -> None:
    torch.manual_seed(0)
    logits, targets = 3 * torch.randn(4, 50), (torch.rand(3, 50) > 0.6).float()
    expected = torch.stack([elementwise(logits, target.expand(4, -1)) for target in targets], dim=1)
    torch.testing.assert_close(pairwise(logits, targets), expected)


@pytest.mark.parametrize(("elementwise", "pairwise"), PAIRS)
def test_finite_at_extreme_logits(elementwise, pairwise) -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    targets = torch.tensor([[0.0, 1.0]])
    assert torch.isfinite(pairwise(logits.detach(), targets)).all()
    elementwise(logits, targets).sum().backward()
    assert torch.isfinite(logits.grad).all()
