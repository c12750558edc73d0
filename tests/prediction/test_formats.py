"""The files that each format is made of."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw
from pycocotools.coco import COCO
from toy_pictures import toy_metadata, toy_predictor, write_pictures

from d2seg.data.label_maps import read_id_map, read_labels
from d2seg.prediction.folders.parts import Record
from d2seg.prediction.formats import FORMATS
from d2seg.prediction.formats.common import Run
from d2seg.prediction.formats.polygons import polygon_of


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures") / "in", 3)


def make_run(pictures: Path, task: str) -> Run:
    """Of the toy model, whose instances and things are classes 0 and 1 alone."""
    paths = sorted(pictures.iterdir())
    rows = [{"id": int(p.stem), "name": p.name, "stem": p.stem, "path": str(p)} for p in paths]
    records = []
    for row in toy_predictor(task)(rows):
        result = json.loads(row["result"])
        if task == "instance":
            result["instances"] = [r for r in result["instances"] if r["category_id"] < 2]
        kept = {key: row[key] for key in ("id", "name", "stem", "height", "width", "png")}
        records.append(Record(**kept, result=result))
    return Run(task, lambda: iter(records), toy_metadata(), str(pictures))


def labels_of(pictures: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(pictures / name))[..., 0] // 64


class TestCoco:
    @pytest.mark.parametrize("task", ["instance", "panoptic", "semantic"])
    def test_pycocotools_reads_both_files(self, pictures: Path, tmp_path: Path, task: str) -> None:
        assert all(
            path.is_file() for path in FORMATS["coco"].write(tmp_path, make_run(pictures, task))
        )
        truth = COCO(str(tmp_path / "coco.json"))
        assert {image["file_name"] for image in truth.loadImgs(truth.getImgIds())} == {
            "0001.png",
            "0002.png",
            "0003.png",
        }
        numbers = {11, 12} if task == "instance" else {11, 12, 13, 14}
        assert set(truth.getCatIds()) == numbers
        results = json.loads((tmp_path / "coco_results.json").read_text())
        assert len(results) == len(truth.anns) > 3
        for annotation in truth.anns.values():
            image = truth.imgs[annotation["image_id"]]
            labels = labels_of(pictures, image["file_name"])
            mask = truth.annToMask(annotation).astype(bool)
            assert (mask == (labels == annotation["category_id"] - 11)).all()
            assert annotation["area"] == mask.sum()
            assert annotation["iscrowd"] == 0
        if task == "instance":
            assert len(truth.loadRes(str(tmp_path / "coco_results.json")).anns) == len(results)

    def test_nothing_found(self, tmp_path: Path) -> None:
        empty = Record(1, "a.png", "a", 4, 4, {"instances": []}, b"")
        for records in ([], [empty]):
            run = Run("instance", lambda records=records: iter(records), toy_metadata(), "")
            FORMATS["coco"].write(tmp_path, run)
            assert json.loads((tmp_path / "coco_results.json").read_text()) == []
            assert len(json.loads((tmp_path / "coco.json").read_text())["images"]) == len(records)

    def test_masks_without_a_pixel_are_results_and_no_annotations(self, tmp_path: Path) -> None:
        found = {"category_id": 1, "score": 0.5, "bbox": [0.0, 0.0, 2.0, 3.0]}
        nothing = {"segmentation": {"size": [4, 4], "counts": "@"}}
        record = Record(1, "a.png", "a", 4, 4, {"instances": [found | nothing, found]}, b"")
        FORMATS["coco"].write(tmp_path, Run("instance", lambda: iter([record]), toy_metadata(), ""))
        assert len(json.loads((tmp_path / "coco_results.json").read_text())) == 2
        (box,) = json.loads((tmp_path / "coco.json").read_text())["annotations"]
        assert (box["area"], box["category_id"], "segmentation" in box) == (6.0, 12, False)


def test_panoptic(pictures: Path, tmp_path: Path) -> None:
    FORMATS["panoptic"].write(tmp_path, make_run(pictures, "panoptic"))
    content = json.loads((tmp_path / "panoptic.json").read_text())
    assert [c["isthing"] for c in content["categories"]] == [1, 1, 0, 0]
    assert [c["name"] for c in content["categories"]] == ["cat", "dog", "sky, heaven", "sea"]
    assert [image["id"] for image in content["images"]] == [1, 2, 3]
    for annotation in content["annotations"]:
        ids = read_id_map(str(tmp_path / "panoptic" / annotation["file_name"]))
        labels = labels_of(pictures, annotation["file_name"])
        for segment in annotation["segments_info"]:
            mask = ids == segment["id"]
            assert (mask == (labels == segment["category_id"] - 11)).all()
            assert (segment["area"], segment["iscrowd"]) == (mask.sum(), 0)
            assert "isthing" not in segment


def test_masks(pictures: Path, tmp_path: Path) -> None:
    FORMATS["masks"].write(tmp_path, make_run(pictures, "semantic"))
    assert json.loads((tmp_path / "classes.json").read_text())[3] == "sea"
    for path in (tmp_path / "masks").iterdir():
        assert (read_labels(path) == labels_of(pictures, path.name)).all()


@pytest.mark.parametrize("task", ["instance", "panoptic", "semantic"])
def test_labelme(pictures: Path, tmp_path: Path, task: str) -> None:
    FORMATS["labelme"].write(tmp_path, make_run(pictures, task))
    for path in (tmp_path / "labelme").iterdir():
        content = json.loads(path.read_text())
        picture = (path.parent / content["imagePath"]).resolve()
        labels = labels_of(pictures, picture.name)
        assert (content["imageHeight"], content["imageWidth"]) == labels.shape
        names = ["cat", "dog", "sky", "sea"]
        assert content["shapes"]
        for shape in content["shapes"]:
            drawn = Image.new("1", labels.shape[::-1])
            points = [tuple(point) for point in shape["points"]]
            ImageDraw.Draw(drawn).polygon(points, fill=1, outline=1)
            want = labels == names.index(shape["label"])
            both = (np.asarray(drawn) & want).sum()
            assert both / (np.asarray(drawn) | want).sum() > 0.7


def test_yolo(pictures: Path, tmp_path: Path) -> None:
    FORMATS["yolo"].write(tmp_path, make_run(pictures, "semantic"))
    content = yaml.safe_load((tmp_path / "yolo/data.yaml").read_text())
    assert content["names"] == {0: "cat", 1: "dog", 2: "sky, heaven", 3: "sea"}
    for path in (tmp_path / "yolo/labels").iterdir():
        labels = labels_of(pictures, f"{path.stem}.png")
        lines = path.read_text().splitlines()
        assert len(lines) == len(np.unique(labels))
        for line in lines:
            number, *values = line.split()
            points = np.array(values, float).reshape(-1, 2) * labels.shape[::-1]
            assert points.min() > 0
            drawn = np.zeros(labels.shape, np.uint8)
            cv2.fillPoly(drawn, [np.floor(points).astype(np.int32)], 1)
            assert (drawn.astype(bool) == (labels == int(number))).mean() > 0.95


def test_boxes_alone(tmp_path: Path) -> None:
    found = {"category_id": 1, "score": 0.5, "bbox": [2.0, 1.0, 4.0, 2.0]}
    record = Record(1, "sub/a.png", "sub/a", 8, 16, {"instances": [found]}, b"")
    run = Run("instance", lambda: iter([record]), toy_metadata(), "")
    FORMATS["yolo"].write(tmp_path, run)
    line = (tmp_path / "yolo/labels/sub/a.txt").read_text()
    assert line == "1 0.250000 0.250000 0.250000 0.250000\n"
    FORMATS["labelme"].write(tmp_path, run)
    content = json.loads((tmp_path / "labelme/sub/a.json").read_text())
    (shape,) = content["shapes"]
    assert (shape["shape_type"], shape["points"]) == ("rectangle", [[2, 1], [6, 3]])
    assert content["imagePath"] == "sub/a.png"


class TestPolygon:
    def filled(self, mask: np.ndarray) -> np.ndarray:
        drawn = np.zeros(mask.shape, np.uint8)
        points = np.floor(polygon_of(mask)).astype(np.int32)
        if len(points):
            cv2.fillPoly(drawn, [points], 1)
        return drawn

    def test_one_part_comes_back(self) -> None:
        mask = np.zeros((20, 30), np.uint8)
        cv2.circle(mask, (12, 9), 6, 1, -1)
        assert (self.filled(mask) == mask).all()
        assert not len(polygon_of(np.zeros((4, 4), np.uint8)))
        assert polygon_of(np.ones((1, 1), np.uint8)).tolist() == [[0.5, 0.5]]

    def test_parts_and_holes_are_kept_but_for_bridges(self) -> None:
        mask = np.zeros((40, 60), np.uint8)
        mask[5:25, 5:25] = 1
        mask[10:20, 10:20] = 0  # a hole
        mask[13:16, 13:16] = 1  # an island in it
        mask[30:38, 40:55] = 1  # another part
        drawn = self.filled(mask)
        assert (drawn != mask).sum() < 40  # lines one pixel wide
        assert drawn[mask == 1].all()
        assert not drawn[11, 18]
        assert drawn[14, 14]
        assert drawn[34, 47]
