"""The loss of DS-TransUNet (Lin et al. 2022): cross-entropy and an IoU that is weighted per pixel,
after the structure loss of Wei et al. 2020 (F3Net, section 3.4).

B batch, K classes, (H, W) the padded batch.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..per_pixel.losses import mean_over_processes

BORDER_WINDOW = 31  # pixels: side of the neighbourhood whose mean is compared
BORDER_WEIGHT = 5.0


class StructureLoss(nn.Module):
    """Of two classes, the IoU is that of class 1, as published; of more, the mean over the classes
    that an image has of each one's against the rest.

    A class that an image lacks would add a constant: its IoU is near 0 as long as a few pixels are
    given to it, and the cross-entropy sees these.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        ignore_value: int,
        ce_weight: float = 1.0,
        iou_weight: float = 1.0,
    ) -> None:
        """
        Args:
            ignore_value: label of pixels that do not count.
            ce_weight, iou_weight: of the terms; one of weight 0 is left out.

        Raises:
            ValueError: fewer than two classes; both terms have weight 0.
        """
        super().__init__()
        if num_classes < 2:
            raise ValueError(
                f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {num_classes}; the background counts as a "
                "class of DSTransUNet: 2 for one kind of object"
            )
        if not (ce_weight or iou_weight):
            raise ValueError(
                "MODEL.PER_PIXEL.LOSS.CE_WEIGHT and MODEL.DS_TRANSUNET.LOSS.IOU_WEIGHT are both 0: "
                "nothing would be learnt"
            )
        self.num_classes = num_classes
        self.ignore_value = ignore_value
        self.ce_weight = ce_weight
        self.iou_weight = iou_weight

    def targets(self, labels: Tensor) -> Tensor:
        """(B, H, W) int64 labels -> (B, K, H, W) float, one-hot; all 0 at pixels that do not
        count."""
        classes = torch.arange(self.num_classes, device=labels.device)[:, None, None]
        return (labels[:, None] == classes).float()

    def forward(self, logits: list[Tensor], targets: Tensor) -> list[dict[str, Tensor]]:
        """
        Args:
            logits: of each head, (B, K, H, W).
            targets: (B, K, H, W), shares of the classes in each pixel, of sum 1; pixels of a
                smaller sum do not count.

        Returns:
            The weighted terms of each head, "ce" and "iou"; 0 where no pixel counts.
        """
        valid = targets.sum(1) > 1 - 1e-4  # shares are rounded where masks were resized
        targets = targets * valid[:, None]
        weights = border_weights(targets) if self.iou_weight else None
        return [self._terms(of_head.float(), targets, valid, weights) for of_head in logits]

    def _terms(
        self, logits: Tensor, targets: Tensor, valid: Tensor, weights: Tensor | None
    ) -> dict[str, Tensor]:
        log_probs = logits.log_softmax(1)
        terms = {}
        if self.ce_weight:
            # unweighted: the published code asks for weights, with an argument that has no effect
            total = -(log_probs * targets).sum()
            terms["ce"] = self.ce_weight * mean_over_processes(total, valid.sum().to(total))
        if self.iou_weight:
            probs = log_probs.exp() * valid[:, None]
            distance = 1 - weighted_iou(probs, targets, weights)  # (B, K)
            if self.num_classes == 2:
                distance = distance[:, 1]
            else:
                is_there = (targets > 0.5).flatten(2).any(2)
                distance = (distance * is_there).sum(1) / is_there.sum(1).clamp(min=1)
            terms["iou"] = self.iou_weight * distance.mean()
        return terms


def weighted_iou(probs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """IoU per image and class; probabilities, targets and weights (B, K, H, W) -> (B, K).

    1 is added to both sides of the quotient, so that an absent class that is not predicted has an
    IoU of 1.
    """
    targets = targets * weights
    overlap = (probs * targets).sum((2, 3))
    total = (probs * weights).sum((2, 3)) + targets.sum((2, 3))
    return (overlap + 1) / (total - overlap + 1)


def border_weights(targets: Tensor) -> Tensor:
    """(B, K, H, W) in 1..6: larger the more a pixel differs from the mean of its neighbourhood."""
    return 1 + BORDER_WEIGHT * (box_mean(targets, BORDER_WINDOW) - targets).abs()


def box_mean(maps: Tensor, side: int) -> Tensor:
    """Mean over a window of odd ``side`` around each pixel of (B, K, H, W), with zeros beyond the
    map. Differences of running sums: pooling of windows takes as many steps as they have pixels."""
    for axis in (2, 3):
        padding = [(side + 1) // 2, side // 2] if axis == 3 else [0, 0, (side + 1) // 2, side // 2]
        sums = F.pad(maps, padding).cumsum(axis)
        length = maps.shape[axis]
        maps = (sums.narrow(axis, side, length) - sums.narrow(axis, 0, length)) / side
    return maps
