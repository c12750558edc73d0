"""Losses of per-pixel classification: cases by hand."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from d2seg.per_pixel.losses import PerPixelLoss, multiclass_dice_loss

IGNORE = 255


def log_odds(*probabilities: float) -> Tensor:
    """Logits (1, 2, 1, P) under which class 1 has these probabilities."""
    odds = torch.tensor([math.log(p / (1 - p)) for p in probabilities])
    return torch.stack([torch.zeros_like(odds), odds])[None, :, None]


def labels(*values: int) -> Tensor:
    return torch.tensor(values)[None, None]


def ce(logits: Tensor, target: Tensor, **settings) -> float:
    loss = PerPixelLoss(num_classes=logits.shape[1], ignore_value=IGNORE, **settings)
    return loss(logits, target)["ce"].item()


def test_mean_over_valid_pixels() -> None:
    found = ce(log_odds(0.5, 0.9, 0.1), labels(1, 0, IGNORE))
    assert found == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2)


@pytest.mark.parametrize("weights", [[3.0, 1.0], [3, 1]])  # a config may say integers
def test_class_weights(weights: list[float]) -> None:
    found = ce(log_odds(0.5, 0.9, 0.1), labels(1, 0, IGNORE), class_weights=weights)
    assert found == pytest.approx(-(math.log(0.5) + 3 * math.log(0.1)) / 4)


def test_logits_are_resized_to_the_labels() -> None:
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    target = torch.randint(0, 3, (2, 17, 19), generator=torch.Generator().manual_seed(1))
    resized = F.interpolate(logits, (17, 19), mode="bilinear", align_corners=False)
    assert ce(logits, target) == pytest.approx(F.cross_entropy(resized, target).item())


@pytest.mark.parametrize(
    "settings",
    [{}, {"class_weights": [1.0, 2.0]}, {"ohem_threshold": 0.7}, {"ce_weight": 0.5}],
    ids=str,
)
def test_nothing_valid_gives_zero_with_gradients(settings: dict) -> None:
    logits = torch.randn(2, 2, 4, 4, requires_grad=True)
    loss = PerPixelLoss(num_classes=2, ignore_value=IGNORE, dice_weight=0.5, **settings)
    terms = loss(logits, torch.full((2, 4, 4), IGNORE))
    assert terms["ce"] == 0
    assert terms["dice"] == 0  # every class is absent and predicted nowhere
    sum(terms.values()).backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize(
    ("min_kept", "kept"),
    [
        (0, [0.2, 0.6]),  # those below the threshold
        (1, [0.2, 0.6]),
        (3, [0.2, 0.6, 0.75]),  # and as many of the others as are missing, the hardest first
        (100, [0.2, 0.6, 0.75, 0.9]),  # never ignored ones
    ],
)
def test_hard_examples(min_kept: int, kept: list[float]) -> None:
    logits, target = log_odds(0.9, 0.2, 0.01, 0.75, 0.6), labels(1, 1, IGNORE, 1, 1)
    found = ce(logits, target, ohem_threshold=0.7, ohem_min_kept=min_kept)
    assert found == pytest.approx(-sum(map(math.log, kept)) / len(kept))


def test_hard_examples_are_kept_per_image_of_the_batch() -> None:
    logits = log_odds(0.9, 0.8, 0.95, 0.85).view(1, 2, 2, 2).transpose(0, 2).contiguous()
    target = torch.ones(2, 1, 2, dtype=torch.int64)
    one_each = ce(logits.view(2, 2, 1, 2), target, ohem_threshold=0.5, ohem_min_kept=1)
    own = logits.view(2, 2, 1, 2).softmax(1)[:, 1].flatten().sort().values[:2]
    assert one_each == pytest.approx(-own.log().mean().item())


def test_hard_examples_weigh_the_gradient_and_the_rest_has_none() -> None:
    logits = log_odds(0.9, 0.2).requires_grad_()
    loss = PerPixelLoss(num_classes=2, ignore_value=IGNORE, ohem_threshold=0.7, ohem_min_kept=0)
    loss(logits, labels(1, 1))["ce"].backward()
    assert logits.grad[0, :, 0, 0].tolist() == [0, 0]
    assert logits.grad[0, :, 0, 1].tolist() == pytest.approx([0.8, -0.8])


def test_dice_by_hand() -> None:
    """Probabilities of class 1: 0.5, 0.9 with truth 1, 0; the third pixel is ignored."""
    found = multiclass_dice_loss(
        log_odds(0.5, 0.9, 0.1), labels(1, 0, IGNORE), IGNORE, smooth=0.0
    ).item()
    class_1 = 2 * 0.5 / (0.5**2 + 0.9**2 + 1)
    class_0 = 2 * 0.1 / (0.5**2 + 0.1**2 + 1)
    assert found == pytest.approx(1 - (class_0 + class_1) / 2)


def test_dice_of_a_perfect_prediction() -> None:
    target = torch.randint(0, 3, (2, 8, 8), generator=torch.Generator().manual_seed(0))
    logits = 100 * F.one_hot(target, 4).permute(0, 3, 1, 2).float()  # the fourth class is absent
    assert multiclass_dice_loss(logits, target, IGNORE).item() == pytest.approx(0, abs=1e-6)


def test_terms_of_weight_zero_are_left_out() -> None:
    logits, target = torch.randn(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64)
    weights = {"ce_weight": 0.0, "dice_weight": 2.0}
    terms = PerPixelLoss(num_classes=2, ignore_value=IGNORE, **weights)(logits, target)
    assert set(terms) == {"dice"}
    torch.testing.assert_close(terms["dice"], 2 * multiclass_dice_loss(logits, target, IGNORE))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"class_weights": [1.0]}, "CLASS_WEIGHTS has 1 numbers, .*NUM_CLASSES is 2"),
        ({"ce_weight": 0.0}, "CE_WEIGHT and DICE_WEIGHT are both 0"),
    ],
)
def test_mistakes_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PerPixelLoss(num_classes=2, ignore_value=IGNORE, **settings)
