"""Referring data sets: files and entries that cannot be used."""

import os
import pickle
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
import pytest
from dataset_files import H, W, annotation
from referring_files import coco, own, ref, source, write_referring

from d2seg.data.referring.reading import ReferringSource


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"segmentation": {"size": [W, H], "counts": [0, H * W]}}, "unusable mask"),
        ({"segmentation": [[1, 2, 1e12, 4, 5, 6]]}, "unusable mask"),
        ({"segmentation": []}, "unusable mask"),
        ({"height": 0}, "unusable image entry"),
        ({"width": None}, "unusable image entry"),
        ({"height": 10**6, "width": 10**6}, "unusable image entry"),
    ],
)
def test_masks_and_images_that_cannot_be(change: dict, kind: str, tmp_path: Path) -> None:
    content = coco()
    changed = content["annotations" if "segmentation" in change else "images"][0]
    changed.update(change)
    toy = source(tmp_path, [ref(1, 0, 1, "bad"), ref(2, 1, 3, "fine")], content=content)
    dicts, [problem] = toy.read()
    assert [entry["image_id"] for entry in dicts] == [1]
    assert problem.kind == kind


def test_a_mask_that_is_a_pixel_narrower_is_continued(tmp_path: Path) -> None:
    content = coco()
    content["annotations"][1]["segmentation"] = {
        "size": [H, W - 1],
        "counts": [0, 2 * H, (W - 3) * H],
    }
    [entry] = source(tmp_path, [ref(1, 0, 2, "bar")], content=content)()
    mask = mask_util.decode(entry["expressions"][0]["segmentation"])
    assert mask.shape == (H, W)
    assert np.flatnonzero(mask.any(axis=0)).tolist() == [0, 1]


def test_numbers_of_sentences_that_are_not_unique_are_replaced(tmp_path: Path) -> None:
    refs = [ref(1, 0, 1, "a", "b"), ref(1, 1, 3, "c")]
    dicts = source(tmp_path, refs)()
    assert [e["id"] for entry in dicts for e in entry["expressions"]] == [0, 1, 2]


class Runs:
    def __reduce__(self) -> tuple:
        return os.system, ("touch made_by_a_pickle",)


BROKEN = {
    "a pickle that runs something": (pickle.dumps([Runs()]), r"names (posix|nt)\.system.*refused"),
    "a cut pickle": (pickle.dumps([{"a": 1}])[:-5], "damaged pickle"),
    "no pickle": (b"<html>", "damaged pickle"),
    "no list": (pickle.dumps({"a": 1}), "expressions are a list of"),
    "nothing": (pickle.dumps([]), "is empty"),
    "a list of lists": (pickle.dumps([[]]), "expressions are a list of"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_are_none_of_expressions(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    data, message = BROKEN[name]
    with pytest.raises(ValueError, match=message) as caught:
        source(tmp_path, data)()
    assert "refs(unc).p" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "made_by_a_pickle").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": None}, "'image_id' is missing, or no number"),
        ({"image_id": [1]}, "'image_id' is missing"),
        ({"annotation_id": [1, None]}, ".* is neither a number, a list of numbers nor null"),
        ({"annotation_id": 1.5}, ".* is neither a number"),
        ({"sentences": []}, "'sentences' is a list of at least one"),
        ({"sentences": "dog"}, "'sentences' is a list"),
        ({"sentences": [5]}, "one of 'sentences' is no text"),
        ({"annotation_id": ...}, "'annotation_id' is missing; null stands for"),
    ],
)
def test_entries_of_another_form(change: dict, message: str, tmp_path: Path) -> None:
    entry = {k: v for k, v in {**own(0, 1, "fine"), **change}.items() if v is not ...}
    with pytest.raises(ValueError, match=r"own\.json, entry 1: " + message):
        source(tmp_path, [own(0, 1, "fine"), entry], "own.json")()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("expressions", None, "the expressions cannot be read"),
        ("annotations", None, "the annotations cannot be read"),
        ("expressions", b"[{", "not a JSON file"),
        ("expressions", b"[" * 100_000, "not a JSON file"),
        ("annotations", b"\xff{", "not a JSON file in COCO's format"),
        ("annotations", b"[]", "'images' is no list of entries"),
        ("annotations", b'{"images": [], "annotations": [1]}', "'annotations' is no list"),
    ],
)
def test_files_that_cannot_be_read(
    file: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    paths = write_referring(tmp_path, [own(0, 1, "fine")])
    Path(paths[file]).unlink()
    if content is not None:
        Path(paths[file]).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        ReferringSource("toy", **paths, split="train")()
    assert "\n" not in str(caught.value)


def test_strange_ids_in_the_annotations_are_left_aside(tmp_path: Path) -> None:
    content = coco()
    content["images"].append({"id": [1]})
    content["annotations"].append(annotation(id={}))
    [entry] = source(tmp_path, [ref(1, 0, 1, "fine")], content=content)()
    assert len(entry["expressions"]) == 1
