"""A small model of transformers, and ours under the same random weights through the converter."""

from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from d2seg.checkpoint.layouts import find_layout

BACKBONES = {"resnet": "resnet50", "swin": "swin_tiny"}  # what our configs call them
SWIN_DEPTHS = [2, 2, 2, 2]  # windows are shifted on every level
IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def backbone_config(kind: str) -> Any:
    """Of one of ``BACKBONES``, as small as ``mask_classification.shrink`` makes ours."""
    pytest.importorskip("transformers")
    from .huggingface_layouts import backbone_config as small

    config = small(kind)
    config.depths = SWIN_DEPTHS
    return config


def randomise(model: nn.Module) -> None:
    """Weights and statistics under which every layer matters."""
    torch.manual_seed(0)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif "sampling_offsets.bias" in name:
            tensor.uniform_(-3, 3)  # some points fall outside the image
        elif "sampling_offsets" in name or "attention_weights" in name:
            tensor.normal_(std=0.2)
        elif "quer" in name or "level_embed" in name:
            tensor.normal_()
        elif tensor.dim() <= 1 and tensor.is_floating_point() and "empty_weight" not in name:
            tensor.add_(0.1 * torch.randn_like(tensor))


def ours_like(theirs: nn.Module, cfg: CfgNode) -> nn.Module:
    """Our model of a config, after the other one's weights were made random, with these."""
    randomise(theirs)
    cfg.MODEL.SWIN.DEPTHS = SWIN_DEPTHS
    ours = build_model(cfg).eval()
    state = theirs.state_dict()
    missing, unexpected = ours.load_state_dict(find_layout(state.keys()).convert(state), False)
    assert not unexpected
    assert all("relative_position_index" in name for name in missing)
    return ours
