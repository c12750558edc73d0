"""The worked example of docs/own_data.md, run as it is written there."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from dataset_files import (
    annotation,
    coco_json,
    label_map,
    write_image,
    write_json,
    write_png,
)
from detectron2.data import DatasetCatalog

from d2seg.config.loading import load_config
from d2seg.data.build import build_train_loader
from d2seg.data.catalog import check_classes, check_files
from d2seg.data.datasets import datasets_root
from d2seg.data.datasets.declaration import _KEYS, register_declarations
from d2seg.data.datasets.registration import PATH_KEYS
from d2seg.data.datasets.selection import SELECTION_KEYS
from d2seg.data.referring.reading import ReferringSource
from d2seg.engine.prepare import check_evaluation


@pytest.fixture
def guide(repo_dir) -> str:
    return (repo_dir / "docs" / "own_data.md").read_text()


@pytest.fixture
def rooms(guide, repo_dir, tmp_path, monkeypatch):
    """A working folder with the files of the guide, images included."""
    for split, numbers in (("train", (1, 2)), ("val", (101,))):
        for number in numbers:
            write_image(tmp_path / f"rooms/images/{split}/{number:03d}.jpg")
            write_png(tmp_path / f"rooms/labels/{split}/{number:03d}.png", label_map())
    declaration, masks, *_ = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    config = next(b for b in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL) if "_BASE_" in b)
    (tmp_path / "rooms.yaml").write_text(declaration)
    (tmp_path / "polyps.yaml").write_text(masks)
    (tmp_path / "rooms_config.yaml").write_text(config)
    (tmp_path / "configs").symlink_to(repo_dir / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands(guide: str, script: str) -> list[list[str]]:
    """The arguments of every command line of the guide that calls this script."""
    lines = re.findall(rf"^python {re.escape(script)} (.*)$", guide, re.MULTILINE)
    return [shlex.split(line) for line in lines]


def test_the_example_is_checked_drawn_and_fits_its_config(guide, rooms, load_tool, capsys):
    check, _ = commands(guide, "tools/check_dataset.py")
    assert load_tool("check_dataset").main(check) == 0
    out = capsys.readouterr().out
    assert "rooms_train: 2 images" in out
    assert "rooms_val: 1 images" in out
    drawings = commands(guide, "tools/visualize_data.py")
    assert len(drawings) == 2
    for drawing in drawings:
        assert load_tool("visualize_data").main(drawing) == 0
    assert len(list((rooms / "pictures").glob("rooms_*/*.png"))) == 3
    assert len(list((rooms / "samples").glob("rooms_train/*.png"))) == 2
    train, *small, _ = commands(guide, "train_net.py")
    assert [args[1] for args in small] == ["rooms_small.yaml"] * 2
    cfg = load_config(train[train.index("--config-file") + 1])
    check_classes(cfg)
    check_files((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 4
    with pytest.raises(ValueError, match="'rooms_train' has 3 classes"):
        check_classes(cfg)


def test_masks_of_0_and_255_are_checked_and_drawn(rooms, load_tool, capsys):
    for number in range(10):
        write_image(rooms / f"polyps/images/{number}.jpg")
        mask = np.where(label_map() == 2, 255, 0).astype(np.uint8)
        write_png(rooms / f"polyps/masks/{number}.png", mask)
    assert load_tool("check_dataset").main(["polyps.yaml"]) == 0
    out = capsys.readouterr().out
    assert "polyps_train: 9 images" in out
    assert "polyps_val: 1 images" in out
    assert "polyp " in out
    assert "hint" not in out
    assert load_tool("visualize_data").main(["polyps.yaml", "--output", "pictures"]) == 0
    assert len(list((rooms / "pictures").glob("polyps_*/*.png"))) == 10
    mask[0, :2] = 9
    write_png(rooms / "polyps/masks/9.png", mask)
    assert load_tool("check_dataset").main(["polyps.yaml"]) == 1
    assert "9.png: value 9 in 2 pixels" in capsys.readouterr().out
    assert load_tool("visualize_data").main(["polyps.yaml", "--output", "pictures"]) == 1


def test_the_conversions_run(guide, rooms, load_tool):
    declaration = rooms / "rooms.yaml"
    declaration.write_text(declaration.read_text() + "colors: [[0, 0, 1], [0, 0, 2], [0, 0, 3]]\n")
    found = commands(guide, "tools/prepare_own_labels.py")
    assert len(found) == 3
    for command in found:
        colored = "--colors-of" in command
        values = np.zeros((4, 4, 3), np.uint8) if colored else np.ones((4, 4), np.uint8)
        write_png(rooms / "raw_labels" / "1.png", values)
        load_tool("prepare_own_labels").main(command)
        (rooms / "labels" / "1.png").unlink()


def test_the_instances_of_the_guide_are_checked_and_fit_their_config(
    guide, repo_dir, load_tool, tmp_path, monkeypatch, capsys
):
    section = guide.split("### Instances, in full")[1]
    declaration, config = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)[:2]
    example = json.loads(re.search(r"```json\n(.*?)```", section, re.DOTALL)[1])
    size = example["images"][0]["height"], example["images"][0]["width"]
    for split in ("train", "val"):
        write_image(tmp_path / f"cells/images/{split}/001.jpg", size)
        write_json(tmp_path / f"cells/{split}.json", example)
    (tmp_path / "cells.yaml").write_text(declaration)
    (tmp_path / "cells_config.yaml").write_text(config)
    (tmp_path / "configs").symlink_to(repo_dir / "configs")
    monkeypatch.chdir(tmp_path)
    _, check = commands(guide, "tools/check_dataset.py")
    assert load_tool("check_dataset").main(check) == 0
    assert "no problems found" in capsys.readouterr().out
    *_, train = commands(guide, "train_net.py")
    cfg = load_config(train[1], train[2:])
    check_evaluation(cfg)
    [sample] = next(iter(build_train_loader(one_image(cfg))))
    assert len(sample["instances"]) == 1
    assert (cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, cfg.TEST.TASKS) == (1, ["instance"])


def one_image(cfg):
    cfg.SOLVER.IMS_PER_BATCH = 1
    return cfg


def test_the_tables_name_every_key(guide):
    for key in (*_KEYS, *SELECTION_KEYS, *(key for keys in PATH_KEYS.values() for key in keys)):
        assert f"`{key}`" in guide, key


def test_every_data_set_and_script_of_the_list_is_there(repo_dir):
    from d2seg.data.catalog import kind_of, metadata_of, num_classes_of

    guide = (repo_dir / "docs" / "datasets.md").read_text()
    for script in set(re.findall(r"`(prepare_\w+\.py)`", guide)):
        assert (repo_dir / "tools" / script).is_file()
    rows = re.findall(r"^\| `([^`]+)`[^|]*\| ([^|]+)\|[^|]*\| (\d*) ?\|", guide, re.MULTILINE)
    assert len(rows) == 21
    for pattern, classes, ignore_label in rows:
        for name in expand(pattern):
            metadata = metadata_of(name)
            kind = kind_of(metadata)
            counts = [int(n) for n in re.findall(r"\d+", classes)]
            if kind in ("semantic", "panoptic") and counts:
                assert num_classes_of(metadata, kind) == counts[0], name
                assert metadata.ignore_label == int(ignore_label), name
            if kind == "panoptic" and len(counts) > 1:
                assert len(metadata.thing_dataset_id_to_contiguous_id) == counts[1], name
            if kind == "instance":
                assert num_classes_of(metadata, kind) == counts[-1], name


def test_every_referring_data_set_of_the_list_is_there(repo_dir):
    guide = (repo_dir / "docs" / "datasets.md").read_text()
    section = guide.split("## Referring expressions")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \|[^|]*\| `([^`]+)` \|$", section, re.MULTILINE)
    listed = {name: file for pattern, file in rows for name in expand(pattern)}
    found = {
        name: loader.expressions
        for name, loader in DatasetCatalog.items()
        if isinstance(loader, ReferringSource)
        and Path(loader.expressions).is_relative_to(datasets_root() / "refer")
    }
    assert listed.keys() == found.keys()
    assert all(found[name].endswith(f"/refer/{file}") for name, file in listed.items())


def test_the_example_of_expressions_is_read(guide, tmp_path):
    section = guide.split("## Referring expressions")[1]
    declaration = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)[1]
    (tmp_path / "kitchen.yaml").write_text(declaration)
    content = coco_json([annotation(image_id=0), annotation(image_id=0)])
    content["images"][0]["id"] = 7
    for number, entry in enumerate(content["annotations"]):
        entry.update(id=31 + number, image_id=7)
    write_image(tmp_path / "images" / "000.jpg")
    write_json(tmp_path / "instances.json", content)
    example = re.search(r"```json\n(.*?)```", section, re.DOTALL)[1]
    (tmp_path / "expressions.json").write_text(example)
    [name] = register_declarations([tmp_path / "kitchen.yaml"])
    [entry] = DatasetCatalog.get(name)
    targets = [expression["annotation_id"] for expression in entry["expressions"]]
    assert targets == [31, 31, [31, 32], None]


def expand(pattern: str) -> list[str]:
    """All names of ``a_{b,c}_{d,e}``."""
    braces = re.search(r"\{([^}]*)\}", pattern)
    if braces is None:
        return [pattern]
    return [
        name
        for choice in braces.group(1).split(",")
        for name in expand(pattern.replace(braces.group(0), choice, 1))
    ]
