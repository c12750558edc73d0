"""d2seg.checkpoint.nesting: values without end are refused, without walking them."""

import pytest

from d2seg.checkpoint.nesting import check_nesting


def doubled(times: int) -> list:
    value: list = [1]
    for _ in range(times):
        value = [value, value]
    return value


def test_ordinary_values_pass() -> None:
    shared = [1, 2]
    check_nesting({"a": shared, "b": (shared, {"c": shared}), "d": "text"}, max_values=20)


def test_copies_count() -> None:
    with pytest.raises(ValueError, match="have no end"):
        check_nesting(doubled(60), max_values=10**6)
    check_nesting(doubled(5), max_values=10**6)


def test_depth_is_bounded() -> None:
    value: list = []
    for _ in range(5_000):
        value = [value]
    with pytest.raises(ValueError, match="more than 100 deep"):
        check_nesting(value, max_values=10**6)


def test_a_circle_is_found() -> None:
    inner: list = []
    inner.append({"again": inner})
    with pytest.raises(ValueError, match="holds itself"):
        check_nesting([inner], max_values=10**6)
