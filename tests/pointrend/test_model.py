"""Semantic PointRend and SegFormer with the point head: what every per-pixel method does."""

from pathlib import Path

import pytest
from detectron2.config import CfgNode

from families.per_pixel import PerPixelChecks, shrink
from families.point_rend_reference import our_semantic_config
from families.segformer_config import small_config


def coarse_model_config(decode_head: str) -> CfgNode:
    cfg = our_semantic_config(decode_head)
    shrink(cfg)
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.PIXEL_STD = [57.0] * 3  # features of order 1
    return cfg


class PointHeadChecks(PerPixelChecks):
    def test_one_class(self, cfg: CfgNode) -> None:
        cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 1
        with pytest.raises(ValueError, match="needs two classes"):
            self.build(cfg)

    def test_bf16_weights(self, cfg: CfgNode) -> None:
        """Of all cells, since rounding changes which ones are the most uncertain."""
        cfg.MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS = 100_000
        super().test_bf16_weights(self.build(cfg))


class TestSemanticFPN(PointHeadChecks):
    def config(self, repo_dir: Path) -> CfgNode:
        return coarse_model_config("SemSegFPNHead")


class TestDeepLab(PointHeadChecks):
    def config(self, repo_dir: Path) -> CfgNode:
        return coarse_model_config("DeepLabV3PlusHead")


class TestSegFormer(PointHeadChecks):
    def config(self, repo_dir: Path) -> CfgNode:
        cfg = small_config(repo_dir, "ade20k_semantic_pointrend_mit_b0")
        cfg.MODEL.POINT_HEAD.FC_DIM = 16
        return cfg
