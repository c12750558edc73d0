"""ReSTR's losses (Kim et al. 2022, section 3.4).

E expressions, (H, W) the batch's size, (h, w) the patch grid.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.resampling import resize
from ..mask_classification.losses import dice_loss
from ..per_pixel.losses import mean_over_processes


class ReferringLoss(nn.Module):
    """Cross-entropy of the mask and of the patches, and dice of the mask if asked for."""

    def __init__(
        self, *, mask_weight: float = 1.0, patch_weight: float = 0.1, dice_weight: float = 0.0
    ) -> None:
        """
        Raises:
            ValueError: no loss is left for the decoder.
        """
        super().__init__()
        if not (mask_weight or dice_weight):
            raise ValueError(
                "MODEL.RESTR.LOSS.MASK_WEIGHT and DICE_WEIGHT are both 0, and the decoder "
                "would not be learnt; set one of them above 0"
            )
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
            The weighted losses, means over the expressions of all processes; those of weight 0 are
            left out.
        """
        masks = masks.to(torch.float32)
        mask_logits = resize(mask_logits.float(), masks.shape[-2:])
        labels = patch_labels(masks, patch_logits.shape[-2:])
        losses = {
            "loss_mask": lambda: cross_entropy(mask_logits, masks),
            "loss_patch": lambda: cross_entropy(patch_logits.float(), labels),
            "loss_dice": lambda: dice_loss(mask_logits.flatten(1), masks.flatten(1)),
        }
        count = torch.tensor(float(len(masks)), device=masks.device)
        return {
            name: weight * mean_over_processes(losses[name]().sum(), count)
            for name, weight in self.weights.items()
            if weight
        }


def patch_labels(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """(E, H, W) of 0 and 1 -> (E, h, w): 1 where any pixel of the patch lies on the object.

    The paper says that the mean over the patch exceeds 0.8; the authors' code compares the sum.
    """
    return F.adaptive_max_pool2d(masks, grid)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Each expression's mean over its pixels or patches: (E, h, w) each -> (E,)."""
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean((1, 2))
