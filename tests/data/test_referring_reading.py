"""Referring data sets: authors' and own layouts, splits, and what cannot be used."""

import json
import logging
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
import pytest
from dataset_files import H, W, unique_name
from detectron2.data import DatasetCatalog, MetadataCatalog
from referring_files import BAR, SQUARE, own, ref, source, write_referring

from d2seg.data.catalog import check_files, kind_of, metadata_of
from d2seg.data.datasets import register_dataset
from d2seg.data.datasets.declaration import register_declarations
from d2seg.data.referring.reading import ReferringSource
from d2seg.data.referring.references import read_references

NAMES = {
    **dict.fromkeys(["refcoco_unc", "refcocoplus_unc", "grefcoco_unc"], "train val testA testB"),
    "refcocog_umd": "train val test",
    "refcocog_google": "train val",
    "referit_berkeley": "train val test",
    "referit_unc": "train val testA testB testC",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_published_data_sets_are_registered(name: str) -> None:
    for split in NAMES[name].split():
        metadata = metadata_of(f"{name}_{split}")
        assert kind_of(metadata) == "referring"
        assert isinstance(DatasetCatalog[f"{name}_{split}"], ReferringSource)
        assert DatasetCatalog[f"{name}_{split}"].split == split
        with pytest.raises(ValueError, match=r"there is no .*refer.*see docs/datasets\.md"):
            check_files([f"{name}_{split}"])


def test_a_split_that_is_not_registered_names_those_that_are() -> None:
    message = "'refcoco_unc_test'; refcoco_unc has the splits train, val, testA, testB"
    with pytest.raises(ValueError, match=message):
        metadata_of("refcoco_unc_test")
    with pytest.raises(
        ValueError, match="'refcocog_google_test'; refcocog_google has the splits train, val "
    ):
        metadata_of("refcocog_google_test")


def test_refs_in_the_authors_layout(tmp_path: Path) -> None:
    refs = [
        ref(1, 0, 2, "the bar", "left stripe"),
        ref(2, 1, 3, "square"),
        ref(3, 0, 1, "the square"),
        ref(4, 0, 1, "of another split", split="val"),
    ]
    dicts = source(tmp_path, refs)()
    bar = {"size": [H, W], "counts": mask_util.frPyObjects(BAR, H, W)["counts"].decode()}
    common = {"height": H, "width": W}
    # file names are those of instances.json: the references' carry the annotation's number
    assert dicts == [
        {
            **common,
            "file_name": str(tmp_path / "images" / "000.jpg"),
            "image_id": 0,
            "expressions": [
                {"id": 10, "sentence": "the bar", "annotation_id": 2, "segmentation": bar},
                {"id": 11, "sentence": "left stripe", "annotation_id": 2, "segmentation": bar},
                {"id": 30, "sentence": "the square", "annotation_id": 1, "segmentation": SQUARE},
            ],
        },
        {
            **common,
            "file_name": str(tmp_path / "images" / "001.jpg"),
            "image_id": 1,
            "expressions": [
                {"id": 20, "sentence": "square", "annotation_id": 3, "segmentation": SQUARE}
            ],
        },
    ]
    [only] = source(tmp_path, refs, split="val")()
    assert [e["id"] for e in only["expressions"]] == [40]


def test_refs_pickled_by_python_2(tmp_path: Path) -> None:
    data = (
        b"(lp0\n(dp1\nS'ann_id'\np2\nL2L\nsS'image_id'\np3\nI0\nsS'split'\np4\nS'train'\np5\nsS'sentences'"
        b"\np6\n(lp7\n(dp8\nS'sent_id'\np9\nI4\nsS'sent'\np10\nS\"the bar's\"\np11\nsasS'file_name'\np12\n"
        b"S'COCO_train2014_000000000000_2.jpg'\np13\nsa."
    )
    [entry] = source(tmp_path, data)()
    [expression] = entry["expressions"]
    assert (expression["id"], expression["sentence"]) == (4, "the bar's")


def test_several_targets_and_none_as_in_grefcoco(tmp_path: Path) -> None:
    refs = [
        ref(1, 0, [1, 2], "both", no_target=False),
        ref(2, 0, [-1], "a unicorn", no_target=True),
        ref(3, 0, [], "a dragon"),
        ref(4, 0, [2], "bar"),
    ]
    [entry] = source(tmp_path, refs, "grefs(unc).json")()
    both, unicorn, dragon, bar = entry["expressions"]
    assert both["annotation_id"] == [1, 2]
    mask = mask_util.decode(both["segmentation"])
    expected = np.zeros((H, W), np.uint8)
    expected[2:6, 3:8] = expected[:, :2] = 1
    assert np.array_equal(mask, expected)
    for nothing in (unicorn, dragon):
        assert nothing["annotation_id"] is None
        assert nothing["segmentation"] is None
    assert bar["annotation_id"] == 2


def test_referits_tests_may_be_of_two_splits(tmp_path: Path) -> None:
    refs = [
        ref(i, 0, 1, f"x{i}", split=s) for i, s in enumerate(["testA", "testBC", "testAB", "val"])
    ]
    for split, ids in {"testA": [0, 20], "testB": [10, 20], "testC": [10], "val": [30]}.items():
        [entry] = source(tmp_path, refs, split=split)()
        assert [e["id"] for e in entry["expressions"]] == ids


@pytest.mark.parametrize("split", ["test", "testC", "vall"])
def test_a_split_that_the_file_lacks_names_those_that_it_has(tmp_path: Path, split: str) -> None:
    refs = [ref(i, 0, 1, "x", split=s) for i, s in enumerate(["train", "val", "testA", "testB"])]
    message = rf"refs\(unc\)\.p has no split '{split}'; it has train, val, testA, testB"
    with pytest.raises(ValueError, match=message):
        source(tmp_path, refs, split=split)()


FAULTS = {
    "expression without its image": ref(5, 77, 1, "gone", "also gone"),
    "expression without its annotation": ref(5, 0, 99, "gone"),
    "annotation of another image": ref(5, 0, 3, "elsewhere"),
    "empty expression": ref(5, 0, 1, " . "),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_what_is_missing_is_left_out_counted_and_named(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    toy = source(tmp_path, [ref(1, 0, 1, "fine"), FAULTS[kind], FAULTS[kind]])
    with caplog.at_level(logging.WARNING):
        [entry] = toy()
    assert [e["sentence"] for e in entry["expressions"]] == ["fine"]
    [record] = caplog.records
    assert (
        f"toy_train: 2 entries of the expressions are left out: {kind}, the first: "
        in record.message
    )
    assert "refs(unc).p, entry 1" in record.message
    assert "\n" not in record.message
    dicts, problems = toy.read()
    assert len(dicts) == 1
    assert [problem.kind for problem in problems] == [kind, kind]


def test_details_name_image_and_annotation(tmp_path: Path) -> None:
    _, problems = source(tmp_path, list(FAULTS.values())).read()
    details = " | ".join(problem.detail for problem in problems)
    assert "image 77 is not in" in details
    assert "('gone' and 1 more)" in details
    assert "annotation 99 is not in" in details
    assert "annotation 3 is of image 1, not of 0" in details


def test_an_image_file_that_is_missing(tmp_path: Path) -> None:
    toy = source(tmp_path, [ref(1, 0, 1, "fine"), ref(2, 1, 3, "no file")])
    (tmp_path / "images" / "001.jpg").unlink()
    dicts, [problem] = toy.read()
    assert [entry["image_id"] for entry in dicts] == [0]
    assert problem.kind == "missing image"
    assert "001.jpg" in problem.detail


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="'toy_train' has no expression that can be used, the first"
    ):
        source(tmp_path, [FAULTS["expression without its annotation"]])()


def test_own_data_through_a_declaration(tmp_path: Path) -> None:
    expressions = [own(0, 1, "the square", "it"), own(0, [1, 2], "all"), own(1, None, "nothing")]
    write_referring(tmp_path, expressions)
    name = unique_name()
    paths = {"images": "images", "annotations": "instances.json", "expressions": "expressions.json"}
    declaration = tmp_path / "own.json"
    declaration.write_text(
        json.dumps({"name": name, "task": "referring", "splits": {"train": paths}})
    )
    assert register_declarations([declaration]) == [f"{name}_train"]
    check_files([f"{name}_train"])
    first, second = DatasetCatalog.get(f"{name}_train")
    assert [e["sentence"] for e in first["expressions"]] == ["the square", "it", "all"]
    assert [e["id"] for e in first["expressions"]] == [0, 1, 2]
    assert first["expressions"][2]["annotation_id"] == [1, 2]
    assert second["expressions"][0]["segmentation"] is None
    (tmp_path / "expressions.json").unlink()
    with pytest.raises(ValueError, match=r"there is no .*expressions\.json; correct .*own\.json"):
        check_files([f"{name}_train"])


def test_a_declaration_may_name_the_authors_file(tmp_path: Path) -> None:
    refs = [ref(1, 0, 1, "a"), ref(2, 1, 3, "b", split="val")]
    paths = write_referring(tmp_path, refs, "refs(unc).p")
    name = unique_name()
    splits = {"train": paths, "val": paths}
    declaration = tmp_path / "own.json"
    declaration.write_text(json.dumps({"name": name, "task": "referring", "splits": splits}))
    names = register_declarations([declaration])
    assert [DatasetCatalog.get(n)[0]["expressions"][0]["sentence"] for n in names] == ["a", "b"]


def test_a_declaration_with_mistakes(tmp_path: Path) -> None:
    declaration = tmp_path / "own.json"
    for splits, more, message in (
        ({"train": {"images": "a", "annotations": "b"}}, {}, "needs the path of 'expressions'"),
        (
            {"train": {"images": "a", "annotations": "b", "expressions": "c", "labels": "d"}},
            {},
            "unknown path 'labels'; task referring has images, annotations, expressions",
        ),
        (
            {"train": {"images": "a", "annotations": "b", "expressions": "c"}},
            {"classes": ["a"]},
            "own.json: 'classes' is for task semantic; task referring has none",
        ),
    ):
        content = {"name": "x", "task": "referring", "splits": splits, **more}
        declaration.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=message):
            register_declarations([declaration])


def test_registering_in_python(tmp_path: Path) -> None:
    name = unique_name()
    register_dataset(name, "referring", write_referring(tmp_path, [own(0, 1, "x")]), [])
    assert MetadataCatalog.get(name).evaluator_type == "referring"
    assert len(DatasetCatalog.get(name)) == 1


def test_the_real_refcocog(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "refer"
    paths = {
        "images": str(folder / "images/mscoco/images/train2014"),
        "annotations": str(folder / "refcocog/instances.json"),
        "expressions": str(folder / "refcocog/refs(google).p"),
    }
    found = {}
    for split in ("train", "val"):
        dicts, problems = ReferringSource("real", **paths, split=split).read()
        assert problems == []
        found[split] = sum(len(entry["expressions"]) for entry in dicts)
        sizes = {entry["image_id"]: (entry["height"], entry["width"]) for entry in dicts}
        assert len(sizes) == len(dicts)
    assert found == {"train": 6, "val": 3}
    content = json.loads(Path(paths["annotations"]).read_bytes())
    boxes = {annotation["id"]: annotation["bbox"] for annotation in content["annotations"]}
    for entry in dicts:
        for expression in entry["expressions"]:
            size = entry["height"], entry["width"]
            rle = mask_util.merge(mask_util.frPyObjects(expression["segmentation"], *size))
            box = boxes[expression["annotation_id"]]
            assert mask_util.toBbox(rle) == pytest.approx(np.array(box), abs=1.5)
    with pytest.raises(
        ValueError, match=r"refs\(google\)\.p has no split 'test'; it has val, train"
    ):
        read_references(paths["expressions"], "test")
