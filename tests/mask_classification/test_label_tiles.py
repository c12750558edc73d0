"""The label map of queries, in tiles, against the plain formula at image size."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from d2seg.layers.chunking import budget
from d2seg.mask_classification import label_tiles
from d2seg.mask_classification.label_tiles import semantic_labels
from d2seg.mask_classification.mask_resizer import MaskResizer
from families.dense_masks import image_masks

PADDED, CONTENT = (32, 32), (30, 27)


def plain_scores(logits: Tensor, masks: Tensor, size: tuple[int, int]) -> Tensor:
    full = F.interpolate(masks[None], size=PADDED, mode="bilinear")[0, :, : CONTENT[0], :27]
    scores = torch.einsum("qk,qhw->khw", logits.softmax(-1)[:, :-1], full.sigmoid())
    return F.interpolate(scores[None], size=size, mode="bilinear")[0]


def sure_queries() -> tuple[Tensor, Tensor]:
    """Two classes of five, left and right, and queries that are nothing: most tiles have one class
    that can win."""
    logits, masks = torch.randn(11, 6), torch.randn(11, 8, 8) - 5
    logits[2:, -1] += 20
    logits[0, 1] += 20
    logits[1, 3] += 20
    masks[0, :, :4] = 9
    masks[1, :, 4:] = 9
    return logits, masks


@pytest.mark.parametrize("size", [CONTENT, (45, 40), (10, 60), (4, 5)])
@pytest.mark.parametrize("side", [1000, 7])
@pytest.mark.parametrize("is_sure", [False, True])
def test_labels_are_those_of_the_plain_formula(
    size: tuple[int, int], side: int, is_sure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    logits, masks = sure_queries() if is_sure else (torch.randn(11, 6), torch.randn(11, 8, 8))
    monkeypatch.setattr(label_tiles, "STRIP", budget(11 * side**2))
    before = masks.clone()
    labels = semantic_labels(logits, image_masks(masks), MaskResizer(PADDED, CONTENT), size)
    assert labels.dtype == torch.int32
    assert torch.equal(labels, plain_scores(logits, masks, size).argmax(0).int())
    assert torch.equal(masks, before)


def test_classes_that_cannot_win_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    numbers_of_classes, linear = [], label_tiles.linear

    def record(features: Tensor, weight: Tensor) -> Tensor:
        numbers_of_classes.append(len(weight))
        return linear(features, weight)

    monkeypatch.setattr(label_tiles, "linear", record)
    monkeypatch.setattr(label_tiles, "STRIP", budget(11 * 8**2))
    logits, masks = sure_queries()
    semantic_labels(logits, image_masks(masks), MaskResizer(PADDED, PADDED), PADDED)
    # four columns of tiles; the two in the middle see the border
    assert numbers_of_classes == [2] * 8


def test_what_is_not_a_number_leaves_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It spoils the labels of its own tile alone."""
    torch.manual_seed(0)
    monkeypatch.setattr(label_tiles, "STRIP", budget(11 * 8**2))
    logits, masks = sure_queries()
    masks[0, 0, 0] = float("nan")
    labels = semantic_labels(logits, image_masks(masks), MaskResizer(PADDED, PADDED), PADDED)
    assert labels[31, 0] == 1
    assert labels[31, 31] == 3


def test_tiles_of_a_shrunk_image_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 32 x 32 pixels to 4 x 4: each label has eight by eight scores below it."""
    torch.manual_seed(0)
    sizes, linear = [], label_tiles.linear

    def record(features: Tensor, weight: Tensor) -> Tensor:
        sizes.append(features.numel())
        return linear(features, weight)

    monkeypatch.setattr(label_tiles, "linear", record)
    at_once = 5 * 16 * 16
    monkeypatch.setattr(label_tiles, "STRIP", budget(at_once))
    masks = image_masks(torch.randn(5, 8, 8))
    semantic_labels(torch.randn(5, 4), masks, MaskResizer(PADDED, PADDED), (4, 4))
    assert len(sizes) == 4
    assert max(sizes) <= at_once
