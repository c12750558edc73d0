"""Mask and dice loss of whole masks at the image's size, with a backward pass of their own.

Taken literally (``losses.py``, this module's reference under test) they are some twenty passes over
maps of the image's size for every layer, as many in the backward pass, and all of those maps in
memory. Here a few masks at a time are resized and summed, and recomputed in the backward pass.

Truth t is 0 or 1, so that everything hangs on z, the logit of the wrong answer (x where t is 0, -x
where it is 1), and its probability s = sigmoid(z). Cross-entropy is softplus(z), focal loss
alpha s^2 softplus(z), and the probability itself is p = s + t - 2 s t.

N masks, (h, w) the predictions, (H, W) the image, P = H W pixels.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

from ..layers.chunking import Budget
from ..layers.resampling import resize
from .losses import FOCAL_ALPHA

# of all maps that are resized together
RESIZED_AT_ONCE = Budget(on_cpu=1 << 19, elsewhere=1 << 25)


def whole_mask_losses(
    logits: Tensor, masks: Tensor, indices: Tensor, padded_size: tuple[int, int], mask_loss: str
) -> tuple[Tensor, Tensor]:
    """Mask and dice loss of each mask, at every pixel of the image.

    Args:
        logits: (N, h, w) fp32, over the padded image.
        masks: (T, H, W) bool, the truths; the image without its padding.
        indices: (N,) of each mask's truth.
        padded_size: that the logits cover.
        mask_loss: "focal" or "bce".

    Returns:
        (N,) and (N,).
    """
    return _WholeMaskLosses.apply(logits, masks, indices, padded_size, mask_loss)


class _WholeMaskLosses(torch.autograd.Function):
    """Maps of a few masks at a time are all that either pass holds at the image's size."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        logits: Tensor,
        masks: Tensor,
        indices: Tensor,
        padded_size: tuple[int, int],
        mask_loss: str,
    ) -> tuple[Tensor, Tensor]:
        one, zero = _weights(mask_loss)
        mask, overlap, total = logits.new_empty(3, len(logits))
        for part in _parts(len(logits), masks):
            truth = masks[indices[part]].to(logits)
            z = _wrong_logits(_resized(logits[part], padded_size, truth), truth)
            s = z.sigmoid()
            value = F.softplus(z)
            overlap[part] = truth.sum((1, 2)) - _inner(s, truth)  # sum of p t
            total[part] = 2 * overlap[part] + s.sum((1, 2))  # sum of p and sum of t
            if mask_loss == "focal":
                value.mul_(s).mul_(s)
            of_ones = _inner(value, truth)
            mask[part] = zero * value.sum((1, 2)) + (one - zero) * of_ones
        mask /= masks[0].numel()
        ctx.save_for_backward(logits, masks, indices, overlap, total)
        ctx.padded_size, ctx.mask_loss = padded_size, mask_loss
        return mask, 1 - (2 * overlap + 1) / (total + 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_mask: Tensor, grad_dice: Tensor) -> tuple:
        logits, masks, indices, overlap, total = ctx.saved_tensors
        num_pixels = masks[0].numel()
        # d loss / d x = s (mask_slope m(z) + dice_slope (1 - s)), m(z) = 1 for cross-entropy
        one, zero = _weights(ctx.mask_loss)
        mask_slope = _slope(zero * grad_mask / num_pixels, -one * grad_mask / num_pixels)
        at_zero = grad_dice * (2 * overlap + 1) / (total + 1) ** 2
        dice_slope = _slope(at_zero, at_zero - 2 * grad_dice / (total + 1))
        grad = torch.empty_like(logits)
        for part in _parts(len(logits), masks):
            truth = masks[indices[part]].to(logits)
            with torch.enable_grad():
                small = logits[part].detach().requires_grad_()
                large = _resized(small, ctx.padded_size, truth)
            z = _wrong_logits(large.detach(), truth)
            s = z.sigmoid()
            rest = 1 - s
            by_x = mask_slope(part, truth)
            if ctx.mask_loss == "focal":  # the derivative is s^2 (2 (1 - s) softplus(z) + s)
                slope = F.softplus(z).mul_(rest)
                by_x.mul_(torch.add(s, slope, alpha=2, out=slope).mul_(s))
            by_x.addcmul_(rest, dice_slope(part, truth)).mul_(s)
            [grad[part]] = torch.autograd.grad(large, small, by_x)
        return grad, None, None, None, None


def _weights(mask_loss: str) -> tuple[float, float]:
    """The weights of pixels whose truth is 1 and of those whose truth is 0."""
    return (FOCAL_ALPHA, 1 - FOCAL_ALPHA) if mask_loss == "focal" else (1.0, 1.0)


def _slope(at_zero: Tensor, at_one: Tensor) -> Callable[[slice, Tensor], Tensor]:
    """Maps the truths of some masks to the one value or the other of each, (N,)."""
    at_zero, step = at_zero[:, None, None], (at_one - at_zero)[:, None, None]
    return lambda part, truth: torch.addcmul(at_zero[part], step[part], truth)


def _parts(num_masks: int, masks: Tensor) -> Iterator[slice]:
    """A few masks at a time."""
    # a thread's share in the backward pass of the resizing is whole masks
    at_least = torch.get_num_threads() if masks.device.type == "cpu" else 1
    return RESIZED_AT_ONCE.slices(num_masks, masks[0].numel(), masks.device, at_least)


def _resized(logits: Tensor, padded_size: tuple[int, int], like: Tensor) -> Tensor:
    """(n, h, w) over the padded image -> (n, H, W), the image."""
    height, width = like.shape[-2:]
    return resize(logits, padded_size)[:, :height, :width]


def _wrong_logits(logits: Tensor, truth: Tensor) -> Tensor:
    """x where the truth is 0, -x where it is 1."""
    return torch.addcmul(logits, logits, truth, value=-2)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2))
