"""A referring model for tests that knows three words: what is "red", "green" or "blue".

Importing this registers the meta-architecture ``ColorListener``.
"""

from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from detectron2.structures import Instances
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from d2seg.config.loading import load_config

CHANNELS = {"red": 0, "green": 1, "blue": 2}  # of RGB
SIZE = (60, 90)  # of the picture: red, green and black thirds


@META_ARCH_REGISTRY.register()
class ColorListener(nn.Module):
    """Where the named channel is above 128; scores 0.9, or 0.2 where that is nowhere."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 3, 1, bias=False)
        nn.init.dirac_(self.backbone.weight)
        self.batch: list[dict] = []

    def check_expressions(self, expressions: list[str]) -> None:
        for expression in expressions:
            if not set(expression.split()) & set(CHANNELS):
                raise ValueError(f"no word of '{expression}' is known")

    def forward(self, batch: list[dict]) -> dict[str, Tensor] | list[dict]:
        self.batch = batch
        if self.training:
            return {"loss": self.backbone.weight.square().sum()}
        return [{"referring": self._find(sample)} for sample in batch]

    def _find(self, sample: dict) -> Instances:
        size = sample["height"], sample["width"]
        pixels = self.backbone(sample["image"].float()[None])
        pixels = F.interpolate(pixels, size, mode="nearest")[0]
        texts = [e if isinstance(e, str) else e["sentence"] for e in sample["expressions"]]
        masks = torch.zeros(len(texts), *size, dtype=torch.bool)
        for mask, text in zip(masks, texts, strict=True):
            for word in set(text.split()) & set(CHANNELS):
                mask |= pixels[CHANNELS[word]] > 128
        scores = torch.where(masks.flatten(1).any(1), 0.9, 0.2)
        return Instances(size, pred_masks=masks, scores=scores, expressions=texts)


def color_picture() -> np.ndarray:
    """(H, W, 3) RGB of ``SIZE``."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[:, :30, 0] = image[:, 30:60, 1] = 200
    return image


def color_thirds() -> dict[str, np.ndarray]:
    """(H, W) bool."""
    masks = {name: np.zeros(SIZE, bool) for name in ("red", "green")}
    masks["red"][:, :30] = masks["green"][:, 30:60] = True
    return masks


def color_config(folder: Path) -> CfgNode:
    """A config with weights in ``folder``, beside the picture ``colors.png``."""
    cfg = load_config(None)
    cfg.MODEL.META_ARCHITECTURE = "ColorListener"
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = str(folder / "model.pth")
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.REFERRING_SIZE = (30, 36)
    cfg.TEST.TASKS = ["referring"]
    torch.save({"model": build_model(cfg).state_dict()}, cfg.MODEL.WEIGHTS)
    Image.fromarray(color_picture()).save(folder / "colors.png")
    return cfg
