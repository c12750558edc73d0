"""Configs of ReSTR: the published one, and one small enough for a test."""

from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor, nn

from d2seg.config.loading import load_config
from d2seg.text import SPECIAL_WORDS, Vocabulary

SENTENCES = ("the red ball", "a blue box on the left", "the largest dog")


def write_vocabulary(path: Path, num_words: int | None = None) -> Path:
    """The words of ``SENTENCES``, or ``num_words`` made-up ones, special words included."""
    if num_words is None:
        Vocabulary.from_sentences(SENTENCES).save(path)
    else:
        made_up = [f"w{i}" for i in range(num_words - len(SPECIAL_WORDS))]
        Vocabulary((*SPECIAL_WORDS, *made_up)).save(path)
    return path


def published_config(repo_dir: Path, vocabulary: Path | None) -> CfgNode:
    cfg = load_config(str(repo_dir / "configs" / "restr" / "refcoco_unc_referring_vit_base.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.RESTR.TEXT.VOCABULARY = "" if vocabulary is None else str(vocabulary)
    return cfg


def small_config(repo_dir: Path, vocabulary: Path | None) -> CfgNode:
    cfg = published_config(repo_dir, vocabulary)
    cfg.MODEL.VIT.NAME = "vit_tiny_patch16_224"
    cfg.MODEL.VIT.DEPTH = 2
    cfg.MODEL.VIT.IMG_SIZE = (64, 64)
    cfg.MODEL.VIT.OUT_FEATURES = ["block2"]
    cfg.INPUT.REFERRING_SIZE = (64, 64)
    node = cfg.MODEL.RESTR
    node.IN_FEATURE = "block2"
    node.TEXT.EMBED_DIM, node.TEXT.NUM_HEADS, node.TEXT.DEPTH = 24, 2, 2
    node.FUSION.DIM, node.FUSION.NUM_HEADS = 32, 4
    node.DECODER_DIMS = [32, 16, 8, 8]
    return cfg


def small_model(repo_dir: Path, vocabulary: Path | None) -> nn.Module:
    torch.manual_seed(0)
    return build_model(small_config(repo_dir, vocabulary)).eval()


def image(height: int = 64, width: int = 64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
