"""Label maps that number objects, declared for task instance: read, trained on, scored, checked."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest
from dataset_files import H, W, unique_name, write_image, write_json, write_png
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BitMasks, Boxes, Instances

from d2seg.cli import main
from d2seg.config.loading import load_config
from d2seg.data.build import build_train_loader
from d2seg.data.datasets.declaration import read_declaration, register_declarations
from d2seg.data.datasets.object_ids import read_table
from d2seg.data.id_runs import num_parts, rles_of, split_parts
from d2seg.data.inspection.dataset import inspect_dataset
from d2seg.evaluation.instance import InstanceEvaluator

IDS = {"a": (7, 300), "b": (1, 2), "empty": ()}  # of 16 bits, with gaps
CLASSES = {("a", 7): "cat", ("a", 300): "dog", ("b", 1): "dog", ("b", 2): "cat"}


def id_map(numbers: tuple[int, ...]) -> np.ndarray:
    """(H, W) uint16: a block with a hole for each number, side by side."""
    ids = np.zeros((H, W), np.uint16)
    for place, number in enumerate(numbers):
        ids[2:9, 1 + 7 * place : 7 + 7 * place] = number
        ids[4:6, 3 + 7 * place : 5 + 7 * place] = 0
    return ids


def declare(root: Path, labels: dict[str, np.ndarray], **keys: Any) -> Path:
    """A declaration of ``labels``, by the name of their picture, and the files."""
    split = {"images": "images", "labels": "labels", **keys.pop("split", {})}
    for name, ids in labels.items():
        write_image(root / f"images/{name}.jpg", ids.shape[:2])
        write_png(root / f"labels/{name}.png", ids)
    content = {"name": unique_name(), "task": "instance", "splits": {"train": split}}
    return write_json(root / "toy.yaml", {**content, **keys})


def with_table(root: Path) -> Path:
    lines = [f"{image},{number},{name}" for (image, number), name in CLASSES.items()]
    (root / "table.csv").write_text("\n".join(["image,id,class", *lines]))
    labels = {name: id_map(numbers) for name, numbers in IDS.items()}
    return declare(root, labels, classes=["cat", "dog"], split={"table": "table.csv"})


def as_coco(root: Path, name: str) -> str:
    """The same objects in COCO's format, written by pycocotools; the name of the data set."""
    images, annotations = [], []
    for place, (stem, numbers) in enumerate(IDS.items()):
        images.append({"id": place, "file_name": f"{stem}.jpg", "height": H, "width": W})
        for number in numbers:
            rle = mask_util.encode(np.asfortranarray(id_map(numbers) == number, np.uint8))
            rle = {"size": [H, W], "counts": rle["counts"].decode()}
            category = ["cat", "dog"].index(CLASSES[stem, number]) + 1
            annotations.append({"image_id": place, "category_id": category, "segmentation": rle})
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_json(root / "coco.json", content)
    splits = {"train": {"images": "images", "annotations": "coco.json"}}
    file = write_json(root / "coco.yaml", {"name": name, "task": "instance", "splits": splits})
    return register_declarations([file])[0]


def test_every_number_becomes_its_own_mask() -> None:
    ids = np.random.default_rng(0).choice([0, 0, 0, 1, 9, 40000], (37, 23)).astype(np.int32)
    ids[-1, -1] = 9  # a run that ends with the map
    found = rles_of(ids)
    assert list(found) == [1, 9, 40000]
    for number, rle in found.items():
        np.testing.assert_array_equal(mask_util.decode(rle), ids == number)
    assert rles_of(np.zeros((3, 4), np.uint8)) == {}
    assert mask_util.decode(rles_of(np.ones((3, 4), np.uint8))[1]).all()


def test_parts_touch_at_corners_or_not_at_all() -> None:
    ids = np.zeros((5, 9), np.uint8)
    ids[0, 0] = ids[1, 1] = ids[4, 4] = 255  # two parts: the first two pixels touch
    ids[2, 8] = 7
    assert num_parts(rles_of(ids)[255]) == 2
    parts, values = split_parts(ids)
    assert sorted(values.tolist()) == [0, 7, 255, 255]
    np.testing.assert_array_equal(values[parts], ids)
    assert parts[0, 0] == parts[1, 1] != parts[4, 4]


@pytest.fixture
def both(tmp_path) -> tuple[str, str]:
    """One data set, of label maps with a table and of COCO's format."""
    [name] = register_declarations([with_table(tmp_path)])
    return name, as_coco(tmp_path, unique_name())


def predictions(size: tuple[int, int]) -> Instances:
    """A right one, a shifted one and one of the wrong class."""
    left, right = (id_map((1, 2)) == number for number in (1, 2))
    masks = np.stack([left, np.roll(right, 1, axis=1), right])
    found = Instances(size)
    found.pred_masks = BitMasks(np.ascontiguousarray(masks)).tensor
    found.pred_boxes = BitMasks(found.pred_masks).get_bounding_boxes()
    found.scores = Boxes(found.pred_boxes.tensor).area() / 100
    found.pred_classes = found.pred_boxes.tensor[:, 0].long() % 2
    return found


def test_ap_is_that_of_the_same_data_in_cocos_format(both) -> None:
    results = []
    for name in both:
        evaluator = InstanceEvaluator(name)
        evaluator.reset()
        for entry in DatasetCatalog.get(name):
            size = entry["height"], entry["width"]
            evaluator.process([entry], [{"instances": predictions(size)}])
        results.append(evaluator.evaluate())
    assert results[0]["segm"]["AP"] > 5
    assert json.dumps(results[0]) == json.dumps(results[1])


@pytest.mark.parametrize(
    "config", ["mask2former/shapes_instance_small", "pointrend/shapes_instance_small"]
)
def test_training_samples_are_those_of_cocos_format(both, config, repo_dir) -> None:
    samples = []
    for name in both:
        cfg = load_config(str(repo_dir / f"configs/{config}.yaml"))
        cfg.DATASETS.TRAIN, cfg.SOLVER.IMS_PER_BATCH, cfg.SEED = (name,), 2, 1
        cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
        samples.append(sorted(next(iter(build_train_loader(cfg))), key=lambda s: s["file_name"]))
    for ours, theirs in zip(*samples, strict=True):
        assert ours["file_name"] == theirs["file_name"]
        assert len(ours["instances"]) == 2
        for key in ("gt_classes", "gt_masks"):
            found = [sample["instances"].get(key) for sample in (ours, theirs)]
            np.testing.assert_array_equal(*(getattr(f, "tensor", f) for f in found))


def of(file: Path) -> dict[str, list[int]]:
    """The classes of the objects of each picture."""
    [name] = register_declarations([file])
    dicts = DatasetCatalog.get(name)
    return {d["image_id"]: [a["category_id"] for a in d["annotations"]] for d in dicts}


def binary(*, touching: bool = False) -> np.ndarray:
    mask = np.where(id_map((1, 2)) > 0, 255, 0).astype(np.uint8)
    mask[3, :14] = 255 if touching else mask[3, :14]
    return mask


def test_binary_masks_are_one_object_or_one_for_each_part(tmp_path) -> None:
    labels = {"a": binary(), "b": binary(touching=True)}
    assert of(declare(tmp_path, labels, classes=["cell"])) == {"a": [0], "b": [0]}
    file = declare(tmp_path, labels, classes=["cell"], objects="parts")
    assert of(file) == {"a": [0, 0], "b": [0]}


def test_values_give_classes_and_the_ignore_label_none(tmp_path) -> None:
    labels = {"a": id_map((5, 255))}
    values = {"values": {"5": "dog", "other": "cat"}, "classes": ["cat", "dog"]}
    assert of(declare(tmp_path, labels, **values)) == {"a": [1, 0]}
    assert of(declare(tmp_path, labels, **values, ignore_label=255)) == {"a": [1]}
    one = declare(tmp_path, {"a": id_map((5,))}, values={"5": "dog"})
    assert of(one) == {"a": [0]}


def test_a_part_of_the_images_is_taken(tmp_path) -> None:
    labels = {name: id_map((1,)) for name in "abcd"}
    file = declare(tmp_path, labels, classes=["x"], split={"part": [0.5, 1]})
    assert of(file) == {"c": [0], "d": [0]}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"classes": ["a", "b"]},
            r"which of the 2 classes .* 'values: \{1: cat, 2: dog\}', or 'table', a CSV file",
        ),
        ({}, "'classes' is the list of class names"),
        ({"classes": ["a"], "objects": "blobs"}, "'objects' is 'blobs'; it is ids .* or parts"),
        ({"classes": ["a"], "values": {"0": "a"}}, "'values' has the key '0'; it is an id, from 1"),
        ({"classes": ["a"], "values": {"1": "b"}}, "maps 1 to 'b', which is not among the classes"),
        ({"classes": ["a"], "values": [1]}, "'values' has the form"),
        ({"classes": ["a"], "nearest_value": True}, "'nearest_value' is for task semantic"),
        ({"classes": ["a"], "ignore_label": 0}, "ignore_label is 0; it is the value of no object"),
        ({"classes": ["a"], "ignore_label": 1, "values": {"1": "a"}}, "ignore_label 1 is listed"),
        ({"split": {"annotations": "a.json"}}, "'annotations', .* or of 'labels'.*; one of them"),
        ({"split": {"panoptic": "x"}}, "unknown path 'panoptic'; .* labels, table, list"),
    ],
)
def test_a_declaration_with_a_mistake_is_refused(tmp_path, keys, message) -> None:
    file = declare(tmp_path, {"a": id_map((1,))}, **keys)
    with pytest.raises(ValueError, match=f"toy.yaml: .*{message}"):
        read_declaration(file)


def test_annotations_and_labels_are_not_mixed(tmp_path) -> None:
    content = {"name": "x", "task": "instance", "classes": ["a"]}
    of_json = {"images": "i", "annotations": "a"}
    content["splits"] = {"t": {"images": "i", "labels": "l"}, "v": of_json}
    with pytest.raises(ValueError, match="split 'v' has 'annotations' and another one 'labels'"):
        read_declaration(write_json(tmp_path / "toy.yaml", content))
    content["splits"] = {"t": {**of_json, "table": "t"}}
    with pytest.raises(ValueError, match="'table' is for 'labels'"):
        read_declaration(write_json(tmp_path / "toy.yaml", content))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,id\na,1", r"table.csv: its first line is image,id,class"),
        ("image,id,class\na,1,cow", r"table.csv, line 2: the class 'cow' is not among .*cat, dog"),
        ("image,id,class\na,0,cat", r"line 2: the id is '0'; it is a whole number from 1 on"),
        ("image,id,class\na,1e3,cat", r"line 2: the id is '1e3'"),
        ("image,id,class\na,7", r"line 2: it has 2 values, not 3"),
        ("image,id,class\na,7,cat\na,7,dog", r"line 3: the id 7 of a has two classes"),
        ("image,id,class\na,7,cat", r"labels/a.png: ids without a class: 300 \(38 pixels\)"),
        ("image,id,class\na,9,cat", r"a.png: ids without a class: 7 \(38 pixels\), 300"),
    ],
)
def test_a_table_with_a_mistake_is_refused(tmp_path, table, message) -> None:
    file = with_table(tmp_path)
    (tmp_path / "table.csv").write_text(table)
    [name] = register_declarations([file])
    with pytest.raises(ValueError, match=message):
        DatasetCatalog.get(name)


def test_a_table_that_has_no_end_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be read: /dev/zero: it is no regular file"):
        read_table("/dev/zero", ["cat"])


def test_the_checker_lists_what_is_wrong_and_goes_on(tmp_path) -> None:
    labels = {"a": id_map((7, 300)), "b": id_map((1,)), "c": id_map((1, 2))[:5], "d": id_map(())}
    file = declare(tmp_path, labels, values={"1": "x", "2": "x", "7": "x"})
    write_image(tmp_path / "images/c.jpg")
    (tmp_path / "labels/b.png").write_bytes((tmp_path / "labels/b.png").read_bytes()[:60])
    write_image(tmp_path / "images/alone.jpg")
    [name] = register_declarations([file])
    report = inspect_dataset(name)
    found = {(p.kind, Path(p.file).name) for p in report.problems}
    assert found == {
        ("id without a class", "a.png"),
        ("unreadable label map", ""),
        ("annotation and image differ in size", "c.png"),
        ("image without label map", "alone.jpg"),
    }
    assert report.counts["instance"].instances[0] == 3
    with pytest.raises(ValueError, match="ids without a class: 300"):
        DatasetCatalog.get(name)


def test_the_checker_tells_of_several_parts_and_of_borders(tmp_path) -> None:
    file = declare(tmp_path, {"a": binary(), "b": id_map((1, 255)).astype(np.uint8)}, classes=["x"])
    report = inspect_dataset(*register_declarations([file]))
    assert not report.problems
    assert len(report.hints) == 2
    assert report.hints[0].startswith("1 ids in 1 label maps have several parts, as id 255 of ")
    assert "declare ignore_label: 255" in report.hints[1]
    sound = declare(tmp_path, {"a": id_map((1, 40000)), "b": id_map(())}, classes=["x"])
    [name] = register_declarations([sound])
    assert inspect_dataset(name).hints == []
    assert MetadataCatalog.get(name).thing_classes == ["x"]


def test_colours_are_no_ids(tmp_path) -> None:
    file = declare(tmp_path, {"a": np.zeros((H, W, 3), np.uint8)}, classes=["x"])
    [name] = register_declarations([file])
    with pytest.raises(ValueError, match="needs one channel of class ids"):
        DatasetCatalog.get(name)


def test_the_example_of_the_guide(repo_dir, tmp_path, monkeypatch, capsys) -> None:
    section = (repo_dir / "docs/own_data.md").read_text().split("### Instances as label maps")[1]
    for split in ("train", "val"):
        write_image(tmp_path / f"nuclei/images/{split}/a.jpg")
        write_png(tmp_path / f"nuclei/ids/{split}/a.png", id_map((7, 300)))
    (tmp_path / "nuclei.yaml").write_text(re.search(r"```yaml\n(.*?)```", section, re.DOTALL)[1])
    monkeypatch.chdir(tmp_path)
    assert main(["check", "nuclei.yaml"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"nucleus +1 +2 +76 ", out)
    assert out.count("format of the masks: 2 RLE") == 2
