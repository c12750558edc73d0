"""JSON files of annotations as files: compressed ones, and keys that stand twice."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable

import pytest
from coco_cases import instances

from d2seg.data.dicts import load_dicts
from d2seg.data.inspection.dataset import inspect_dataset
from d2seg.data.json_files import read_json
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
