"""Tiles: the argmax, and which classes a tile leaves out."""

import pytest
import torch

from d2seg.per_pixel import tiles


@pytest.mark.parametrize("num_classes", [1, 2, 127, 129, 847])
def test_argmax(num_classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(num_classes, 9, 11, generator=generator)
    assert torch.equal(tiles.argmax(scores.clone()), scores.max(0)[1])
    tied = torch.randint(0, 3, scores.shape, generator=generator).float()
    first = (tied == tied.amax(0)).to(torch.uint8).argmax(0)
    assert torch.equal(tiles.argmax(tied), first)


def test_argmax_is_exact_where_products_are_rounded() -> None:
    scores = torch.randn(847, 16, 16, generator=torch.Generator().manual_seed(0))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert torch.equal(tiles.argmax(scores.clone()), scores.max(0)[1])
    finally:
        torch.set_float32_matmul_precision(before)


def test_classes_that_cannot_win_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Class 1 lies wholly below class 0, and class 2 does not."""
    taken = []
    resample = tiles.resample
    monkeypatch.setattr(
        tiles, "resample", lambda patches: taken.append(len(patches[0][1])) or resample(patches)
    )
    logits = torch.tensor([[1.0, 3.0], [-1.0, 0.5], [0.0, 4.0]]).view(3, 1, 2)
    rows, columns = torch.ones(2, 1), torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    labels = tiles.tile_labels([[(rows, logits, columns)]])
    assert labels.tolist() == [[0, 0, 2]] * 2  # scores 1, 2, 3 against 0, 2, 4: the first on ties
    assert taken == [2]


def test_a_tile_of_one_possible_class_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tiles, "resample")
    logits = torch.tensor([[1.0, 3.0], [-1.0, 0.5]]).view(2, 1, 2)
    labels = tiles.tile_labels([[(torch.ones(2, 1), logits, torch.ones(3, 2) / 2)]])
    assert labels.tolist() == [[0]]
