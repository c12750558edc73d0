"""The structure loss on cases worked out by hand."""

from math import log

import pytest
import torch
from torch import Tensor

from d2seg.dstransunet.losses import StructureLoss, border_weights, box_mean, weighted_iou

IGNORE = 255


def loss_of(num_classes: int = 2) -> StructureLoss:
    return StructureLoss(num_classes=num_classes, ignore_value=IGNORE)


def terms_of(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Of a single head."""
    loss = loss_of(logits.shape[1])
    return loss([logits], loss.targets(labels))[0]


def iou_of(probs: Tensor, targets: Tensor) -> Tensor:
    return weighted_iou(probs, targets, border_weights(targets))


def test_box_mean_counts_zeros_beyond_the_map() -> None:
    maps = torch.zeros(1, 1, 5, 4)
    maps[0, 0, 0, 0] = 9.0
    means = box_mean(maps, 3)[0, 0]
    assert means[:2, :2].flatten().tolist() == pytest.approx([1.0] * 4)
    assert means.sum().item() == pytest.approx(4.0)
    wide = torch.rand(2, 3, 40, 50)
    expected = torch.nn.functional.avg_pool2d(wide, 31, stride=1, padding=15)
    torch.testing.assert_close(box_mean(wide, 31), expected)
    assert box_mean(torch.ones(1, 1, 3, 3), 3)[0, 0, 0, 0].item() == pytest.approx(4 / 9)


def test_iou_of_one_pixel() -> None:
    """The pixel's neighbourhood of 31 x 31 has a mean of 1 / 961, so that it weighs
    1 + 5 * 960 / 961."""
    probs, targets = torch.full((1, 1, 1, 1), 0.25), torch.ones(1, 1, 1, 1)
    weight = 1 + 5 * 960 / 961
    expected = (0.25 * weight + 1) / (weight + 1)
    assert iou_of(probs, targets).item() == pytest.approx(expected)


def test_iou_is_per_image_and_class() -> None:
    targets = torch.zeros(2, 3, 4, 4)
    targets[:, 0] = 1.0
    iou = iou_of(targets, targets)
    assert iou.shape == (2, 3)
    torch.testing.assert_close(iou, torch.ones(2, 3))  # absent and not predicted: 1
    assert (iou_of(1 - targets, targets) < 0.1).all()


def test_cross_entropy_is_not_weighted_and_ignores() -> None:
    """Borders weigh no more in it, as the published code computes it."""
    labels = torch.tensor([[[0, 1, 1, IGNORE]]])
    logits = torch.zeros(1, 2, 1, 4)
    logits[0, 1, 0, 1] = log(3)  # probability 0.75 of its own class
    logits[0, 1, 0, 3] = 50.0
    terms = terms_of(logits, labels)
    assert terms["ce"].item() == pytest.approx((2 * log(2) + log(4 / 3)) / 3)
    # what is predicted at the ignored pixel changes neither term
    logits[0, 1, 0, 3] = -50.0
    again = terms_of(logits, labels)
    assert {n: v.item() for n, v in again.items()} == {n: v.item() for n, v in terms.items()}


def test_two_classes_count_the_iou_of_the_object_alone() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    logits = torch.zeros(1, 2, 8, 8)
    logits[:, 1] = -50.0
    assert terms_of(logits, labels)["iou"].item() == pytest.approx(0, abs=1e-6)
    logits[:, 1] = 50.0  # all background taken for the object: (0 + 1) / (64 + 1)
    assert terms_of(logits, labels)["iou"].item() == pytest.approx(64 / 65)


def test_more_classes_count_those_of_the_image_each_against_the_rest() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[:, 4:] = 2
    logits = torch.zeros(1, 3, 8, 8)
    logits[:, 2] = 50.0
    # class 0 is missed; class 2 is given to every pixel; class 1 is neither there nor predicted
    missed, found = (labels == 0).float()[:, None], (labels == 2).float()[:, None]
    weights = border_weights(found)
    overlap = (found * weights).sum().item()
    iou_2 = (overlap + 1) / (weights.sum().item() + 1)
    iou_0 = 1 / ((missed * border_weights(missed)).sum().item() + 1)
    expected = 1 - (iou_0 + iou_2) / 2
    assert terms_of(logits, labels)["iou"].item() == pytest.approx(expected, rel=1e-5)


def test_soft_targets() -> None:
    """Resized masks have shares of both classes at borders; a share of an ignored pixel rules a
    pixel out."""
    shares = torch.tensor([[0.25, 0.5], [0.75, 0.25]]).view(1, 2, 1, 2)
    logits = torch.tensor([[0.0, 30.0], [log(3), 0.0]]).view(1, 2, 1, 2)
    entropy = -(0.25 * log(0.25) + 0.75 * log(0.75))
    assert loss_of()([logits], shares)[0]["ce"].item() == pytest.approx(entropy)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_nothing_counts(num_classes: int) -> None:
    logits = torch.randn(2, num_classes, 6, 6, requires_grad=True)
    labels = torch.full((2, 6, 6), IGNORE)
    terms = terms_of(logits, labels)
    assert {name: value.item() for name, value in terms.items()} == {"ce": 0.0, "iou": 0.0}
    sum(terms.values()).backward()
    assert not logits.grad.any()


def test_gradient_lowers_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (2, 9, 11), generator=generator)
    logits = torch.zeros(2, 4, 9, 11, requires_grad=True)

    def total() -> Tensor:
        return sum(terms_of(logits, labels).values())

    before = total()
    before.backward()
    with torch.no_grad():
        logits -= 10 * logits.grad
    assert total() < before
