"""SETR with each of its heads: what every per-pixel method does, and errors of its configuration."""

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from d2seg.engine.solver import build_optimizer
from families.per_pixel import PerPixelChecks, example
from families.setr_config import small_config


class TestNaive(PerPixelChecks):
    def config(self, repo_dir: Path) -> CfgNode:
        return small_config(repo_dir, "naive")


class TestPUP(PerPixelChecks):
    def config(self, repo_dir: Path) -> CfgNode:
        return small_config(repo_dir, "pup")


class TestMLA(PerPixelChecks):
    def config(self, repo_dir: Path) -> CfgNode:
        return small_config(repo_dir, "mla")


@pytest.mark.parametrize(("head", "num_aux"), [("naive", 3), ("pup", 4), ("mla", 4)])
def test_auxiliary_losses_count_four_tenths(repo_dir: Path, head: str, num_aux: int) -> None:
    cfg = small_config(repo_dir, head)
    torch.manual_seed(0)
    model = build_model(cfg).train()
    batch = [example(64, 96), example(64, 96, seed=1)]
    losses = model(batch)
    assert set(losses) == {"loss_sem_seg"} | {f"loss_sem_seg_aux_{i}" for i in range(num_aux)}
    model.auxiliary_weight = 1.0
    for name, value in model(batch).items():
        factor = 0.4 if "aux" in name else 1.0
        torch.testing.assert_close(losses[name], factor * value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("head", "stride"), [("naive", 16), ("pup", 2), ("mla", 4)])
def test_strides_of_the_logits(repo_dir: Path, head: str, stride: int) -> None:
    model = build_model(small_config(repo_dir, head)).eval()
    with torch.no_grad():
        logits = model.window_logits(torch.randn(1, 3, 64, 96))
    assert logits.shape[-2:] == (64 // stride, 96 // stride)


def test_windows_of_one_image_cover_it(repo_dir: Path) -> None:
    """Where one window covers the image, sliding and whole-image inference agree."""
    cfg = small_config(repo_dir)
    results = []
    for mode in ("slide", "whole"):
        cfg.MODEL.PER_PIXEL.TEST.MODE = mode
        torch.manual_seed(0)
        model = build_model(cfg).eval()
        with torch.no_grad():
            results.append(model([example(64, 96)])[0]["sem_seg"])
    torch.testing.assert_close(*results)


def test_crop_that_is_no_multiple_of_the_patch(repo_dir: Path) -> None:
    cfg = small_config(repo_dir)
    cfg.MODEL.PER_PIXEL.TEST.CROP_SIZE = (64, 100)
    with pytest.raises(ValueError, match=r"TEST\.CROP_SIZE is \(64, 100\).*multiples of 16"):
        build_model(cfg)
    cfg = small_config(repo_dir)
    cfg.MODEL.VIT.IMG_SIZE = (64, 100)
    with pytest.raises(ValueError, match=r"MODEL\.VIT\.IMG_SIZE is \(64, 100\).*multiples.* 16"):
        build_model(cfg)


def test_errors_of_the_configuration(repo_dir: Path) -> None:
    for keys, message in [
        (["MODEL.SETR.HEAD", "fpn"], r"MODEL\.SETR\.HEAD is 'fpn'; .*'naive', 'pup', 'mla'"),
        (["MODEL.SETR.AUX_IN_FEATURES", ["block9"]], r"AUX_IN_FEATURES asks for \['block9'\]"),
        (["MODEL.SEM_SEG_HEAD.IN_FEATURES", ["res5"]], r"IN_FEATURES asks for \['res5'\]"),
        (["MODEL.SEM_SEG_HEAD.IN_FEATURES", ["block1", "block4"]], "naive head takes one"),
    ]:
        cfg = small_config(repo_dir)
        cfg.merge_from_list(keys)
        with pytest.raises(ValueError, match=message):
            build_model(cfg)


def test_learning_rate_of_the_aggregation_is_the_backbones(repo_dir: Path) -> None:
    """As published, where only what is called a head learns ten times as fast."""
    cfg = small_config(repo_dir, "mla")
    model = build_model(cfg)
    rate = {
        id(p): group["lr"]
        for group in build_optimizer(cfg, model).param_groups
        for p in group["params"]
    }
    assert rate[id(model.backbone.laterals[0].weight)] == pytest.approx(0.001)
    assert rate[id(model.decode_head.predictor.weight)] == pytest.approx(0.01)
    assert rate[id(model.auxiliary_heads[0].predictor.weight)] == pytest.approx(0.01)
