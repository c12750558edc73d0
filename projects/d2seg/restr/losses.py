"""ReSTR's losses (Kim et al. 2022, section 3.4).

E expressions, (H, W) the batch's size, (h, w) the patch grid.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ReferringLoss(nn.Module):
    """Cross-entropy of the mask and of the patches, and dice of the mask if asked for."""

    def __init__(
        self, *, mask_weight: float = 1.0, patch_weight: float = 0.1, dice_weight: float = 0.0
    ) -> None:
        """
        Raises:
            ValueError: all weights are 0.
        """
        super().__init__()
        if not (mask_weight or patch_weight or dice_weight):
            raise ValueError("MODEL.RESTR.LOSS: all weights are 0, nothing would be learnt")
        self.weights = {
            "loss_mask": mask_weight,
            "loss_patch": patch_weight,
            "loss_dice": dice_weight,
        }

    def forward(
        self, mask_logits: Tensor, patch_logits: Tensor, masks: Tensor
    ) -> dict[str, Tensor]:
        """
        Args:
            mask_logits: (E, H', W'), resized to the masks here.
            patch_logits: (E, h, w).
            masks: (E, H, W), 1 on the object; H and W are multiples of h and w.

        Returns:
            The weighted losses; those of weight 0 are left out.
        """
        masks = masks.to(torch.float32)
        mask_logits = resize_logits(mask_logits.float(), masks.shape[-2:])
        losses = {
            "loss_mask": F.binary_cross_entropy_with_logits(mask_logits, masks),
            "loss_patch": F.binary_cross_entropy_with_logits(
                patch_logits.float(), patch_labels(masks, patch_logits.shape[-2:])
            ),
        }
        if self.weights["loss_dice"]:
            losses["loss_dice"] = dice_loss(mask_logits, masks)
        return {k: self.weights[k] * v for k, v in losses.items() if self.weights[k]}


def patch_labels(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """(E, H, W) of 0 and 1 -> (E, h, w): 1 where any pixel of the patch lies on the object.

    The paper says that the mean over the patch exceeds 0.8; the authors' code compares the sum.
    """
    return F.adaptive_max_pool2d(masks, grid)


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """1 - dice of each expression's mask, mean over expressions; (E, H, W) each."""
    probs, masks = logits.sigmoid().flatten(1), masks.flatten(1)
    overlap = (probs * masks).sum(1)
    return (1 - (2 * overlap + 1) / (probs.sum(1) + masks.sum(1) + 1)).mean()


def resize_logits(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(E, h, w) -> (E, *size)."""
    if logits.shape[-2:] == tuple(size):
        return logits
    return F.interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]
