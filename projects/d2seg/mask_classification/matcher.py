"""Bipartite matching of predictions and ground truth (Carion et al. 2020, section 3.1; Cheng et al.
2021, section 3.3).

L layers, B images, Q queries, K classes, T targets of an image, (h, w) the masks' resolution,
C channels of embeddings and features, P places.
"""

import logging

import torch
from torch import Tensor, nn

from ..layers.chunking import budget
from .losses import PAIRWISE_MASK_LOSSES, check_mask_loss, pairwise_dice_loss
from .query_masks import QueryMasks
from .targets import MaskTargets

logger = logging.getLogger(__name__)

Match = tuple[Tensor, Tensor]  # query and target indices, both (min(Q, T),) int64 on the CPU
_LOGITS_AT_ONCE = budget(1 << 20)  # of whole layers, for matching
_UNMATCHABLE = 1e6  # stands for a non-finite cost; far above every real one


class HungarianMatcher(nn.Module):
    """Assigns each target to one query so that the summed cost is least."""

    def __init__(
        self, *, class_weight: float, mask_weight: float, dice_weight: float, mask_loss: str
    ) -> None:
        """``mask_loss``: "focal" or "bce"."""
        super().__init__()
        self.class_weight = class_weight
        self.mask_weight = mask_weight
        self.dice_weight = dice_weight
        check_mask_loss(mask_loss)
        self.mask_loss = mask_loss
        self._surplus_reported = False

    @torch.no_grad()
    def forward(
        self,
        pred_logits: Tensor,
        pred_masks: QueryMasks,
        targets: list[MaskTargets],
        padded_size: tuple[int, int],
    ) -> list[list[Match]]:
        """Match every layer's predictions in one pass with one copy to the host.

        Args:
            pred_logits: (L, B, Q, K+1).
            pred_masks: of (L, B, Q, h, w), over the padded image.
            targets: one per image.
            padded_size: (H, W) of the padded batch that (h, w) covers.

        Returns:
            For each layer and image the matched indices; with more targets than queries the
            surplus targets stay unmatched, which is logged once.
        """
        num_layers, _, num_queries = pred_logits.shape[:3]
        costs = [
            self._cost(pred_logits[:, i], pred_masks, i, target, padded_size)
            for i, target in enumerate(targets)
        ]  # (L, Q, T) each
        sizes = [len(target) for target in targets]
        on_host = torch.cat(costs, dim=2).cpu()  # (L, Q, sum T)
        if not torch.isfinite(on_host).all():
            on_host = self._sanitise(on_host, targets, sizes)
        if max(sizes, default=0) > num_queries and not self._surplus_reported:
            self._surplus_reported = True
            worst = max(targets, key=len)
            logger.warning(
                "%s has %d ground-truth masks but the model %d queries; the worst matches go "
                "without a query. Raise MODEL.MASK_CLASSIFICATION.NUM_QUERIES. (Said once.)",
                worst.name,
                len(worst),
                num_queries,
            )
        return [
            [_assign(cost) for cost in on_host[layer].split(sizes, dim=1)]
            for layer in range(num_layers)
        ]

    def _cost(
        self,
        pred_logits: Tensor,
        pred_masks: QueryMasks,
        image: int,
        target: MaskTargets,
        padded_size: tuple[int, int],
    ) -> Tensor:
        """Cost of one image, (L, Q, T), in fp32. pred_logits: (L, Q, K+1)."""
        features, truth = self._mask_samples(pred_masks, image, target, padded_size)
        embeddings = pred_masks.embeddings[:, image]  # (L, Q, C)
        logits_per_layer = embeddings.shape[1] * features.shape[1]
        layers_at_once = _LOGITS_AT_ONCE.count(logits_per_layer, features.device)
        mask_cost = torch.cat(
            [
                self._mask_cost((layers.flatten(0, 1) @ features).float(), truth)
                for layers in embeddings.split(layers_at_once)
            ]
        ).unflatten(0, embeddings.shape[:2])
        # the negative log-likelihood is approximated by -p, as in DETR
        class_cost = -pred_logits.float().softmax(-1)[..., target.labels]  # (L, Q, T)
        return mask_cost + self.class_weight * class_cost

    def _mask_samples(
        self, pred_masks: QueryMasks, image: int, target: MaskTargets, padded_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Features (C, P) and truth (T, P) in fp32 at the places where masks are compared: here
        every cell of the predictions' grid that lies in the image.

        A mask there is its query's embedding times these features.
        """
        truth = downsample_to(target.masks, pred_masks.size, padded_size)
        height, width = truth.shape[-2:]
        features = pred_masks.features[image, :, :height, :width]
        return features.flatten(1), truth.flatten(1).float()

    def _mask_cost(self, logits: Tensor, truth: Tensor) -> Tensor:
        """(Q, P), (T, P) -> (Q, T)."""
        with torch.autocast(logits.device.type, enabled=False):
            mask_cost = PAIRWISE_MASK_LOSSES[self.mask_loss](logits, truth)
            dice_cost = pairwise_dice_loss(logits, truth)
            return self.mask_weight * mask_cost + self.dice_weight * dice_cost

    def _sanitise(self, costs: Tensor, targets: list[MaskTargets], sizes: list[int]) -> Tensor:
        bad = ~torch.isfinite(costs)
        names = [
            target.name
            for target, part in zip(targets, bad.split(sizes, dim=2), strict=True)
            if part.any()
        ]
        logger.warning(
            "%d of %d matching costs are not finite, in %s; they count as unmatchable",
            int(bad.sum()),
            bad.numel(),
            ", ".join(names),
        )
        return costs.masked_fill(bad, _UNMATCHABLE)


def downsample_to(masks: Tensor, size: tuple[int, int], padded_size: tuple[int, int]) -> Tensor:
    """Nearest-neighbour sampling of unpadded masks on a grid laid over the padded image.

    Args:
        masks: (T, h, w), the top left part of the padded image.
        size: (rows, columns) of the grid over the whole padded image.
        padded_size: (H, W) of the padded image.

    Returns:
        (T, r, c), the part of the grid that lies inside (h, w); the same values as
        ``F.interpolate(mode="nearest")`` of the zero-padded masks there.
    """
    rows, columns = (
        torch.arange(cells, device=masks.device) * full // cells
        for cells, full in zip(size, padded_size, strict=True)
    )
    rows, columns = rows[rows < masks.shape[-2]], columns[columns < masks.shape[-1]]
    return masks[:, rows[:, None], columns]


def _assign(cost: Tensor) -> Match:
    from scipy.optimize import linear_sum_assignment  # here: half a second of every program's start

    queries, targets = linear_sum_assignment(cost.numpy())
    return torch.from_numpy(queries), torch.from_numpy(targets)
