"""Every block of docs/python.md, run in order in a folder with what they name."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from PIL import Image

import d2seg
from d2seg.config.description import describe
from d2seg.visualization.video_writing import VideoWriter
from families.maskformer_config import small_config


@pytest.fixture
def folder(tmp_path: Path, repo_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cfg = small_config(repo_dir, "coco_panoptic_resnet50")
    cfg.DATASETS.TEST = cfg.DATASETS.TRAIN = ("coco_2017_val_panoptic",)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 133
    cfg.INPUT.MIN_SIZE_TEST = 64
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.AUGMENTATION = (64,), "resize_crop"
    cfg.INPUT.CROP.SIZE, cfg.INPUT.CROP.TYPE = (48, 48), "absolute"
    cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS = 2, 0
    cfg.SOLVER.AMP.ENABLED = False
    torch.manual_seed(0)
    state = build_model(cfg).state_dict()
    torch.save({"model": state}, tmp_path / "weights.pth")
    torch.save({"model": state, "d2seg": describe(cfg)}, tmp_path / "model_final.pth")
    (tmp_path / "own.yaml").write_text(cfg.dump())
    (tmp_path / "official.yaml").write_text(
        "MODEL: {META_ARCHITECTURE: MaskFormer, MASK_FORMER: {DEC_LAYERS: 6}}\n"
    )
    generator = np.random.default_rng(0)
    for name in ("photos", "rooms/images", "rooms/labels"):
        (tmp_path / name).mkdir(parents=True)
    names = ["street.jpg", *(f"{f}/{n}.jpg" for f in ("photos", "rooms/images") for n in "ab")]
    for name in names:
        Image.fromarray(generator.integers(0, 255, (60, 80, 3), np.uint8)).save(tmp_path / name)
    with VideoWriter(tmp_path / "street.mp4", 5.0) as writer:
        for _ in range(2):
            writer.write(generator.integers(0, 255, (60, 80, 3), np.uint8))
    for name in "ab":
        labels = generator.integers(0, 2, (60, 80), np.uint8)
        Image.fromarray(labels).save(tmp_path / f"rooms/labels/{name}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def forget_rooms() -> None:
    if "rooms_train" in DatasetCatalog:
        DatasetCatalog.remove("rooms_train")
        MetadataCatalog.remove("rooms_train")


def test_every_block(repo_dir: Path, folder: Path) -> None:
    text = (repo_dir / "docs" / "python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    assert len(blocks) == text.count("```") // 2 >= 10
    names: dict = {}
    forget_rooms()  # of another test in this process
    try:
        for block in blocks:
            exec(compile(block, "docs/python.md", "exec"), names)
    finally:
        forget_rooms()
    assert Image.open(folder / "street_drawn.png").size == (80, 60)
    assert names["drawing"].size == (160, 120)
    assert names["labels"].shape == names["ids"].shape == (60, 80)
    assert len(names["results"]) == 2
    assert Image.open(folder / "b_drawn.png").size == (80, 60)
    assert names["damaged"] == []
    assert names["outputs"].keys() >= {"panoptic_seg"}
    assert names["classes_found"] == ["floor", "chair"]
    assert names["conversion"].left == []


def test_every_public_name_is_on_the_page(repo_dir: Path) -> None:
    text = (repo_dir / "docs" / "python.md").read_text()
    assert set(re.findall(r"^\| `d2seg\.(\w+)` \|", text, re.M)) == set(d2seg.__all__)
