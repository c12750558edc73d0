"""The mask-classification loss (Cheng et al. 2021, section 3.3): cross-entropy on the classes of
all queries, a mask loss and a dice loss on the matched ones, at every decoder layer.

L layers, B images, Q queries, K classes, (H, W) the padded image, (h, w) the predicted masks.
"""

import torch
from detectron2.utils import comm
from fvcore.nn.distributed import differentiable_all_reduce
from torch import Tensor, nn
from torch.nn import functional as F

from .matcher import HungarianMatcher, Match
from .query_masks import QueryMasks
from .targets import MaskTargets
from .whole_mask_losses import whole_mask_losses


class SetCriterion(nn.Module):
    """Matches, then returns the weighted losses of every layer."""

    class_weights: Tensor

    def __init__(
        self, *, num_classes: int, matcher: HungarianMatcher, no_object_weight: float
    ) -> None:
        """The matcher's weights and mask loss serve for the losses too (section 3.3)."""
        super().__init__()
        self.num_classes = num_classes
        self.matcher = matcher
        class_weights = torch.ones(num_classes + 1)
        class_weights[-1] = no_object_weight
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(
        self,
        pred_logits: Tensor,
        pred_masks: QueryMasks,
        targets: list[MaskTargets],
        padded_size: tuple[int, int],
    ) -> dict[str, Tensor]:
        """
        Args:
            pred_logits: (L, B, Q, K+1), the last layer last.
            pred_masks: of (L, B, Q, h, w).
            targets: one per image.
            padded_size: (H, W) that the batch was padded to.

        Returns:
            Weighted scalars ``loss_ce``, ``loss_mask``, ``loss_dice`` of the last layer, and the
            same with ``_0`` .. ``_{L-2}`` of the earlier ones. Both normalisers (number of masks,
            summed class weights) are means over the processes, so that the averaged gradients of N
            processes equal those of one process with the whole batch.
        """
        matches = self.matcher(pred_logits, pred_masks, targets, padded_size)
        labels = self._labels(pred_logits, targets, matches)
        num_masks, weight_sums = self._normalisers(labels, targets)
        ce = self._class_losses(pred_logits, labels) / weight_sums

        mask, dice = self._mask_losses(pred_masks, targets, matches, padded_size)
        terms = {
            "loss_ce": self.matcher.class_weight * ce,
            "loss_mask": self.matcher.mask_weight * mask / num_masks,
            "loss_dice": self.matcher.dice_weight * dice / num_masks,
        }
        suffixes = [*(f"_{layer}" for layer in range(len(pred_logits) - 1)), ""]
        return {
            name + suffix: values[layer]
            for layer, suffix in enumerate(suffixes)
            for name, values in terms.items()
        }

    def _labels(
        self, pred_logits: Tensor, targets: list[MaskTargets], matches: list[list[Match]]
    ) -> Tensor:
        """(L, B, Q): the matched target's class, ``num_classes`` (no object) where unmatched."""
        labels = torch.full(pred_logits.shape[:3], self.num_classes, device=pred_logits.device)
        for layer, layer_matches in enumerate(matches):
            for image, (queries, indices) in enumerate(layer_matches):
                matched = targets[image].labels[indices.to(labels.device)]
                labels[layer, image, queries.to(labels.device)] = matched
        return labels

    def _normalisers(self, labels: Tensor, targets: list[MaskTargets]) -> tuple[Tensor, Tensor]:
        """Number of masks () and summed class weights (L,), both averaged over the processes."""
        num_masks = labels.new_tensor([sum(map(len, targets))], dtype=torch.float32)
        weight_sums = self.class_weights[labels].sum((1, 2))
        totals = differentiable_all_reduce(torch.cat([num_masks, weight_sums]))
        # clamped before the division: a single mask weighs the same on any number of processes
        num_masks, weight_sums = totals[0].clamp(min=1.0), totals[1:]
        return num_masks / comm.get_world_size(), weight_sums / comm.get_world_size()

    def _class_losses(self, pred_logits: Tensor, labels: Tensor) -> Tensor:
        """Weighted cross-entropy summed over images and queries, (L,)."""
        ce = F.cross_entropy(
            pred_logits.flatten(0, 2).float(),
            labels.flatten(),
            self.class_weights,
            reduction="none",
        )
        return ce.view(len(labels), -1).sum(1)

    def _mask_losses(
        self,
        pred_masks: QueryMasks,
        targets: list[MaskTargets],
        matches: list[list[Match]],
        padded_size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Sums of both losses over each layer's matched masks, (L,)."""
        device = pred_masks.maps.device
        mask_terms, dice_terms = [], []
        for image, target in enumerate(targets):
            if not len(target):
                continue
            pairs = [layer_matches[image] for layer_matches in matches]
            queries = torch.stack([queries for queries, _ in pairs]).to(device)  # (L, T)
            indices = torch.stack([indices for _, indices in pairs]).to(device)  # (L, T)
            logits = pred_masks.matched(image, queries).float()
            mask, dice = self._pair_losses(logits, target, indices, padded_size)
            mask_terms.append(mask)
            dice_terms.append(dice)
        if not mask_terms:  # no target in the batch: every parameter still gets a gradient
            zero = 0.0 * (pred_masks.embeddings.sum((1, 2, 3)) + pred_masks.features.sum())
            return zero.float(), zero.float()
        return torch.stack(mask_terms).sum(0), torch.stack(dice_terms).sum(0)

    def _pair_losses(
        self, logits: Tensor, target: MaskTargets, indices: Tensor, padded_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Sums of both losses over one image's pairs, (L,): here at every pixel of the image.

        Args:
            logits: (L, T, h, w) fp32 of the matched masks over the padded image.
            indices: (L, T) of their targets.
        """
        losses = whole_mask_losses(
            logits.flatten(0, 1),
            target.masks,
            indices.flatten(),
            padded_size,
            self.matcher.mask_loss,
        )
        mask, dice = (loss.view(len(logits), -1).sum(1) for loss in losses)
        return mask, dice
