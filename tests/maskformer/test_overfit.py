"""MaskFormer learns four pictures by heart through the trainer, the mappers and the evaluators."""

from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from d2seg.configuration import load_config
from d2seg.data.shapes import ensure_shapes
from d2seg.data.shapes.register import shapes_folder
from d2seg.engine import Trainer

NUM_IMAGES = 4
SCHEDULE = {
    "MODEL.DEVICE": "cpu",
    "SOLVER.IMS_PER_BATCH": NUM_IMAGES,
    "SOLVER.MAX_ITER": 250,
    "SOLVER.WARMUP_ITERS": 20,
    "INPUT.MIN_SIZE_TRAIN": [128],
    "INPUT.MIN_SIZE_TEST": 128,
    "INPUT.RANDOM_FLIP": "none",
}


@pytest.fixture
def four_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The embedded data set with four images per split; the one for scoring is the training one."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    ensure_shapes(shapes_folder(), {"train": NUM_IMAGES, "val": NUM_IMAGES})
    monkeypatch.setattr("d2seg.data.shapes.register.ensure_shapes", lambda *args, **kwargs: None)
    return "shapes_panoptic_train"


@pytest.mark.slow
def test_four_pictures_by_heart(repo_dir: Path, four_images: str, tmp_path: Path) -> None:
    cfg = load_config(str(repo_dir / "configs" / "maskformer" / "shapes_panoptic_small.yaml"))
    for key, value in SCHEDULE.items():
        cfg.merge_from_list([key, value])
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (four_images,)
    cfg.OUTPUT_DIR = str(tmp_path / "output")
    Path(cfg.OUTPUT_DIR).mkdir()
    assert len(DatasetCatalog.get(four_images)) == NUM_IMAGES
    assert MetadataCatalog.get(four_images).panoptic_json.startswith(str(tmp_path))
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    results = trainer.train()
    assert results["panoptic_seg"]["PQ"] > 80
    assert results["sem_seg"]["mIoU"] > 80
