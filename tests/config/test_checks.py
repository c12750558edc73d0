"""Values with which nothing can run are refused before anything starts."""

import pytest
import torch
from toy_training import toy_cfg

from d2seg.config.checks import check_device, check_values


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["SOLVER.OPTIMIZER", "LAMB"], r"SOLVER\.OPTIMIZER is 'LAMB'; it is one of SGD, ADAMW"),
        (["SOLVER.LR_SCHEDULER_NAME", "Poly"], "LR_SCHEDULER_NAME is 'Poly'; .*WarmupPolyLR"),
        (
            ["SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "all"],
            "CLIP_TYPE is 'all'; .*full_model",
        ),
        (
            [
                *("SOLVER.LR_SCHEDULER_NAME", "WarmupPolyLR"),
                *("SOLVER.BASE_LR_END", 0.1, "SOLVER.POLY_LR_CONSTANT_ENDING", 0.1),
            ],
            r"BASE_LR_END is 0\.1 and POLY_LR_CONSTANT_ENDING 0\.1",
        ),
        (["SOLVER.AUTO_SCALE.ENABLED", True, "SOLVER.IMS_PER_BATCH", 0], "IMS_PER_BATCH is 0"),
        (
            ["SOLVER.AUTO_SCALE.ENABLED", True, "SOLVER.AUTO_SCALE.REFERENCE_BATCH_SIZE", 0],
            "REFERENCE_BATCH_SIZE is 0",
        ),
        (["DATALOADER.NUM_WORKERS", 100_000], r"NUM_WORKERS is 100000, .* is 1000 at most"),
        (["SOLVER.MAX_ITER", 0], r"SOLVER\.MAX_ITER is 0; it must be at least 1"),
        (["SOLVER.ACCUMULATE_STEPS", 0], "ACCUMULATE_STEPS is 0"),
        (["SOLVER.MAX_BAD_STEPS", 0], "MAX_BAD_STEPS is 0"),
        (["SOLVER.CHECKPOINT_PERIOD", 0], "CHECKPOINT_PERIOD is 0"),
        (["SOLVER.EMA.ENABLED", True, "SOLVER.EMA.DECAY", 1.0], r"DECAY is 1\.0; it lies in"),
        (["DATASETS.TRAIN", ()], "TRAIN is empty"),
        (["DATALOADER.SAMPLER_TRAIN", "RandomSubsetTrainingSampler"], "it is one of TrainingSam"),
        (["INPUT.MAPPER", "coco"], r"INPUT\.MAPPER is 'coco'; it is one of detectron2, semantic"),
        (["TEST.EARLY_STOPPING_PATIENCE", 2], r"needs TEST\.BEST_METRIC, and TEST\.EVAL_PERIOD"),
        (["TEST.BEST_METRIC", "a/b"], r"BEST_METRIC needs a data set in DATASETS\.TEST"),
    ],
)
def test_values_with_which_nothing_can_run(tmp_path, opts, message):
    cfg = toy_cfg(tmp_path)
    check_values(cfg, training=True)
    cfg.merge_from_list(opts)
    with pytest.raises(ValueError, match=message):
        check_values(cfg, training=True)


def test_number_formats(tmp_path, monkeypatch):
    cfg = toy_cfg(tmp_path, "SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "bf16")
    check_values(cfg, training=False)
    cfg.SOLVER.AMP.DTYPE = "fp16"
    with pytest.raises(ValueError, match=r"fp16 needs CUDA .*DTYPE bf16"):
        check_values(cfg, training=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    cfg.MODEL.DEVICE = "cuda:1"
    check_values(cfg, training=False)
    cfg.SOLVER.AMP.DTYPE = "fp8"
    with pytest.raises(ValueError, match="DTYPE is 'fp8'"):
        check_values(cfg, training=False)


@pytest.mark.parametrize("name", ["quantum", "cuda:99"])
def test_a_device_that_is_not_there(name):
    with pytest.raises(ValueError, match=r"add MODEL\.DEVICE .*cpu") as caught:
        check_device(name)
    assert f"'{name}'" in str(caught.value)
    check_device("cpu")


def test_devices_are_counted(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("cuda", "cuda:0", "cuda:1"):
        check_device(name)
    with pytest.raises(ValueError, match=r"'cuda:2', but torch sees 2 .*add MODEL\.DEVICE cuda or"):
        check_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match=r"'cuda', but torch sees 0 .*add MODEL\.DEVICE cpu to"):
        check_device("cuda")
