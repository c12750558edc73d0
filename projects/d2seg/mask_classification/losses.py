"""Mask losses and their pairwise forms for matching.

N pairs of prediction and target, P pixels (or points), Q predictions, T targets. Predictions are
logits; targets are 0 or 1.
"""

from torch import Tensor
from torch.nn import functional as F

FOCAL_ALPHA = 0.25  # Lin et al. 2017 (focal loss), table 1b
FOCAL_GAMMA = 2.0


def sigmoid_focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Focal loss (Lin et al. 2017, equation 5), averaged over pixels. (N, P), (N, P) -> (N,)."""
    ce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    # probability of the wrong answer; |p - t| for t in {0, 1}
    wrong = (logits.sigmoid() - targets).abs()
    alpha = FOCAL_ALPHA * targets + (1 - FOCAL_ALPHA) * (1 - targets)
    return (alpha * wrong**FOCAL_GAMMA * ce).mean(1)


def sigmoid_ce_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy, averaged over pixels. (N, P), (N, P) -> (N,)."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Dice loss with 1 added above and below (Milletari et al. 2016). (N, P), (N, P) -> (N,)."""
    probs = logits.sigmoid()
    overlap = 2 * (probs * targets).sum(1)
    return 1 - (overlap + 1) / (probs.sum(1) + targets.sum(1) + 1)


def pairwise_sigmoid_focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Focal loss of every prediction against every target. (Q, P), (T, P) -> (Q, T)."""
    probs = logits.sigmoid()
    if_one = FOCAL_ALPHA * (1 - probs) ** FOCAL_GAMMA * F.softplus(-logits)
    if_zero = (1 - FOCAL_ALPHA) * probs**FOCAL_GAMMA * F.softplus(logits)
    return _pairwise_mean(if_one, if_zero, targets)


def pairwise_sigmoid_ce_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of every prediction against every target. (Q, P), (T, P) -> (Q, T)."""
    # softplus(x) where the target is 0 and softplus(-x) = softplus(x) - x where it is 1
    return (F.softplus(logits).sum(1)[:, None] - logits @ targets.T) / targets.shape[1]


def pairwise_dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Dice loss of every prediction against every target. (Q, P), (T, P) -> (Q, T)."""
    probs = logits.sigmoid()
    overlap = 2 * (probs @ targets.T)
    return 1 - (overlap + 1) / (probs.sum(1)[:, None] + targets.sum(1)[None] + 1)


def _pairwise_mean(if_one: Tensor, if_zero: Tensor, targets: Tensor) -> Tensor:
    """Mean over pixels of the loss that a pixel has under its target. One matrix product."""
    total = (if_one - if_zero) @ targets.T + if_zero.sum(1)[:, None]
    return total / targets.shape[1]


MASK_LOSSES = {"focal": sigmoid_focal_loss, "bce": sigmoid_ce_loss}
PAIRWISE_MASK_LOSSES = {
    "focal": pairwise_sigmoid_focal_loss,
    "bce": pairwise_sigmoid_ce_loss,
}


def check_mask_loss(name: str) -> None:
    """
    Raises:
        ValueError: ``name`` is none of ``MASK_LOSSES``.
    """
    if name not in MASK_LOSSES:
        raise ValueError(f"'{name}' is no mask loss; choose from {list(MASK_LOSSES)}")
