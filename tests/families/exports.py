"""Small models of every method, and what their exports are compared at."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from d2seg.runtimes.session import TRUST_VARIABLE

from . import (
    dstransunet_config,
    mask2former_config,
    maskformer_config,
    segformer_config,
    setr_config,
    topformer_config,
    transunet_config,
)


class Case(NamedTuple):
    """A method's small config, and the size of its input."""

    config: Callable[[Path], CfgNode]
    size: tuple[int, int] = (64, 96)


def _per_pixel_baseline(repo_dir: Path) -> CfgNode:
    cfg = maskformer_config.small_config(repo_dir, "ade20k_semantic_per_pixel_plus_resnet50")
    cfg.MODEL.MASK_CLASSIFICATION.NUM_QUERIES = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    cfg.TEST.TASKS = []  # those of detectron2's model
    return cfg


def _timm(repo_dir: Path) -> CfgNode:
    cfg = maskformer_config.small_config(repo_dir)
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.TIMM.NAME = "build_timm_backbone", "convnext_atto"
    cfg.MODEL.TIMM.PRETRAINED = False
    return cfg


def _points(repo_dir: Path) -> CfgNode:
    cfg = segformer_config.small_config(repo_dir)
    node = cfg.MODEL.POINT_HEAD
    node.ENABLED, node.IN_FEATURES, node.FC_DIM = True, ["res2"], 16
    node.SUBDIVISION_NUM_POINTS = 200
    return cfg


def _dstransunet(repo_dir: Path) -> CfgNode:
    cfg = dstransunet_config.small_config(repo_dir)
    cfg.TEST.TASKS = ["semantic"]
    return cfg


CASES = {
    "maskformer": Case(maskformer_config.small_config),
    "maskformer_swin": Case(
        lambda repo: maskformer_config.small_config(repo, "ade20k_semantic_swin_tiny")
    ),
    "maskformer_timm": Case(_timm),
    "per_pixel_plus": Case(_per_pixel_baseline),
    "mask2former": Case(mask2former_config.small_config),
    "segformer": Case(segformer_config.small_config),
    "segformer_points": Case(_points),
    "setr_pup": Case(lambda repo: setr_config.small_config(repo, "pup"), (64, 64)),
    "setr_mla": Case(lambda repo: setr_config.small_config(repo, "mla"), (64, 64)),
    "topformer": Case(topformer_config.small_config),
    "transunet": Case(transunet_config.small_config),
    "dstransunet": Case(_dstransunet, (64, 64)),
}


@pytest.fixture(scope="module", autouse=True)
def trusted_programs() -> Iterator[None]:
    """Files of torch.export that the tests have written may be opened; for modules that import it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TRUST_VARIABLE, "1")
        yield


def small_model(cfg: CfgNode, seed: int = 0) -> nn.Module:
    """With statistics of norms that differ from those of a fresh model."""
    torch.manual_seed(seed)
    model = build_model(cfg).eval()
    for module in model.modules():
        if isinstance(getattr(module, "running_var", None), torch.Tensor):
            module.running_var.uniform_(0.5, 2.0)
            module.running_mean.normal_(std=0.1)
    return model
