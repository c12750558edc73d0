"""The sets of polyps, lesions, glands and nuclei, as their distributors lay them out."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from dataset_files import write_image
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from d2seg.config.loading import load_config
from d2seg.data.catalog import check_classes, check_files
from d2seg.data.datasets import builtin
from d2seg.data.inspection.dataset import inspect_dataset
from d2seg.data.mappers import build_mapper

SPLITS = {
    "kvasir_seg": ("train", "val"),
    "cvc_clinicdb": ("train", "val"),
    "isic2018": ("train", "val", "test"),
    "glas": ("train", "test", "test_a", "test_b"),
    "dsb2018": ("train", "val"),
}
NAMES = [f"{name}_{split}" for name, splits in SPLITS.items() for split in splits]
H, W = 24, 32


@pytest.fixture
def root(tmp_path):
    """A folder of data sets, where the built-in ones are looked for."""
    register_below(tmp_path)
    yield tmp_path
    register_below(builtin.datasets_root())


def register_below(root: Path) -> None:
    for name in NAMES:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    builtin.register_all(root)


def truth() -> np.ndarray:
    """(H, W) uint8, 1 in a square of 8 x 8."""
    labels = np.zeros((H, W), np.uint8)
    labels[8:16, 8:16] = 1
    return labels


def write_mask(file: Path, pixels: np.ndarray, mode: str = "L", **options) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(file, **options)


def write_kvasir(root: Path) -> None:
    for stem in ("cju1", "cju2", "cju3"):
        write_image(root / f"Kvasir-SEG/images/{stem}.jpg", (H, W))
        write_mask(root / f"Kvasir-SEG/masks/{stem}.jpg", 255 * truth(), "RGB", quality=75)
    (root / "Kvasir-SEG/train.txt").write_text("cju3\ncju1\n")
    (root / "Kvasir-SEG/val.txt").write_text("cju2")


def write_clinic(root: Path) -> None:
    for number in range(1, 21):
        write_image(root / f"CVC-ClinicDB/Original/{number}.tif", (H, W))
        write_mask(root / f"CVC-ClinicDB/Ground Truth/{number}.tif", 255 * truth())


def write_isic(root: Path) -> None:
    for part in ("Training", "Validation", "Test"):
        images = root / f"ISIC2018/ISIC2018_Task1-2_{part}_Input"
        labels = root / f"ISIC2018/ISIC2018_Task1_{part}_GroundTruth"
        write_image(images / "ISIC_0000001.jpg", (H, W))
        (images / "ATTRIBUTION.txt").write_text("names")
        write_mask(labels / "ISIC_0000001_segmentation.png", 255 * truth())


def write_glas(root: Path) -> None:
    folder = root / "Warwick QU Dataset (Released 2016_07_08)"
    for stem in ("train_1", "train_2", "testA_1", "testB_1"):
        write_image(folder / f"{stem}.bmp", (H, W))
        numbered = truth()
        numbered[:, 12:] *= 2  # two glands
        write_mask(folder / f"{stem}_anno.bmp", numbered)
    (folder / "Grade.csv").write_text("name, grade")


def write_dsb(root: Path) -> None:
    left, right = truth(), truth()
    left[:, 12:], right[:, :12] = 0, 0
    for number in range(10):
        folder = root / f"dsb2018/stage1_train/0{number}ab"
        write_image(folder / f"images/0{number}ab.png", (H, W))
        write_mask(folder / "masks/1.png", 255 * left)
        write_mask(folder / "masks/2.png", 255 * right)


# of each set: what writes it, and the images of each split in order
LAYOUTS = {
    "kvasir_seg": (write_kvasir, [["cju1", "cju3"], ["cju2"]]),
    "cvc_clinicdb": (write_clinic, [[str(i) for i in range(1, 19)], ["19", "20"]]),
    "isic2018": (write_isic, [["ISIC_0000001"]] * 3),
    "glas": (
        write_glas,
        [["train_1", "train_2"], ["testA_1", "testB_1"], ["testA_1"], ["testB_1"]],
    ),
    "dsb2018": (write_dsb, [[f"0{i}ab" for i in range(9)], ["09ab"]]),
}


@pytest.mark.parametrize("name", SPLITS)
def test_splits_and_labels(root, name, repo_dir):
    write, images = LAYOUTS[name]
    write(root)
    if name == "dsb2018":
        tool = runpy.run_path(str(repo_dir / "tools/prepare_dsb2018.py"))
        tool["main"](["--root", str(root), "--workers", "1"])
    cfg = load_config(str(repo_dir / f"configs/_base_/datasets/{name}_semantic.yaml"))
    cfg.MODEL.META_ARCHITECTURE = "SegFormer"  # the model is of no concern, its classes are
    check_classes(cfg)
    mapper = build_mapper(cfg, is_train=True)
    for split, expected in zip(SPLITS[name], images, strict=True):
        dataset = f"{name}_{split}"
        check_files([dataset])
        dicts = DatasetCatalog.get(dataset)
        assert [entry["image_id"] for entry in dicts] == expected
        report = inspect_dataset(dataset)
        assert report.problems == report.hints == []
        pixels = report.counts["semantic"].pixels
        assert pixels == {0: (H * W - 64) * len(dicts), 1: 64 * len(dicts)}
        sample = mapper(dicts[0])
        assert sample["image"].shape == (3, 512, 512)
        # 8 of 24 rows and 8 of 32 columns, whether flipped or not
        assert sample["sem_seg"].sum() == pytest.approx(512 * 512 / 12, rel=0.02)
        assert "label_values" not in sample
    missing = root / "Kvasir-SEG/val.txt"
    if missing.exists():
        missing.unlink()
        with pytest.raises(ValueError, match=r"'kvasir_seg_val': there is no .*val\.txt"):
            check_files(["kvasir_seg_val"])


def test_a_test_sample_has_the_fixed_size_and_the_file_s_own(root, repo_dir):
    write_isic(root)
    cfg = load_config(str(repo_dir / "configs/_base_/datasets/isic2018_semantic.yaml"))
    (entry,) = DatasetCatalog.get("isic2018_val")
    sample = build_mapper(cfg, is_train=False)(entry)
    assert sample["image"].shape == (3, 512, 512)
    assert (sample["height"], sample["width"]) == (H, W)


def test_a_listed_image_that_is_not_there_is_named(root):
    write_kvasir(root)
    (root / "Kvasir-SEG/masks/cju2.jpg").unlink()
    with pytest.raises(ValueError, match=r"1 images that .*val\.txt lists have no label map"):
        DatasetCatalog.get("kvasir_seg_val")
    (root / "Kvasir-SEG/images/cju1.jpg").unlink()
    with pytest.raises(ValueError, match=r"train\.txt: 1 of 2 images are not there, as cju1"):
        DatasetCatalog.get("kvasir_seg_train")


def test_a_value_of_an_isic_mask_that_is_neither_is_found(root):
    write_isic(root)
    pixels = 255 * truth()
    pixels[0, :3] = 128
    file = root / "ISIC2018/ISIC2018_Task1_Test_GroundTruth/ISIC_0000001_segmentation.png"
    write_mask(file, pixels)
    (problem,) = inspect_dataset("isic2018_test").problems
    assert problem.kind == "label value not declared"
    assert problem.detail == "value 128 in 3 pixels"
