"""SegFormer as a meta-architecture."""

from pathlib import Path

import pytest
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from d2seg.config.loading import load_config
from families.per_pixel import PerPixelChecks
from families.segformer_config import small_config


class TestSegFormer(PerPixelChecks):
    def config(self, repo_dir: Path) -> CfgNode:
        return small_config(repo_dir)


class TestSegFormerSliding(PerPixelChecks):
    def config(self, repo_dir: Path) -> CfgNode:
        cfg = small_config(repo_dir, "cityscapes_semantic_mit_b2")
        cfg.MODEL.PER_PIXEL.TEST.CROP_SIZE = (64, 64)
        cfg.MODEL.PER_PIXEL.TEST.STRIDE = (48, 40)
        return cfg


class TestSegFormerResNet(PerPixelChecks):
    def config(self, repo_dir: Path) -> CfgNode:
        cfg = small_config(repo_dir)
        cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
        cfg.MODEL.BACKBONE.FREEZE_AT = 0
        cfg.MODEL.RESNETS.DEPTH = 18
        cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
        cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
        return cfg


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["SEM_SEG_HEAD.NORM", "GN"], r"SEM_SEG_HEAD\.NORM is 'GN'; .* takes a batch norm"),
        (["SEM_SEG_HEAD.IN_FEATURES", ["res2", "p6"]], r"IN_FEATURES asks for \['p6'\]"),
        (["MIT.DEPTHS", [1, 2, 3]], r"MIT\.DEPTHS is \[1, 2, 3\]; .* each of 4 stages"),
        (["MIT.NUM_HEADS", [3, 2, 5, 8]], r"MIT\.EMBED_DIMS has 8, .* NUM_HEADS, 3"),
        (["MIT.OUT_FEATURES", ["stage1"]], r"MIT\.OUT_FEATURES is \['stage1'\]"),
        (["PER_PIXEL.TEST.MODE", "tiles"], r"TEST\.MODE is 'tiles'; it is one of"),
    ],
)
def test_mistakes_in_the_config_are_named(repo_dir: Path, opts: list, message: str) -> None:
    cfg = small_config(repo_dir)
    cfg.merge_from_list([f"MODEL.{opts[0]}", opts[1]])
    with pytest.raises(ValueError, match=message):
        build_model(cfg)


def test_a_window_that_the_backbone_cannot_take(repo_dir: Path) -> None:
    cfg = small_config(repo_dir, "cityscapes_semantic_mit_b0")
    cfg.MODEL.PER_PIXEL.TEST.CROP_SIZE = (1000, 1024)
    with pytest.raises(ValueError, match=r"CROP_SIZE is \(1000, 1024\); .* multiples of 32"):
        build_model(cfg)


def test_size_of_the_published_models(repo_dir: Path) -> None:
    """Millions of parameters in table 1 of the paper, ADE20K."""
    published = [3.8, 13.7, 27.5, 47.3, 64.1, 84.7]
    for i, millions in enumerate(published):
        path = repo_dir / "configs" / "segformer" / f"ade20k_semantic_mit_b{i}.yaml"
        cfg = load_config(str(path))
        cfg.MODEL.DEVICE = "meta"
        model = build_model(cfg)
        assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)
