"""The mean of a mask-classification model's queries over views of one picture.

The order of queries says nothing across views. So each view's queries are matched one to one with
the first view's, by class and mask, and class probabilities and mask probabilities averaged.

Q queries, K classes, (h, w) the masks of the largest view, (H, W) the result.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..mask_classification.mask_resizer import MaskResizer
from ..mask_classification.query_masks import ImageMasks
from ..mask_classification.segmentor import ImageQueries

_LEAST = 1e-6  # probabilities lie so far from 0 and 1, where their logits are finite


def average_queries(
    views: Sequence[tuple[ImageQueries, bool]],
) -> tuple[Tensor, ImageMasks, MaskResizer]:
    """
    Args:
        views: the queries of each view, and whether it is mirrored.

    Returns:
        (Q, K+1) logarithms of the mean probabilities, the queries' masks, and the resizer that
        brings them to the result: what ``panoptic_inference`` takes.
    """
    grid = max((_grid(queries) for queries, _ in views), key=lambda size: size[0] * size[1])
    first, first_masks = _on_grid(*views[0], grid)
    probs, masks = first.clone(), first_masks.clone()
    for queries, is_mirrored in views[1:]:
        other, other_masks = _on_grid(queries, is_mirrored, grid)
        order = _matched(first, first_masks, other, other_masks)
        probs += other[order]
        masks += other_masks[order]
    probs, masks = probs / len(views), masks / len(views)
    embeddings = torch.eye(len(masks), device=masks.device)  # a mask of its own for each query
    averaged = ImageMasks(embeddings, masks.logit(_LEAST))
    resize = MaskResizer(grid, grid, views[0][0].output_size)
    return probs.clamp(min=_LEAST).log(), averaged, resize


def _grid(queries: ImageQueries) -> tuple[int, int]:
    """The size of the masks' part that is not padding."""
    mask_size = queries.masks.maps.shape[-2:]
    sizes = zip(mask_size, queries.content_size, queries.padded_size, strict=True)
    return tuple(max(1, round(side * content / padded)) for side, content, padded in sizes)


def _on_grid(
    queries: ImageQueries, is_mirrored: bool, grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """(Q, K+1) and (Q, *grid) probabilities in the frame of the picture."""
    # in cells of the masks: on the way over the padded size they would lose their edges
    resize = MaskResizer(tuple(queries.masks.maps.shape[-2:]), _grid(queries), grid)
    masks = resize.rows(queries.masks.logits(), slice(0, grid[0])).sigmoid()
    probs = queries.logits.float().softmax(-1)
    return probs, masks.flip(-1) if is_mirrored else masks


def _matched(probs: Tensor, masks: Tensor, other: Tensor, other_masks: Tensor) -> Tensor:
    """For each query the other view's that is most like it, (Q,): the sum over all pairs of the
    product of classes (no-object included) and the Dice coefficient of masks is greatest."""
    from scipy.optimize import linear_sum_assignment  # here: half a second of a program's start

    one, two = masks.flatten(1), other_masks.flatten(1)
    dice = 2 * (one @ two.T) / (one.sum(1)[:, None] + two.sum(1)[None] + _LEAST)
    likeness = (probs @ other.T) * dice
    _, columns = linear_sum_assignment(likeness.nan_to_num().cpu().numpy(), maximize=True)
    return torch.as_tensor(columns, device=probs.device)
