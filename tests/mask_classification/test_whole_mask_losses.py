"""The losses of whole masks against the plain formulas at the image's size."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from d2seg.layers.chunking import budget
from d2seg.mask_classification import whole_mask_losses as module
from d2seg.mask_classification.losses import MASK_LOSSES, dice_loss
from d2seg.mask_classification.whole_mask_losses import whole_mask_losses

PADDED, IMAGE = (40, 48), (37, 41)


def plain(logits: Tensor, masks: Tensor, indices: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    resized = F.interpolate(logits[None], size=PADDED, mode="bilinear", align_corners=False)[0]
    resized = resized[:, : IMAGE[0], : IMAGE[1]].flatten(1)
    truth = masks.flatten(1).to(logits)[indices]
    return MASK_LOSSES[kind](resized, truth), dice_loss(resized, truth)


def inputs(num_masks: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(num_masks, 10, 12, generator=generator, dtype=dtype)
    masks = torch.rand(5, *IMAGE, generator=generator) < torch.tensor([0, 0.1, 0.5, 0.9, 1]).view(
        5, 1, 1
    )
    indices = torch.arange(num_masks) % 5  # an empty and a full one among them
    return logits.requires_grad_(), masks, indices


@pytest.mark.parametrize("kind", MASK_LOSSES)
@pytest.mark.parametrize("elements", [1, 2 * 37 * 41, 1 << 19])
def test_equal_to_the_plain_formulas(
    kind: str, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the masks are taken few at a time, with a rest at the end."""
    monkeypatch.setattr(module, "RESIZED_AT_ONCE", budget(elements))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    logits, masks, indices = inputs(13)
    expected = torch.stack(plain(logits, masks, indices, kind))
    losses = torch.stack(whole_mask_losses(logits, masks, indices, PADDED, kind))
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-6)

    weights = torch.rand(2, 13, generator=torch.Generator().manual_seed(1))
    [grad] = torch.autograd.grad((losses * weights).sum(), logits)
    [expected_grad] = torch.autograd.grad((expected * weights).sum(), logits)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("kind", MASK_LOSSES)
def test_gradients_in_double_precision(kind: str) -> None:
    logits, masks, indices = inputs(5, torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: whole_mask_losses(x, masks, indices, PADDED, kind), logits
    )


@pytest.mark.parametrize("kind", MASK_LOSSES)
@pytest.mark.parametrize("size", [1e3, 1e30])
def test_extreme_logits(kind: str, size: float) -> None:
    """Losses grow with a wrong logit, without overflow on their way; gradients stay finite."""
    _, masks, indices = inputs(4)
    logits = torch.full((4, 10, 12), size)
    logits[2:] *= -1
    logits.requires_grad_()
    mask, dice = whole_mask_losses(logits, masks, indices, PADDED, kind)
    expected, _ = plain(logits, masks, indices, kind)
    torch.testing.assert_close(mask, expected)
    (mask + dice).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_nan_reaches_the_loss() -> None:
    """So that the trainer can skip the step."""
    logits, masks, indices = inputs(3)
    with torch.no_grad():
        logits[1, 0, 0] = torch.nan
    for loss in whole_mask_losses(logits, masks, indices, PADDED, "focal"):
        assert loss.isnan().tolist() == [False, True, False]
