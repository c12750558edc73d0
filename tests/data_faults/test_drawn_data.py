"""Pictures and annotations that cannot be drawn over each other are listed, and the rest is drawn."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dataset_files import (
    H,
    W,
    annotation,
    coco_json,
    semantic_declaration,
    square_rle,
    unique_name,
    write_image,
    write_json,
    write_panoptic,
    write_png,
    write_semantic,
)

from d2seg.cli import visualize


def semantic(root: Path) -> dict:
    write_semantic(root)
    write_png(root / "labels/train/000.png", np.zeros((W, H), np.uint8))
    return {"splits": {"train": {"images": "images/train", "labels": "labels/train"}}}


def instance(root: Path) -> dict:
    write_image(root / "images/000.jpg", (W, H))
    write_image(root / "images/001.jpg")
    entries = [annotation(segmentation=square_rle(), image_id=i) for i in range(2)]
    write_json(root / "a.json", coco_json(entries, 2))
    splits = {"train": {"images": "images", "annotations": "a.json"}}
    return {"task": "instance", "classes": None, "splits": splits}


def panoptic(root: Path) -> dict:
    file = write_panoptic(root)
    write_image(root / "images/000.jpg", (W, H))
    write_image(root / "images/001.jpg")
    content = json.loads(file.read_text())
    for key in ("images", "annotations"):
        content[key].append(dict(content[key][0]))
    content["images"][1] |= {"id": 5, "file_name": "001.jpg"}
    content["annotations"][1]["image_id"] = 5
    write_json(file, content)
    splits = {"train": {"images": "images", "annotations": file.name, "panoptic": "png"}}
    return {"task": "panoptic", "classes": None, "splits": splits}


@pytest.mark.parametrize("kind", [semantic, instance, panoptic])
def test_annotations_of_another_size_are_listed(tmp_path, capsys, kind: Callable) -> None:
    file = semantic_declaration(tmp_path / "own.json", unique_name("drawn"), **kind(tmp_path))
    assert visualize.main([str(file), "--output", str(tmp_path / "out")]) == 1
    output = "".join(capsys.readouterr())
    assert "000.jpg: " in output
    assert "(height x width); make them of one size" in output
    assert "Traceback" not in output
    assert [path.name for path in tmp_path.rglob("out/*/*.png")] == ["000001_001.png"]


def test_pictures_of_long_names_are_drawn(tmp_path) -> None:
    write_semantic(tmp_path, count=1)
    for folder, end in (("images", ".jpg"), ("labels", ".png")):
        file = tmp_path / folder / f"train/000{end}"
        file.rename(file.with_name("n" * 250 + end))
    file = semantic_declaration(tmp_path / "own.json", unique_name("drawn"))
    assert visualize.main([str(file), "--output", str(tmp_path / "out")]) == 0
    assert [path.name for path in tmp_path.rglob("out/*/*")] == [f"000000_{'n' * 60}.png"]
