"""The ADE20K scripts on small folders in the raw layouts, and on the real sample images."""

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
import pytest
from dataset_files import write_image, write_png
from PIL import Image

from d2seg.data.datasets.categories import instance_metadata, load_categories, panoptic_metadata
from d2seg.data.datasets.json_loaders import load_instances, load_panoptic

WALL, SKY, BED, CAR = 0, 2, 7, 20
H, W = 6, 8


def read(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.array(image)


@pytest.fixture
def challenge(tmp_path):
    """One training and one validation image: wall left, sky right, a bed and two cars.

    The bed covers all of the sky's lower half; the label map calls one corner a car that is none
    among the instances; row 0 is unlabelled.
    """
    root = tmp_path / "ADEChallengeData2016"
    labels = np.full((H, W), WALL + 1, np.uint8)
    labels[:, 4:] = SKY + 1
    labels[5, 0] = CAR + 1
    labels[0] = 0
    instances = np.zeros((H, W, 3), np.uint8)
    instances[3:, 4:] = (1, 1, 0)  # bed: the first of the things
    car = [c.id for c in load_categories("ade20k_150") if c.is_thing].index(CAR) + 1
    instances[1, 0] = (car, 2, 0)
    instances[2, 0] = (car, 7, 0)
    for folder, stem in (("training", "ADE_train_00000012"), ("validation", "ADE_val_00000003")):
        write_image(root / "images" / folder / f"{stem}.jpg", (H, W))
        write_png(root / "annotations" / folder / f"{stem}.png", labels)
        write_png(root / "annotations_instance" / folder / f"{stem}.png", instances)
    return tmp_path, root


def test_label_maps_are_shifted(challenge, load_tool):
    folder, root = challenge
    tool = load_tool("prepare_ade20k_sem_seg")
    tool.main(["--root", str(folder), "--workers", "2"])
    target = root / "annotations_detectron2/training/ADE_train_00000012.png"
    labels = read(target)
    assert labels.dtype == np.uint8
    assert labels[0].tolist() == [255] * W
    assert labels[1].tolist() == [WALL] * 4 + [SKY] * 4
    stamp = target.stat().st_mtime_ns
    tool.main(["--root", str(folder)])
    assert target.stat().st_mtime_ns == stamp


def test_labels_out_of_range_and_missing_folders_end_in_one_line(
    challenge, repo_dir, monkeypatch, capsys
):
    folder, root = challenge
    write_png(root / "annotations/validation/bad.png", np.full((H, W), 151, np.uint8))
    script = str(repo_dir / "tools" / "prepare_ade20k_sem_seg.py")
    monkeypatch.setattr(sys, "argv", [script, "--root", str(folder)])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(script, run_name="__main__")
    assert re.match(
        r"error: .*bad\.png: labels outside of 0\.\.150", capsys.readouterr().err.splitlines()[-1]
    )
    monkeypatch.setattr(sys, "argv", [script, "--root", str(folder / "empty")])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(script, run_name="__main__")
    assert re.match(r"error: there is no .*sceneparsing", capsys.readouterr().err.splitlines()[-1])


def test_instances_are_rle_with_the_ids_of_the_150_classes(challenge, load_tool):
    folder, root = challenge
    load_tool("prepare_ade20k_instance").main(["--root", str(folder), "--workers", "2"])
    content = json.loads((root / "ade20k_instance_val.json").read_text())
    assert content["images"] == [
        {"id": 3, "file_name": "ADE_val_00000003.jpg", "width": W, "height": H}
    ]
    assert len(content["categories"]) == 100
    assert content["categories"][0] == {"id": BED, "name": "bed"}
    found = {tuple(a["bbox"]): a for a in content["annotations"]}
    assert {box: a["category_id"] for box, a in found.items()} == {
        (4, 3, 4, 3): BED,
        (0, 1, 1, 1): CAR,
        (0, 2, 1, 1): CAR,
    }
    bed = found[4, 3, 4, 3]
    assert bed["area"] == 12
    assert mask_util.decode(bed["segmentation"])[3:, 4:].all()
    assert sorted(a["id"] for a in content["annotations"]) == [1, 2, 3]
    metadata = instance_metadata(load_categories("ade20k_150"))
    (entry,) = load_instances(root / "ade20k_instance_val.json", root, metadata)
    assert {a["category_id"] for a in entry["annotations"]} == {
        metadata["thing_classes"].index("bed"),
        metadata["thing_classes"].index("car"),
    }


def test_panoptic_draws_instances_over_stuff(challenge, load_tool):
    folder, root = challenge
    tool = load_tool("prepare_ade20k_panoptic")
    tool.main(["--root", str(folder)])
    ids = read(root / "ade20k_panoptic_train/ADE_train_00000012.png").astype(int) @ [1, 256, 65536]
    content = json.loads((root / "ade20k_panoptic_train.json").read_text())
    (found,) = content["annotations"]
    areas = {s["category_id"]: [] for s in found["segments_info"]}
    for segment in found["segments_info"]:
        mask = ids == segment["id"]
        rows, columns = np.nonzero(mask)
        assert segment["area"] == mask.sum() > 0
        assert segment["bbox"][:2] == [columns.min(), rows.min()]
        assert segment["bbox"][2:] == [np.ptp(columns) + 1, np.ptp(rows) + 1]
        areas[segment["category_id"]].append(segment["area"])
    # void: 8 of row 0, and the corner that is a car in the label map only
    assert areas == {WALL: [4 * 5 - 2 - 1], SKY: [8], BED: [12], CAR: [1, 1]}
    assert (ids == 0).sum() == W + 1
    assert len(content["categories"]) == 150
    metadata = panoptic_metadata(load_categories("ade20k_150"))
    (entry,) = load_panoptic(root / "ade20k_panoptic_train.json", "i", "p", metadata)
    assert {s["category_id"]: s["isthing"] for s in entry["segments_info"]} == {
        WALL: False,
        SKY: False,
        BED: True,
        CAR: True,
    }


def test_stuff_that_is_wholly_covered_is_no_segment(challenge, load_tool):
    folder, root = challenge
    file = root / "annotations_instance/training/ADE_train_00000012.png"
    instances = read(file)
    instances[:, 4:] = (1, 1, 0)
    write_png(file, instances)
    load_tool("prepare_ade20k_panoptic").main(["--root", str(folder)])
    content = json.loads((root / "ade20k_panoptic_train.json").read_text())
    segments = content["annotations"][0]["segments_info"]
    assert sorted(s["category_id"] for s in segments) == [WALL, BED, CAR, CAR]


@pytest.mark.parametrize("name", ["prepare_ade20k_panoptic", "prepare_ade20k_instance"])
def test_strange_instances_are_refused(challenge, load_tool, name):
    folder, root = challenge
    file = root / "annotations_instance/training/ADE_train_00000012.png"
    instances = read(file)
    instances[0, 0] = (101, 1, 0)
    write_png(file, instances)
    with pytest.raises(ValueError, match=r"ADE_train_00000012\.png: red is 101"):
        load_tool(name).main(["--root", str(folder)])
    write_png(file, instances[1:])
    with pytest.raises(ValueError, match="its image"):
        load_tool(name).main(["--root", str(folder)])
    file.unlink()
    with pytest.raises(OSError, match="ADE_train_00000012"):
        load_tool(name).main(["--root", str(folder)])


def test_the_full_set_is_decoded_reduced_and_numbered(tmp_path, load_tool):
    scene = tmp_path / "ADE20K_2021_17_01/images/ADE/validation/urban/street"
    tool = load_tool("prepare_ade20k_full_sem_seg")
    objects = {c.name: (number, c.id) for number, c in enumerate(load_categories("ade20k_full"))}
    wall, sky = objects["wall"], objects["sky"]

    def colors(size):
        seg = np.zeros((*size, 3), np.uint8)
        for rows, object_id in (
            (slice(0, size[0] // 2), wall[1]),
            (slice(size[0] // 2, None), sky[1]),
        ):
            seg[rows, :, 0], seg[rows, :, 1] = object_id // 256 * 10, object_id % 256
        seg[:, 0] = (0, 3, 9)  # an object that is none of the 847
        seg[..., 2] = 77  # the instance, of no matter
        return seg

    for stem, size in (("ADE_val_00000001", (600, 1200)), ("ADE_val_00000002", (40, 60))):
        write_image(scene / f"{stem}.jpg", size)
        write_png(scene / f"{stem}_seg.png", colors(size))
    tool.main(["--root", str(tmp_path), "--workers", "2"])
    root = tmp_path / "ADE20K_2021_17_01"
    big = read(root / "annotations_detectron2/validation/ADE_val_00000001.tif")
    assert big.dtype == np.uint16
    assert (
        big.shape
        == (512, 1024)
        == read(root / "images_detectron2/validation/ADE_val_00000001.jpg").shape[:2]
    )
    small = read(root / "annotations_detectron2/validation/ADE_val_00000002.tif")
    for labels in (big, small):
        assert set(labels[:, 0].tolist()) == {65535}
        assert set(labels[: len(labels) // 2 - 1, 2:].ravel().tolist()) == {wall[0]}
        assert set(labels[len(labels) // 2 + 1 :, 2:].ravel().tolist()) == {sky[0]}
    assert (root / "images_detectron2/validation/ADE_val_00000002.jpg").samefile(
        scene / "ADE_val_00000002.jpg"
    )


def test_the_real_samples_of_ade20k(shared_dir, tmp_path, load_tool):
    source = shared_dir / "data" / "ADEChallengeData2016"
    root = tmp_path / "ADEChallengeData2016"
    root.mkdir()
    (root / "annotations").symlink_to(source / "annotations")
    load_tool("prepare_ade20k_sem_seg").main(["--root", str(tmp_path)])
    files = sorted((root / "annotations_detectron2/validation").iterdir())
    assert len(files) == 3
    for file in files:
        raw, labels = read(source / "annotations/validation" / file.name), read(file)
        assert np.array_equal(labels[raw > 0], raw[raw > 0] - 1)
        assert set(labels[raw == 0].tolist()) <= {255}
    # class names belong to the values: the sample pictures show a street, an office, a room
    names = [c.name for c in load_categories("ade20k_150")]
    table = (source / "objectInfo150.txt").read_text().splitlines()[1:]
    ours = [names[i].split(",")[0] for i in (0, 1, 2, 6)]
    theirs = [table[i].split("\t")[-1].split(",")[0].strip() for i in (0, 1, 2, 6)]
    assert ours == theirs
