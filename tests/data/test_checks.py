import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from d2seg.data.checks import check_labels, out_of_range


def test_classes_and_the_ignore_label_pass():
    check_labels(np.array([[0, 2], [255, 1]], np.uint8), 3, 255, "a.png")
    check_labels(np.array([[0, 2], [11, 1]], np.uint8), 3, 11, "a.png")
    check_labels(np.array([846, 65535], np.uint16), 847, 65535, "a.tif")
    check_labels(np.empty((0, 4), np.uint8), 3, 255, "empty.png")


def test_the_error_names_file_values_and_counts():
    labels = np.array([[0, 3, 3], [255, 7, 1]], np.uint8)
    with pytest.raises(ValueError, match=r"b\.png.*0\.\.2.*3 \(2 times\), 7 \(1 times\)"):
        check_labels(labels, 3, 255, "b.png")


def test_negative_labels_and_those_beside_the_ignore_label_are_found():
    with pytest.raises(ValueError, match=r"-1 \(1 times\)"):
        check_labels(np.array([0, -1], np.int64), 3, 255, "a.png")
    with pytest.raises(ValueError, match=r"254 \(1 times\)"):
        check_labels(np.array([0, 254, 255], np.uint8), 3, 255, "a.png")
    with pytest.raises(ValueError, match=r"255 \(1 times\)"):
        check_labels(np.array([0, 255], np.uint8), 3, 65535, "a.png")


def test_many_values_are_shortened():
    with pytest.raises(ValueError, match="and 5 more"):
        check_labels(np.arange(10, dtype=np.uint8), 0, 255, "a.png")


@given(
    labels=arrays(np.int32, (3, 4), elements=st.integers(-2, 12)),
    num_classes=st.integers(1, 10),
    ignore_label=st.integers(-1, 12),
)
def test_it_raises_exactly_where_a_label_is_neither(labels, num_classes, ignore_label):
    valid = {*range(num_classes), ignore_label}
    wrong = [v for v in labels.ravel().tolist() if v not in valid]
    assert out_of_range(labels, num_classes, ignore_label) == {
        v: wrong.count(v) for v in set(wrong)
    }
    if wrong:
        with pytest.raises(ValueError, match=r"a\.png"):
            check_labels(labels, num_classes, ignore_label, "a.png")
    else:
        check_labels(labels, num_classes, ignore_label, "a.png")
