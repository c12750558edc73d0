"""Small models of every method, and what their exports are compared at.

Each kind of layer is there once or twice: writing a file takes a time for each operator, and what a
layer is written as does not depend on how many there are.
"""

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
    restr_config,
    segformer_config,
    setr_config,
    topformer_config,
    transunet_config,
)


class Case(NamedTuple):
    """A method's small config, and the size of its input."""

    config: Callable[[Path], CfgNode]
    size: tuple[int, int] = (64, 96)


def maskformer(repo_dir: Path, name: str = "ade20k_semantic_resnet50") -> CfgNode:
    cfg = maskformer_config.small_config(repo_dir, name)
    cfg.MODEL.MASKFORMER.NUM_DECODER_LAYERS = 2
    return cfg


def _per_pixel_baseline(repo_dir: Path) -> CfgNode:
    cfg = maskformer(repo_dir, "ade20k_semantic_per_pixel_plus_resnet50")
    cfg.MODEL.MASK_CLASSIFICATION.NUM_QUERIES = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    cfg.TEST.TASKS = []  # those of detectron2's model
    return cfg


def _timm(repo_dir: Path) -> CfgNode:
    cfg = maskformer(repo_dir)
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.TIMM.NAME = "build_timm_backbone", "test_convnext2"
    cfg.MODEL.TIMM.PRETRAINED = False
    return cfg


def _mask2former(repo_dir: Path) -> CfgNode:
    cfg = mask2former_config.small_config(repo_dir)
    cfg.MODEL.MASK2FORMER.NUM_PIXEL_ENCODER_LAYERS = 1
    cfg.MODEL.MASK2FORMER.NUM_DECODER_LAYERS = 3  # one for each scale
    return cfg


def _segformer(repo_dir: Path) -> CfgNode:
    cfg = segformer_config.small_config(repo_dir)
    cfg.MODEL.MIT.DEPTHS = [1, 1, 1, 1]
    return cfg


def _points(repo_dir: Path) -> CfgNode:
    cfg = _segformer(repo_dir)
    node = cfg.MODEL.POINT_HEAD
    node.ENABLED, node.IN_FEATURES, node.FC_DIM = True, ["res2"], 16
    node.SUBDIVISION_NUM_POINTS = 200
    return cfg


def _topformer(repo_dir: Path) -> CfgNode:
    cfg = topformer_config.small_config(repo_dir)
    cfg.MODEL.TOPFORMER.DEPTH = 1
    return cfg


def _transunet(repo_dir: Path) -> CfgNode:
    cfg = transunet_config.small_config(repo_dir)
    cfg.MODEL.HYBRID_VIT.DEPTH = 1
    return cfg


def _dstransunet(repo_dir: Path) -> CfgNode:
    cfg = dstransunet_config.small_config(repo_dir)
    for encoder in (cfg.MODEL.DS_TRANSUNET.FINE, cfg.MODEL.DS_TRANSUNET.COARSE):
        encoder.DEPTHS = [1, 1, 1, 1]  # the decoder has windows that are shifted, too
    cfg.TEST.TASKS = ["semantic"]
    return cfg


def restr(repo_dir: Path, vocabulary: Path) -> CfgNode:
    cfg = restr_config.small_config(repo_dir, restr_config.write_vocabulary(vocabulary))
    cfg.MODEL.VIT.DEPTH, cfg.MODEL.VIT.OUT_FEATURES = 1, ["block1"]
    cfg.MODEL.RESTR.IN_FEATURE = "block1"
    cfg.MODEL.RESTR.TEXT.DEPTH = cfg.MODEL.RESTR.FUSION.DEPTH = 1
    return cfg


CASES = {
    "maskformer": Case(maskformer),
    "maskformer_swin": Case(lambda repo: maskformer(repo, "ade20k_semantic_swin_tiny")),
    "maskformer_timm": Case(_timm),
    "per_pixel_plus": Case(_per_pixel_baseline),
    "mask2former": Case(_mask2former),
    "segformer": Case(_segformer),
    "segformer_points": Case(_points),
    "setr_pup": Case(lambda repo: setr_config.small_config(repo, "pup"), (64, 64)),
    "setr_mla": Case(lambda repo: setr_config.small_config(repo, "mla"), (64, 64)),
    "topformer": Case(_topformer),
    "transunet": Case(_transunet),
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
