"""Training and --eval-only for the task "referring": evaluation, best checkpoint, results."""

import json
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from PIL import Image

from d2seg.cli.train import evaluate, finish
from d2seg.data.catalog import check_data
from d2seg.engine.trainer import Trainer
from evaluation.evaluation_cases import register, unregister
from families.color_listener import SIZE, color_config, color_picture

NAME = "engine_test_referring"
LEFT, MIDDLE = [[0, 0, 30, 0, 30, 60, 0, 60]], [[30, 0, 60, 0, 60, 60, 30, 60]]


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    """Two pictures with five expressions, one of them without a target."""
    cfg = color_config(tmp_path)
    records = []
    for number in range(2):
        path = tmp_path / f"{number}.png"
        Image.fromarray(color_picture()).save(path)
        meant = [("red", 1, LEFT), ("green", 2, MIDDLE), ("blue", None, None)][: 3 - number]
        expressions = [
            {"id": 3 * number + i, "sentence": text, "annotation_id": target, "segmentation": mask}
            for i, (text, target, mask) in enumerate(meant)
        ]
        size = dict(zip(("height", "width"), SIZE, strict=True))
        record = {"file_name": str(path), "image_id": number, **size}
        records.append({**record, "expressions": expressions})
    register(NAME, records, evaluator_type="referring")
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (NAME,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.INPUT.MIN_SIZE_TEST = 0  # the picture's own size
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    yield cfg
    unregister(NAME)


def test_eval_only_writes_the_results(cfg):
    Path(cfg.OUTPUT_DIR).mkdir()
    check_data(cfg, eval_only=True)
    assert finish(cfg, evaluate(cfg, resume=False)) == 0
    results = json.loads((Path(cfg.OUTPUT_DIR) / "results.json").read_text())["referring"]
    assert all(value == 100 for value in results.values()), results
    assert {"oIoU", "mIoU", "N-acc", "listens"} <= set(results)
    saved = Path(cfg.OUTPUT_DIR) / "inference" / NAME / "referring_predictions.json"
    assert len(json.loads(saved.read_text())) == 5


def test_the_best_checkpoint_follows_the_overall_iou(cfg):
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.WARMUP_ITERS = 2, 1, 0
    # each step takes a quarter of the weights: 200 becomes 150, then 112, which is not seen
    cfg.SOLVER.STEPS, cfg.SOLVER.BASE_LR = (), 0.125
    cfg.TEST.EVAL_PERIOD, cfg.TEST.BEST_METRIC = 1, "referring/oIoU"
    cfg.SOLVER.MOMENTUM = cfg.SOLVER.WEIGHT_DECAY = 0.0
    cfg.SEED = 0
    check_data(cfg, eval_only=False)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    results = trainer.train()["referring"]
    assert results["oIoU"] == results["listens"] == 0
    assert results["N-acc"] == 100
    for name, share in (("model_best", 0.75), ("model_final", 0.75**2)):
        weights = torch.load(Path(cfg.OUTPUT_DIR) / f"{name}.pth", weights_only=True)["model"]
        assert float(weights["backbone.weight"].max()) == pytest.approx(share), name
