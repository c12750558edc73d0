import math

import pytest
import torch

from d2seg.mask_classification.criterion import SetCriterion
from d2seg.mask_classification.matcher import HungarianMatcher
from d2seg.mask_classification.targets import MaskTargets
from families.dense_masks import query_masks


def criterion(mask_loss: str = "bce", **weights: float) -> SetCriterion:
    defaults = {"class_weight": 1.0, "mask_weight": 1.0, "dice_weight": 1.0}
    matcher = HungarianMatcher(**(defaults | weights), mask_loss=mask_loss)
    return SetCriterion(num_classes=2, matcher=matcher, no_object_weight=0.1)


def left_half(height: int = 4, width: int = 4, label: int = 1) -> MaskTargets:
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[..., : width // 2] = True
    return MaskTargets(torch.tensor([label]), mask, "left.png")


def test_losses_by_hand() -> None:
    """Two queries, one target; query 1 has the mask right and the class at one half."""
    logits = torch.log(torch.tensor([[[[0.25, 0.25, 0.5], [0.25, 0.5, 0.25]]]]))
    masks = torch.full((1, 1, 2, 4, 4), -math.log(9))  # probability 0.1
    masks[0, 0, 1, :, :2] = math.log(9)  # probability 0.9
    losses = criterion()(logits, query_masks(masks), [left_half()], (4, 4))
    # weights: 1 for the matched query, 0.1 for the other, whose no-object probability is 0.5
    assert losses["loss_ce"].item() == pytest.approx((1.0 + 0.1) * math.log(2) / 1.1)
    assert losses["loss_mask"].item() == pytest.approx(-math.log(0.9))
    dice = 1 - (2 * 8 * 0.9 + 1) / (8 * 0.9 + 8 * 0.1 + 8 + 1)
    assert losses["loss_dice"].item() == pytest.approx(dice)


def test_weights_multiply_the_terms() -> None:
    torch.manual_seed(0)
    logits, masks = torch.randn(1, 1, 1, 3), torch.randn(1, 1, 1, 4, 4)
    plain = criterion()(logits, query_masks(masks), [left_half()], (4, 4))
    weighted = criterion(class_weight=2.0, mask_weight=5.0, dice_weight=3.0)(
        logits, query_masks(masks), [left_half()], (4, 4)
    )
    for name, factor in (("loss_ce", 2.0), ("loss_mask", 5.0), ("loss_dice", 3.0)):
        torch.testing.assert_close(weighted[name], factor * plain[name])


def test_every_layer_has_its_losses() -> None:
    torch.manual_seed(0)
    logits, masks = torch.randn(3, 2, 4, 3), torch.randn(3, 2, 4, 4, 4)
    targets = [left_half(), left_half(label=0)]
    losses = criterion()(logits, query_masks(masks), targets, (4, 4))
    names = {
        f"loss_{kind}{suffix}" for kind in ("ce", "mask", "dice") for suffix in ("", "_0", "_1")
    }
    assert set(losses) == names
    first = criterion()(logits[:1], query_masks(masks[:1]), targets, (4, 4))
    torch.testing.assert_close(losses["loss_mask_0"], first["loss_mask"])
    last = criterion()(logits[2:], query_masks(masks[2:]), targets, (4, 4))
    torch.testing.assert_close(losses["loss_dice"], last["loss_dice"])


@pytest.mark.parametrize("mask_loss", ["focal", "bce"])
def test_padding_has_neither_loss_nor_gradient(mask_loss: str) -> None:
    """A 4 x 4 image inside an 8 x 8 batch at stride 1."""
    torch.manual_seed(0)
    logits = torch.randn(1, 1, 2, 3)
    content = torch.randn(1, 1, 2, 4, 4)
    padded = torch.full((1, 1, 2, 8, 8), 9.0)
    padded[..., :4, :4] = content
    padded.requires_grad_()
    alone = criterion(mask_loss)(logits, query_masks(content), [left_half()], (4, 4))
    within = criterion(mask_loss)(logits, query_masks(padded), [left_half()], (8, 8))
    for name, value in alone.items():
        torch.testing.assert_close(within[name], value)
    sum(within.values()).backward()
    assert padded.grad[..., :4, :4].abs().sum() > 0
    assert not padded.grad[..., 4:, :].any()
    assert not padded.grad[..., 4:].any()


def test_batch_without_any_target_trains() -> None:
    logits = torch.randn(2, 2, 3, 3, requires_grad=True)
    masks = torch.randn(2, 2, 3, 4, 4, requires_grad=True)
    empty = MaskTargets(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4, 4).bool(), "empty.png")
    losses = criterion()(logits, query_masks(masks), [empty, empty], (4, 4))
    sum(losses.values()).backward()
    assert losses["loss_mask"] == 0
    assert losses["loss_dice"] == 0
    assert losses["loss_ce"] > 0
    assert torch.isfinite(logits.grad).all()
    assert masks.grad is not None  # distributed training needs a gradient for every parameter
    assert not masks.grad.any()


def test_single_pixel_instance() -> None:
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[0, 5, 7] = True  # not on the stride-4 grid of the matcher
    target = MaskTargets(torch.tensor([0]), mask, "dot.png")
    masks = torch.randn(1, 1, 3, 4, 4, requires_grad=True)
    losses = criterion("focal")(torch.randn(1, 1, 3, 3), query_masks(masks), [target], (16, 16))
    sum(losses.values()).backward()
    assert torch.isfinite(masks.grad).all()
    assert masks.grad.any()


def test_half_precision_is_computed_in_fp32() -> None:
    torch.manual_seed(0)
    logits, masks = torch.randn(1, 1, 2, 3), torch.randn(1, 1, 2, 4, 4)
    full = criterion()(
        logits.bfloat16().float(), query_masks(masks.bfloat16().float()), [left_half()], (4, 4)
    )
    half = criterion()(logits.bfloat16(), query_masks(masks.bfloat16()), [left_half()], (4, 4))
    for name, value in half.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, full[name])
