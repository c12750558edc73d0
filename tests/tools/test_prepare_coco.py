"""The COCO scripts, on small folders in the raw layouts and on real annotations."""

import numpy as np
import pytest
import scipy.io
from dataset_files import write_image
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES
from PIL import Image

from d2seg.data.datasets.categories import load_categories

H, W = 6, 8


def read(file) -> np.ndarray:
    with Image.open(file) as image:
        return np.array(image)


@pytest.fixture
def stuff_10k(tmp_path):
    root = tmp_path / "coco" / "coco_stuff_10k"
    (root / "imageLists").mkdir(parents=True)
    (root / "annotations").mkdir()
    for split, stem in (("train", "COCO_train2014_1"), ("test", "COCO_train2014_2")):
        (root / "imageLists" / f"{split}.txt").write_text(f"{stem}\n")
        write_image(root / "images" / f"{stem}.jpg", (H, W))
        values = np.full((H, W), 2, np.uint8)
        values[0] = 1
        values[1] = 172
        scipy.io.savemat(root / "annotations" / f"{stem}.mat", {"S": values})
    return tmp_path, root


def test_coco_stuff_of_release_1_0(stuff_10k, load_tool):
    folder, root = stuff_10k
    load_tool("prepare_coco_stuff_10k").main(["--root", str(folder), "--workers", "2"])
    labels = read(root / "annotations_detectron2/test/COCO_train2014_2.png")
    assert labels[:3, 0].tolist() == [255, 170, 0]
    image = root / "images_detectron2/train/COCO_train2014_1.jpg"
    assert image.samefile(root / "images/COCO_train2014_1.jpg")
    assert len(list((root / "annotations_detectron2").glob("*/*"))) == 2


def test_coco_stuff_of_release_1_1(stuff_10k, load_tool):
    folder, root = stuff_10k
    tool = load_tool("prepare_coco_stuff_10k")
    values = np.full((H, W), 182)
    values[0] = 0
    values[1] = 92
    for file in (root / "annotations").iterdir():
        scipy.io.savemat(file, {"S": values})
    with pytest.raises(ValueError, match="value 0 is none of this release; try the other one"):
        tool.main(["--root", str(folder)])
    tool.main(["--root", str(folder), "--release", "1.1"])
    labels = read(root / "annotations_detectron2/train/COCO_train2014_1.png")
    names = [c.name for c in load_categories("coco_stuff_171")]
    assert labels[:3, 0].tolist() == [255, names.index("banner"), names.index("wood")]


def test_every_value_of_coco_stuff_has_its_class(load_tool):
    tool = load_tool("prepare_coco_stuff_10k")
    first, second = tool.class_table("1.0"), tool.class_table("1.1")
    for table in (first, second):
        assert sorted(table[table < 254].tolist()) == list(range(171))
        assert (table == 255).sum() == 1
    assert first[1] == second[0] == 255
    assert second[90] == 79  # toothbrush, the last thing
    assert second[91] == 254  # a gap


def test_matlab_files_of_version_7_3(tmp_path, load_tool):
    h5py = pytest.importorskip("h5py")
    values = np.arange(6).reshape(2, 3)
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as content:
        content["S"] = values.T
    with (tmp_path / "a.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    assert np.array_equal(load_tool("prepare_coco_stuff_10k").read_mat(tmp_path / "a.mat"), values)


def test_missing_lists_and_wrong_sizes_are_named(stuff_10k, load_tool, tmp_path):
    folder, root = stuff_10k
    tool = load_tool("prepare_coco_stuff_10k")
    write_image(root / "images/COCO_train2014_1.jpg", (H, W + 1))
    with pytest.raises(ValueError, match=r"_1\.jpg is \(\d+, \d+\), its annotation \(\d+, \d+\)"):
        tool.main(["--root", str(folder)])
    with pytest.raises(ValueError, match=r"no .*train\.txt; get cocostuff"):
        tool.main(["--root", str(tmp_path / "empty")])


def test_label_maps_of_real_panoptic_annotations(shared_dir, tmp_path, load_tool):
    source = shared_dir / "data" / "coco"
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for name in ("annotations/panoptic_val2017.json", "panoptic_val2017"):
        (root / name).symlink_to(source / name)
    tool = load_tool("prepare_coco_semantic_from_panoptic")
    tool.main(["--root", str(tmp_path), "--workers", "2"])
    entries = tool.load_panoptic(
        root / "annotations/panoptic_val2017.json",
        source / "val2017",
        source / "panoptic_val2017",
        tool.panoptic_metadata(tool.categories_of("coco_panoptic")),
    )
    assert len(list((root / "panoptic_semseg_val2017").iterdir())) == len(entries) == 20
    for entry in entries:
        labels = read(root / "panoptic_semseg_val2017" / f"{entry['image_id']:012d}.png")
        areas = np.zeros(256, int)
        for segment in entry["segments_info"]:
            areas[segment["category_id"]] += segment["area"]
        areas[255] = labels.size - areas.sum()
        assert np.array_equal(np.bincount(labels.ravel(), minlength=256), areas)
    with_person = next(e for e in entries if e["segments_info"][0]["category_id"] == 0)
    assert COCO_CATEGORIES[0]["name"] == "person"
    assert with_person["segments_info"][0]["isthing"]
