"""Losses of per-pixel classification.

B batch, K classes, (H, W) the padded batch.
"""

import torch
from detectron2.utils import comm
from fvcore.nn.distributed import differentiable_all_reduce
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.resampling import resize


class PerPixelLoss(nn.Module):
    """Cross-entropy, with hard example mining and class weights if asked for, and dice."""

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        num_classes: int,
        ignore_value: int,
        ce_weight: float = 1.0,
        dice_weight: float = 0.0,
        class_weights: list[float] | None = None,
        ohem_threshold: float | None = None,
        ohem_min_kept: int = 100_000,
    ) -> None:
        """
        Args:
            ignore_value: label of pixels that do not count.
            ce_weight, dice_weight: of the terms; one of weight 0 is left out.
            class_weights: one per class; ``None``: all 1.
            ohem_threshold: the cross-entropy counts the pixels whose own class has a probability
                below, and of the whole batch at least ``ohem_min_kept`` times the images; ``None``:
                all pixels.

        Raises:
            ValueError: another number of class weights than classes; both terms have weight 0.
        """
        super().__init__()
        if class_weights and len(class_weights) != num_classes:
            raise ValueError(
                f"MODEL.PER_PIXEL.LOSS.CLASS_WEIGHTS has {len(class_weights)} numbers, "
                f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {num_classes}: give one for each class, or none"
            )
        if not (ce_weight or dice_weight):
            raise ValueError(
                "MODEL.PER_PIXEL.LOSS.CE_WEIGHT and DICE_WEIGHT are both 0: nothing would be learnt"
            )
        self.num_classes = num_classes
        self.ignore_value = ignore_value
        self.ce_weight = ce_weight
        self.dice_weight = dice_weight
        self.ohem_threshold = ohem_threshold
        self.ohem_min_kept = ohem_min_kept
        # integers in a config are weights, too
        weights = torch.tensor(class_weights, dtype=torch.float32) if class_weights else None
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """
        Args:
            logits: (B, K, h, w), resized to the labels here.
            labels: (B, H, W) int64, of 0..K-1 and the ignore value.

        Returns:
            The weighted terms, "ce" and "dice"; 0 where no pixel counts.
        """
        logits = resize(logits.float(), labels.shape[-2:])
        terms = {}
        if self.ce_weight:
            terms["ce"] = self.ce_weight * self._cross_entropy(logits, labels)
        if self.dice_weight:
            terms["dice"] = self.dice_weight * multiclass_dice_loss(
                logits, labels, self.ignore_value
            )
        return terms

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean over the pixels that count, of all processes. The official SETR and SegFormer divide
        by the number of all pixels, so that ignored ones make the others count less."""
        valid = labels != self.ignore_value
        if self.ohem_threshold is not None:
            valid &= self._is_hard(logits.detach(), labels, valid)
            labels = torch.where(valid, labels, self.ignore_value)
        total = F.cross_entropy(
            logits, labels, self.class_weights, ignore_index=self.ignore_value, reduction="sum"
        )
        if self.class_weights is None:
            weight = valid.sum().to(total)
        else:
            weight = self.class_weights[labels[valid]].sum()
        return mean_over_processes(total, weight)

    def _is_hard(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
        """(B, H, W) bool: the probability is below the threshold, or among the lowest."""
        own = logits.log_softmax(1).gather(1, labels.where(valid, 0)[:, None])[:, 0].exp()
        own = own.where(valid, torch.inf)
        num_kept = min(self.ohem_min_kept * len(labels), own.numel())
        if not num_kept:
            return own < self.ohem_threshold
        lowest = own.flatten().kthvalue(num_kept).values
        return (own < self.ohem_threshold) | (own <= lowest)


def mean_over_processes(total: Tensor, weight: Tensor) -> Tensor:
    """``total / weight``, scalars, with the mean of the processes' weights, so that the mean of
    their losses is that of all their pixels. 0 where both are 0: nothing counts."""
    if comm.get_world_size() > 1:
        weight = differentiable_all_reduce(weight) / comm.get_world_size()
    return total / torch.where(weight > 0, weight, 1.0)


def multiclass_dice_loss(
    logits: Tensor, labels: Tensor, ignore_value: int, smooth: float = 1e-5
) -> Tensor:
    """1 - Dice of the softmax probabilities, mean over the classes (Milletari et al. 2016, eq. 3:
    squares in the denominator; sums run over batch and pixels, as in TransUNet's training).

    Args:
        logits: (B, K, H, W). labels: (B, H, W) int64.
        smooth: added to both sides of the quotient, so that an absent class has Dice 1.
    """
    num_classes = logits.shape[1]
    valid = labels != ignore_value
    probs = logits.softmax(1) * valid[:, None]
    classes = torch.arange(num_classes, device=labels.device)[:, None, None]
    truth = (labels[:, None] == classes) & valid[:, None]
    overlap = (probs * truth).sum((0, 2, 3))
    squares = (probs * probs).sum((0, 2, 3)) + truth.sum((0, 2, 3))  # ones equal their squares
    return 1 - ((2 * overlap + smooth) / (squares + smooth)).mean()
