"""JSON files of annotations as files: compressed ones, and keys that stand twice."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable

import pytest
from coco_cases import instances

from d2seg.data.datasets.declaration import read_declaration
from d2seg.data.dicts import load_dicts
from d2seg.data.inspection.dataset import inspect_dataset
from d2seg.data.json_files import read_json
from d2seg.data.referring.references import read_references
from d2seg.evaluation.instance import InstanceEvaluator


@pytest.mark.parametrize("key", ["annotations", "images", "categories"])
def test_a_list_that_stands_twice_is_refused(tmp_path, key: str) -> None:
    """JSON's readers keep the last one: half of the annotations would be gone without a word."""
    made = instances(tmp_path, lambda content: None)
    file = next(tmp_path.rglob("wrong.json"))
    content = json.loads(file.read_text())
    first = json.dumps({key: content[key][:1]})
    file.write_text(first[:-1] + ", " + json.dumps(content)[1:])
    with pytest.raises(ValueError, match=rf"wrong\.json: .*: the key '{key}' stands twice$"):
        load_dicts(made["name"], for_test=True)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_files_are_to_be_unpacked(tmp_path, pack: Callable[[bytes], bytes]) -> None:
    made = instances(tmp_path, lambda content: None)
    file = next(tmp_path.rglob("wrong.json"))
    file.write_bytes(pack(file.read_bytes()))
    with pytest.raises(ValueError, match=r"wrong\.json: .*it is compressed; unpack it, and name"):
        load_dicts(made["name"], for_test=True)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b" \r\n\t", "it is empty"),
        (b"\xef\xbb\xbf", "it is empty"),
        ('{"name": "B\xe4r"}'.encode("latin-1"), "byte 11 is no UTF-8; save it as UTF-8"),
        ('{"name": "\u718a"}'.encode("gb18030"), "byte 10 is no UTF-8; save it as UTF-8"),
        (b"\n<!DOCTYPE html><html></html>", "it is a web page, so the download went wrong"),
        (b'{"id": 1}\n{"id": 2}\n', "line 2 .*; it holds one JSON value, not one in each line"),
    ],
)
def test_what_is_no_json_is_told_what_it_is(tmp_path, data: bytes, reason: str) -> None:
    (tmp_path / "a.json").write_bytes(data)
    for read in (read_json, lambda file: read_references(file, "train")):
        with pytest.raises(ValueError, match=rf"a\.json: not a JSON file.*: .*{reason}$"):
            read(tmp_path / "a.json")


@pytest.mark.parametrize("content", [{}, {"shapes": []}, {"_via_img_metadata": {}}, {"Images": []}])
def test_annotations_of_another_format_are_called_so(tmp_path, content: dict) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    split = {"images": ".", "annotations": "a.json"}
    declared = {"name": "x", "task": "instance", "splits": {"train": split}}
    (tmp_path / "x.json").write_text(json.dumps(declared))
    with pytest.raises(ValueError, match=r"a\.json: not in COCO's format: .*d2seg convert-data$"):
        read_declaration(tmp_path / "x.json")


def test_a_category_that_may_be_a_thing_or_not(tmp_path) -> None:
    """Nothing was taken for stuff."""
    categories = [{"id": 1, "name": "a", "isthing": None}, {"id": 2, "name": "b", "isthing": 1}]
    (tmp_path / "a.json").write_text(json.dumps({"categories": categories}))
    split = {"images": ".", "annotations": "a.json", "panoptic": "."}
    declared = {"name": "x", "task": "panoptic", "splits": {"train": split}}
    (tmp_path / "x.json").write_text(json.dumps(declared))
    with pytest.raises(ValueError, match=r"'isthing' of categories\[0\] is null; it is 0 or 1"):
        read_declaration(tmp_path / "x.json")


@pytest.mark.parametrize("key", ["segmentation", "category_id", "file_name", "id"])
def test_a_key_that_stands_twice_in_an_entry_is_refused(tmp_path, key: str) -> None:
    made = instances(tmp_path, lambda content: None)
    file = next(tmp_path.rglob("wrong.json"))
    text = file.read_text()
    file.write_text(text.replace(f'"{key}": ', f'"{key}": 7, "{key}": ', 1))
    of = "" if key == "id" else r" beside 'id': \d"
    for read in (inspect_dataset, load_dicts, InstanceEvaluator):
        with pytest.raises(
            ValueError, match=rf"wrong\.json: .*: the key '{key}' stands twice{of}$"
        ):
            read(made["name"])


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"annotations": [{"id": 1, "segmentation": {"size": [1, 1], "size": [2, 2]}}]}', "size"),
        ('{"annotations": [{"segments_info": [{"id": 1, "id": 2}], "file_name": "a:b"}]}', "id"),
        ('{"annotations": [{"attributes": {"a" : 1, "a" : 2}}]}', "a"),
        ('{"annotations": [{"note": "a: b", "id": 1, "id": 2}]}', "id"),
        ('{"images": [{"url": "http://a", "id": [{"b": 1,"b":2}]}], "annotations": []}', "b"),
        ('[[], {"a": 1, "a": 1}]', "a"),
        ('{"annotations": {"a": 1, "a": 2}}', "a"),
    ],
)
def test_a_key_that_stands_twice_is_found_anywhere(tmp_path, text: str, key: str) -> None:
    file = tmp_path / "a.json"
    for coding in ("utf-8", "utf-8-sig", "utf-16"):
        file.write_text(text, encoding=coding)
        with pytest.raises(ValueError, match=f"a.json: not a JSON file.*the key '{key}' stands tw"):
            read_json(file)
        sound = json.dumps(json.loads(text))
        file.write_text(sound, encoding=coding)
        assert read_json(file) == json.loads(text)
