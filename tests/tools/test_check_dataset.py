import re
import sys

import numpy as np
import pytest
from dataset_files import (
    annotation,
    coco_json,
    label_map,
    semantic_declaration,
    square_rle,
    unique_name,
    write_image,
    write_json,
    write_png,
    write_semantic,
)

from d2seg.data.inspection.dataset import inspect_dataset


@pytest.fixture
def tool(load_tool):
    return load_tool("check_dataset")


def test_a_sound_data_set_ends_with_0_and_a_table(tool, tmp_path, capsys):
    write_semantic(tmp_path)
    classes = ["floor", "wall", "furniture, piece", "never"]
    file = semantic_declaration(tmp_path / "toy.yaml", unique_name(), classes=classes)
    assert tool.main([str(file)]) == 0
    out = capsys.readouterr().out
    assert "2 images" in out
    assert "no problems found" in out
    assert "1 of 4 classes never appear: never" in out
    pixels = 2 * int((label_map() == 0).sum())
    row = next(line.split() for line in out.splitlines() if "floor" in line)
    assert row == ["0", "floor", "2", str(pixels), f"{100 * pixels / (2 * 11 * 16):.2f}"]


def test_problems_end_with_1_and_are_listed_with_file_and_count(tool, tmp_path, capsys):
    write_semantic(tmp_path, count=9)
    for number in range(8):
        write_png(tmp_path / f"labels/train/{number:03d}.png", label_map() + (label_map() < 9))
    file = semantic_declaration(tmp_path / "toy.yaml", unique_name())
    assert tool.main([str(file), "--workers", "1"]) == 1
    out = capsys.readouterr().out
    assert "label out of range" in out
    assert "000.png: value 3 in 55 pixels" in out
    assert "label out of range: and 3 more" in out
    assert "one more than there are classes" in out


def test_bands_are_counted_where_a_config_reads_them(tool, tmp_path, capsys):
    write_semantic(tmp_path)
    for file in (tmp_path / "images/train").iterdir():
        file.unlink()
    for number, bands in enumerate((5, 4)):
        array = np.zeros((11, 16, bands), np.uint16)
        np.save(tmp_path / f"images/train/{number:03d}.npy", array)
    file = semantic_declaration(tmp_path / "toy.yaml", unique_name())
    config = tmp_path / "config.yaml"
    config.write_text(
        "INPUT: {READER: bands}\n"
        "MODEL: {PIXEL_MEAN: [1.0, 1.0, 1.0, 1.0, 1.0], PIXEL_STD: [1.0, 1.0, 1.0, 1.0, 1.0]}\n"
    )
    assert tool.main([str(file), "--config-file", str(config)]) == 1
    out = capsys.readouterr().out
    assert "unreadable image: " in out
    assert "001.npy: it has 4 bands, and MODEL.PIXEL_MEAN has 5 values" in out
    assert "000.npy" not in out
    options = ["--opts", "INPUT.READER", "picture"]
    assert tool.main([str(file), "--config-file", str(config), *options]) == 2
    assert "MODEL.PIXEL_MEAN has 5 values, pictures in INPUT.FORMAT" in capsys.readouterr().err


def test_bands_are_shown_and_compared_on_a_page(tool, tmp_path, capsys):
    bands = np.random.default_rng(0).integers(0, 256, (3, 4, 5)).astype(np.uint8)
    for split in ("train", "val"):
        write_semantic(tmp_path, split, 1)
        next((tmp_path / "images" / split).iterdir()).unlink()
        array = bands.repeat(4, axis=0)[:11].repeat(4, axis=1)
        np.save(tmp_path / "images" / split / "000.npy", array)
    splits = {s: {"images": f"images/{s}", "labels": f"labels/{s}"} for s in ("train", "val")}
    file = semantic_declaration(tmp_path / "toy.yaml", unique_name(), splits=splits)
    config, page = tmp_path / "config.yaml", tmp_path / "page.html"
    config.write_text(
        "INPUT: {READER: bands}\n"
        "MODEL: {PIXEL_MEAN: [1.0, 1.0, 1.0, 1.0, 1.0], PIXEL_STD: [1.0, 1.0, 1.0, 1.0, 1.0]}\n"
    )
    arguments = [str(file), "--config-file", str(config), "--html", str(page)]
    assert tool.main(arguments) == 1
    said = capsys.readouterr().out
    assert re.search(
        r"leak between splits: pictures of \w+_val that are in \w+_train, too: 1\n", said
    )
    # in the leak, and above the labels of a sample and of each class
    assert page.read_text().count("data:image/webp") > 4


def test_a_page_without_jinja2(tool, tmp_path, capsys, monkeypatch):
    write_semantic(tmp_path)
    file = semantic_declaration(tmp_path / "toy.yaml", unique_name())
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert tool.main([str(file), "--html", str(tmp_path / "page.html")]) == 2
    out, err = capsys.readouterr()
    assert "images" not in out  # before the data are read
    assert "a report needs Jinja2, which is not installed: `pip install jinja2`" in err


def test_mistakes_end_with_2(tool, tmp_path, capsys):
    assert tool.main(["camvid_semseg"]) == 2
    assert "there is no data set 'camvid_semseg'" in capsys.readouterr().err
    assert tool.main(["ade20k_full_sem_seg_train"]) == 2
    assert "prepare_ade20k_full_sem_seg.py" in capsys.readouterr().err
    assert tool.main([str(tmp_path / "none.yaml")]) == 2
    with pytest.raises(SystemExit) as exit_code:
        tool.main([])
    assert exit_code.value.code == 2


def test_a_data_set_that_cannot_be_loaded_ends_with_1(tool, tmp_path, capsys):
    write_semantic(tmp_path)
    write_image(tmp_path / "images/train/000.png")
    assert tool.main([str(semantic_declaration(tmp_path / "toy.yaml", unique_name()))]) == 1
    assert "cannot be loaded" in capsys.readouterr().out


def config(tmp_path, name: str, keys: str) -> str:
    file = tmp_path / "config.yaml"
    file.write_text(
        f"DATASETS: {{DECLARATIONS: ['{tmp_path}/toy.yaml'], TRAIN: ['{name}_train'], TEST: []}}\n{keys}"
    )
    return str(file)


def test_a_config_is_checked_with_its_data_sets(tool, tmp_path, capsys):
    write_semantic(tmp_path)
    name = unique_name()
    semantic_declaration(tmp_path / "toy.yaml", name)
    right = "MODEL: {META_ARCHITECTURE: MaskFormer, SEM_SEG_HEAD: {NUM_CLASSES: 3}}"
    file = config(tmp_path, name, right)
    assert tool.main(["--config-file", file]) == 0
    assert f"{name}_train: 2 images" in capsys.readouterr().out
    wrong = ["--opts", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "4"]
    assert tool.main(["--config-file", file, *wrong]) == 1
    assert "wrong class count: MODEL.SEM_SEG_HEAD.NUM_CLASSES is 4" in capsys.readouterr().out


def test_mixed_masks_are_a_problem_where_the_mapper_takes_polygons_only(tool, tmp_path, capsys):
    write_image(tmp_path / "images/000.jpg")
    content = coco_json([annotation(), annotation(segmentation=square_rle())])
    write_json(tmp_path / "a.json", content)
    name = unique_name()
    splits = {"train": {"images": "images", "annotations": "a.json"}}
    write_json(tmp_path / "toy.yaml", {"name": name, "task": "instance", "splits": splits})
    assert tool.main([str(tmp_path / "toy.yaml")]) == 0
    assert "mixed formats of the masks: 1 polygon, 1 RLE" in capsys.readouterr().out
    stock = "MODEL: {ROI_HEADS: {NUM_CLASSES: 2}}"
    file = config(tmp_path, name, stock)
    assert tool.main(["--config-file", file]) == 1
    assert "set INPUT.MASK_FORMAT bitmask" in capsys.readouterr().out
    assert tool.main(["--config-file", file, "--opts", "INPUT.MASK_FORMAT", "bitmask"]) == 0


def test_real_camvid_is_sound(tool, tmp_path, shared_dir, capsys):
    root = str(shared_dir / "data" / "CamVid")
    file = semantic_declaration(
        tmp_path / "camvid.yaml",
        unique_name("camvid"),
        root=root,
        classes=[str(i) for i in range(11)],
        ignore_label=11,
        splits={"val": {"images": "val", "labels": "valannot"}},
    )
    assert tool.main([str(file)]) == 0
    semantic_declaration(
        file,
        unique_name("camvid"),
        root=root,
        classes=[str(i) for i in range(11)],
        splits={"val": {"images": "val", "labels": "valannot"}},
    )
    assert tool.main([str(file)]) == 1  # with 255 as the ignore label, 11 is no class
    assert "value 11 in" in capsys.readouterr().out


def test_real_coco_has_panoptic_and_instance_counts(tool, tmp_path, shared_dir, capsys):
    coco = shared_dir / "data" / "coco"
    names = {}
    for task, annotations in (("panoptic", "panoptic"), ("instance", "instances")):
        paths = {"images": "val2017", "annotations": f"annotations/{annotations}_val2017.json"}
        if task == "panoptic":
            paths["panoptic"] = "panoptic_val2017"
        names[task] = unique_name("coco")
        content = {"name": names[task], "task": task, "root": str(coco), "splits": {"val": paths}}
        write_json(tmp_path / f"{task}.yaml", content)
        assert tool.main([str(tmp_path / f"{task}.yaml")]) == 0
    reports = {task: inspect_dataset(f"{name}_val") for task, name in names.items()}
    assert sum(reports["panoptic"].counts["panoptic"].instances.values()) == 179
    assert sum(reports["instance"].counts["instance"].instances.values()) == 96
    assert np.all([r.num_images == 20 for r in reports.values()])
    assert "segments" in capsys.readouterr().out
