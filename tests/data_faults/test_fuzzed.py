"""Changed bytes and changed JSON: data, or one line; nothing else. As many examples as a second or
two allow."""

import json

import numpy as np
import pytest
from coco_cases import instances
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from picture_cases import WHOLE

from d2seg.data.dicts import load_dicts
from d2seg.data.inspection.dataset import inspect_dataset
from d2seg.data.label_maps import read_id_map, read_labels
from d2seg.pictures import read_image

FUZZED = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from([10**400, "1", "\x00", "\ud800"]),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
KEYS = {
    "images": ("id", "height", "width", "file_name"),
    "annotations": ("id", "image_id", "category_id", "segmentation", "bbox", "area", "iscrowd"),
    "categories": ("id", "name"),
}
PLACES = st.sampled_from([(part, key) for part, keys in KEYS.items() for key in keys])


@pytest.mark.parametrize("name", WHOLE)
@settings(FUZZED, max_examples=25)
@given(data=st.data())
def test_pictures_with_changed_bytes(tmp_path, name: str, data: st.DataObject) -> None:
    content = bytearray(WHOLE[name])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(len(content) // 2, len(content)))
    file = tmp_path / name
    file.write_bytes(bytes(content[:cut]))
    for read in (lambda f: read_image(f, "RGB"), read_labels, read_id_map):
        try:
            assert read(str(file)).dtype.kind in "ui"
        except ValueError as error:
            is_named = name in str(error) and "\n" not in str(error)
            assert is_named


@FUZZED
@given(place=PLACES, value=VALUES, number=st.integers(0, 1))
def test_json_with_changed_values(tmp_path_factory, place, value, number: int) -> None:
    folder = tmp_path_factory.mktemp("json")
    made = instances(folder, lambda content: put_value(content, place, number, value))
    try:
        dicts = load_dicts(made["name"], for_test=True)
        assert all(np.isfinite(a.get("bbox", 0)).all() for d in dicts for a in d["annotations"])
    except ValueError as error:
        is_one_line = "\n" not in str(error)
        assert is_one_line
    try:
        inspect_dataset(made["name"])
    except ValueError as error:
        is_one_line = "\n" not in str(error)
        assert is_one_line


def put_value(content: dict, place: tuple[str, str], number: int, value: object) -> None:
    part, key = place
    content[part][number % len(content[part])][key] = value


@FUZZED
@given(content=VALUES)
def test_any_json(tmp_path_factory, content: object) -> None:
    made = instances(tmp_path_factory.mktemp("json"))
    made["file"].write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"wrong\.json") as caught:
        load_dicts(made["name"])
    is_one_line = "\n" not in str(caught.value)
    assert is_one_line
