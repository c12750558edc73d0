"""Annotations of other tools become the data set that they were written from."""

import base64
import json
import re
import shlex
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from foreign_files import WRITERS, Annotated, toy_pictures, write_labelme, write_voc

from d2seg.cli import main
from d2seg.data.datasets.declaration import register_declarations
from d2seg.data.foreign.outlines import segmentation_of
from d2seg.data.inspection.dataset import inspect_dataset
from d2seg.data.label_maps import read_labels
from d2seg.data.segmentations import sound_segmentation, to_rle
from d2seg.data.shapes.generate import ensure_shapes
from d2seg.prediction.formats.polygons import polygon_of

NUM_PICTURES = 50


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> tuple[list[Annotated], list[str]]:
    """Pictures of "shapes", and the classes."""
    folder = tmp_path_factory.mktemp("shapes") / "shapes"
    ensure_shapes(folder, {"train": NUM_PICTURES})
    content = json.loads((folder / "instances_train.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    pictures = []
    for image in content["images"]:
        size = image["height"], image["width"]
        objects = [
            (names[a["category_id"]], mask_of(a["segmentation"], size))
            for a in content["annotations"]
            if a["image_id"] == image["id"]
        ]
        taken = np.zeros(size, bool)  # polygons of neighbours share pixels, label maps cannot
        apart = []
        for name, mask in objects:
            apart.append((name, mask & ~taken))
            taken |= mask
        pictures.append(Annotated(folder / "images_train" / image["file_name"], size, apart))
    return pictures, sorted(names.values())


def mask_of(segmentation: object, size: tuple[int, int]) -> np.ndarray:
    return mask_util.decode(to_rle(sound_segmentation(segmentation, size), size)).astype(bool)


def convert(source: Path, output: Path, *arguments: str) -> list[dict]:
    """The dicts of the split "train" of what is made of ``source``."""
    assert main(["convert-data", str(source), str(output), *arguments]) == 0
    names = register_declarations(list(output.glob("*.yaml")))
    return DatasetCatalog.get(names[0])


@pytest.mark.parametrize("form", WRITERS)
def test_fifty_pictures_are_what_they_were(shapes, form, tmp_path) -> None:
    pictures, classes = shapes
    source = WRITERS[form](tmp_path, pictures, classes)
    dicts = convert(source, tmp_path / f"round_{form}")
    found_classes = MetadataCatalog.get(f"round_{form}_train").thing_classes
    assert found_classes == classes
    assert [Path(d["file_name"]).name for d in dicts] == [p.file.name for p in pictures]
    counts, expected, ious = Counter(), Counter(), []
    for entry, picture in zip(dicts, pictures, strict=True):
        expected.update(name for name, _ in picture.objects)
        counts.update(found_classes[a["category_id"]] for a in entry["annotations"])
        masks = [mask_of(a["segmentation"], picture.size) for a in entry["annotations"]]
        for _, mask in picture.objects:
            ious.append(max((mask & m).sum() / (mask | m).sum() for m in masks))
    assert counts == expected
    assert sum(expected.values()) > 100
    assert min(ious) >= 0.99


def test_semantic_label_maps_are_what_they_were(tmp_path) -> None:
    pictures = toy_pictures(tmp_path / "pictures")
    for form in WRITERS:
        source = WRITERS[form](tmp_path, pictures, ["circle", "square"])
        dicts = convert(source, tmp_path / f"sem_{form}", "--task", "semantic")
        assert MetadataCatalog.get(f"sem_{form}_train").stuff_classes == [
            "background",
            "circle",
            "square",
        ]
        for entry, picture in zip(dicts, pictures, strict=True):
            expected = np.zeros(picture.size, int)
            for name, mask in picture.objects:
                expected[mask] = ["circle", "square"].index(name) + 1
            labels = read_labels(entry["sem_seg_file_name"])
            if form == "voc":
                assert (labels == 255).sum() > 10
                labels = np.where(labels == 255, 0, labels)
            assert (labels != expected).sum() <= 0.01 * (expected > 0).sum(), form


@pytest.mark.parametrize("form", WRITERS)
def test_the_checker_reads_folders(form, tmp_path, capsys) -> None:
    source = WRITERS[form](tmp_path, toy_pictures(tmp_path / "p"), ["circle", "square", "unused"])
    assert main(["check", str(source)]) == 0
    out = capsys.readouterr().out
    assert "no problems found" in out
    assert "1 of 3 classes never appear: unused" in out
    assert f"train with it after: d2seg convert-data {source} OUT" in out
    assert not list(tmp_path.glob("d2seg_check_*"))


def test_the_checker_reads_voc_without_objects(tmp_path, capsys) -> None:
    source = WRITERS["voc"](tmp_path, toy_pictures(tmp_path / "p"), ["circle", "square"])
    shutil.rmtree(source / "SegmentationObject")
    assert main(["check", str(source)]) == 0
    assert "background" in capsys.readouterr().out
    [entry, _] = convert(source, tmp_path / "out")
    assert "sem_seg_file_name" in entry


def test_some_pictures_become_those_of_the_evaluation(tmp_path, capsys) -> None:
    source = WRITERS["labelme"](tmp_path, toy_pictures(tmp_path / "p"), ["circle", "square"])
    convert(source, tmp_path / "parts", "--val", "0.5", "--name", "halves")
    assert [len(DatasetCatalog.get(f"halves_{split}")) for split in ("train", "val")] == [1, 1]
    assert "1 pictures of train, 1 pictures of val, 2 classes, 3 masks" in capsys.readouterr().out
    assert inspect_dataset("halves_train").problems == []


def test_pictures_may_be_elsewhere(tmp_path) -> None:
    """As those of ``d2seg predict``, whose files name them by ``../``."""
    pictures = toy_pictures(tmp_path / "p")
    for form in ("labelme", "yolo", "voc", "supervisely"):
        source = WRITERS[form](tmp_path, pictures, ["circle", "square"])
        for picture in pictures:
            copies = source.rglob(picture.file.name)
            next(c for c in copies if not c.parent.name.startswith("Segmentation")).unlink()
        file = source / "a.json"
        if form == "labelme":
            content = json.loads(file.read_text())
            file.write_text(json.dumps({**content, "imagePath": "..\\p\\a.png"}))
        if form == "yolo":
            for label in (source / "labels/train").iterdir():
                label.rename(source / "labels" / label.name)
            text = (source / "data.yaml").read_text()
            text = text.replace("path: .", f"path: {tmp_path / 'p'}").replace("images/train", ".")
            (source / "data.yaml").write_text(text)
        assert main(["check", str(source)]) == 1
        assert main(["check", str(source), "--images", str(tmp_path / "p")]) == 0
        dicts = convert(source, tmp_path / f"else_{form}", "--images", str(tmp_path / "p"))
        assert [Path(d["file_name"]).name for d in dicts] == ["a.png", "b.png"]
        assert [len(d["annotations"]) for d in dicts] == [2, 1]


def test_an_embedded_picture_is_taken_out(tmp_path) -> None:
    source = WRITERS["labelme"](tmp_path, toy_pictures(tmp_path / "p"), ["circle", "square"])
    data = (source / "a.png").read_bytes()
    (source / "a.png").unlink()
    content = json.loads((source / "a.json").read_text())
    content["imageData"] = base64.b64encode(data).decode()
    (source / "a.json").write_text(json.dumps(content))
    [entry, _] = convert(source, tmp_path / "embedded")
    assert Path(entry["file_name"]).read_bytes() == data


def test_boxes_are_left_out_or_taken_as_rectangles(tmp_path, capsys) -> None:
    pictures = toy_pictures(tmp_path / "p")
    for form in ("labelme", "yolo", "cvat", "supervisely"):
        source = WRITERS[form](tmp_path, pictures, ["circle", "square"])
        add_box(source, form)
        capsys.readouterr()
        [plain, _] = convert(source, tmp_path / f"plain_{form}")
        assert "1 boxes are no masks and left out; --boxes" in capsys.readouterr().out
        [boxed, _] = convert(source, tmp_path / f"boxed_{form}", "--boxes")
        assert (len(plain["annotations"]), len(boxed["annotations"])) == (2, 3)
        box = mask_of(boxed["annotations"][-1]["segmentation"], (30, 40))
        assert box[2:8, 1:9].all(), form
        assert abs(box.sum() - 6 * 8) <= 15, form


def add_box(source: Path, form: str) -> None:
    """x 1 to 9, y 2 to 8, in the picture a."""
    if form == "labelme":
        content = json.loads((source / "a.json").read_text())
        box = {"label": "circle", "points": [[9, 8], [1, 2]], "shape_type": "rectangle"}
        content["shapes"].append(box)
        (source / "a.json").write_text(json.dumps(content))
    elif form == "yolo":
        with open(source / "labels/train/a.txt", "a") as file:
            file.write(f"0 {5 / 40} {5 / 30} {8 / 40} {6 / 30}\n")
    elif form == "cvat":
        file = source / "annotations.xml"
        box = '<box label="circle" xtl="1" ytl="2" xbr="9" ybr="8" z_order="3"/>'
        file.write_text(file.read_text().replace("</image>", f"{box}</image>", 1))
    else:
        file = source / "ds0/ann/a.png.json"
        content = json.loads(file.read_text())
        points = {"exterior": [[9, 8], [1, 2]], "interior": []}
        box = {"classTitle": "circle", "geometryType": "rectangle", "points": points}
        content["objects"].append(box)
        file.write_text(json.dumps(content))


@pytest.mark.parametrize("seed", range(4))
def test_outlines_through_border_pixels_give_the_mask_again(seed) -> None:
    """Of masks with holes and several parts, joined by lines there and back."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((6, 9)) < 0.55
    mask = coarse.repeat(5, axis=0).repeat(4, axis=1)
    outline = polygon_of(mask.astype(np.uint8))
    found = mask_of(segmentation_of(outline, mask.shape), mask.shape)
    np.testing.assert_array_equal(found, mask)


def test_an_outline_between_the_pixels_stays_a_polygon() -> None:
    outline, size = np.array([[20.3, 20.2], [190.8, 31.1], [140.4, 180.6]]), (200, 200)
    assert segmentation_of(outline, size) == [outline.ravel().tolist()]
    mask = mask_of([outline.ravel().tolist()], size)
    outline -= (0, 60)  # partly above the picture
    cut = mask_of(segmentation_of(outline, size), size)
    assert (cut[:-60] != mask[60:]).sum() <= 20  # pycocotools rounds what is above otherwise
    with pytest.raises(ValueError, match="no pixel"):
        segmentation_of(outline - (195, 0), size)


def test_a_hole_is_taken_out() -> None:
    square = np.array([[2.0, 2], [22, 2], [22, 22], [2, 22]])
    hole = np.array([[8.0, 8], [12, 8], [12, 12], [8, 12]])
    mask = mask_of(segmentation_of(square, (30, 30), (hole,)), (30, 30))
    assert mask.sum() == 20 * 20 - 4 * 4
    assert not mask[8:12, 8:12].any()


def test_the_commands_of_the_guide(repo_dir, tmp_path, monkeypatch) -> None:
    section = (repo_dir / "docs/own_data.md").read_text().split("## Annotations of other tools")[1]
    section = section.split("\n## ")[0]
    lines = [shlex.split(line) for line in re.findall(r"^d2seg (.*)$", section, re.MULTILINE)]
    assert len(lines) == 5
    toys = toy_pictures(tmp_path / "pictures")
    for number in range(8):  # so that a tenth of them is one
        file = shutil.copy(toys[0].file, tmp_path / f"pictures/{number}.png")
        toys.append(Annotated(Path(file), toys[0].size, toys[0].objects))
    write_labelme(tmp_path, toys, ["circle", "square"]).rename(tmp_path / "labelme_folder")
    write_labelme(tmp_path / "predicted", toys, ["circle", "square"])
    (tmp_path / "VOCdevkit").mkdir()
    write_voc(tmp_path, toys, ["circle", "square"]).rename(tmp_path / "VOCdevkit/VOC2012")
    monkeypatch.chdir(tmp_path)
    for line in lines:
        assert main(line) == 0, line
    for form in WRITERS:
        assert f"| `{form}` |" in section
    names = register_declarations(["leaves/leaves.yaml"])
    assert [len(DatasetCatalog.get(name)) for name in names] == [9, 1]
