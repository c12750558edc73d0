import pytest
import torch

from d2seg.layers.chunking import UNBOUNDED, Budget, budget

CPU, OTHER = torch.device("cpu"), torch.device("meta")


@pytest.mark.parametrize(
    ("numbers_each", "at_least", "expected"),
    [(5, 1, 2), (3, 1, 4), (3.5, 1, 3), (13, 1, 1), (13, 2, 2), (0, 1, 12)],
)
def test_count(numbers_each: float, at_least: int, expected: int) -> None:
    assert budget(12).count(numbers_each, CPU, at_least) == expected


def test_slices_cover_all_in_order() -> None:
    assert list(budget(12).slices(7, 4, CPU)) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert list(budget(12).slices(3, 100, CPU)) == [slice(0, 1), slice(1, 2), slice(2, 3)]
    assert list(budget(12).slices(0, 4, CPU)) == []


def test_a_device_has_a_budget_of_its_own() -> None:
    assert Budget(12, elsewhere=36).count(4, CPU) == 3
    assert Budget(12, elsewhere=36).count(4, OTHER) == 9
    assert list(Budget(12, UNBOUNDED).slices(700, 4, OTHER)) == [slice(0, 700)]
