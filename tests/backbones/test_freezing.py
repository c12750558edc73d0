"""MODEL.BACKBONE.FREEZE_AT on every backbone of this project."""

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_backbone
from torch import nn

from d2seg.backbones.freezing import parts_until
from d2seg.config.loading import load_config

# a small config of each backbone, and the first parameters of its parts: the stem, then the rest
BACKBONES = {
    "build_swin_backbone": ["patch_embed.", "layers.0.", "layers.1."],
    "build_mit_backbone": ["stages.0.patch_embed.", "stages.0.", "stages.1."],
    "build_timm_backbone": ["model.conv1.", "model.layer1.", "model.layer2."],
    "build_vit_backbone": ["model.patch_embed.", "model.blocks.0.", "model.blocks.1."],
    "build_vit_pyramid_backbone": ["net.model.patch_embed.", "net.model.blocks.0."],
    "build_setr_mla_backbone": ["bottom_up.model.patch_embed.", "bottom_up.model.blocks.0."],
    "build_topformer_backbone": ["pyramid.stem.", "pyramid.blocks.0.", "pyramid.blocks.3."],
    "build_hybrid_vit_backbone": ["cnn.root.", "cnn.block1.", "cnn.block2."],
    "build_dual_swin_backbone": ["fine.patch_embed.", "coarse.layers.0.", "fine.layers.1."],
    "build_fpn_backbone": ["bottom_up.model.conv1.", "bottom_up.model.layer1."],
}
_SWIN = {"EMBED_DIM": 16, "DEPTHS": [1, 1, 1, 1], "NUM_HEADS": [1, 1, 1, 1]}
_SMALL = {
    "MODEL.SWIN": _SWIN,
    "MODEL.DS_TRANSUNET.FINE": _SWIN,
    "MODEL.DS_TRANSUNET.COARSE": _SWIN,
    "MODEL.MIT": {"EMBED_DIMS": [16, 16, 20, 32], "DEPTHS": [1, 1, 1, 1]},
    "MODEL.TIMM": {"NAME": "resnet18"},
    "MODEL.VIT": {"NAME": "vit_tiny_patch16_224", "DEPTH": 3, "OUT_FEATURES": ["block3"]},
    "MODEL.FPN": {"IN_FEATURES": ["res2", "res3"]},
    "MODEL.HYBRID_VIT": {"CNN_DEPTHS": [1, 1, 1], "CNN_WIDTH": 32, "DEPTH": 1, "EMBED_DIM": 48},
}


def config(name: str, *pairs: object) -> CfgNode:
    of_topformer = "topformer/shapes_semantic_small" if "topformer" in name else None
    opts: list[object] = ["MODEL.BACKBONE.NAME", name, "MODEL.DEVICE", "cpu"]
    for node, values in _SMALL.items():
        opts += [part for key, value in values.items() for part in (f"{node}.{key}", value)]
    opts += ["MODEL.VIT.IMG_SIZE", (64, 64), "MODEL.SEM_SEG_HEAD.NORM", "BN"]
    return load_config(of_topformer, [*opts, "MODEL.HYBRID_VIT.NUM_HEADS", 3, *pairs])


def frozen(backbone: nn.Module) -> set[str]:
    return {name for name, p in backbone.named_parameters() if not p.requires_grad}


@pytest.mark.parametrize("name", BACKBONES)
def test_so_many_parts_are_frozen(name: str) -> None:
    assert not frozen(build_backbone(config(name)))  # where nobody says it
    assert not frozen(build_backbone(config(name, "MODEL.BACKBONE.FREEZE_AT", -1)))
    parts = BACKBONES[name]
    before: set[str] = set()
    for number, first in enumerate(parts, start=1):
        backbone = build_backbone(config(name, "MODEL.BACKBONE.FREEZE_AT", number))
        found = frozen(backbone)
        assert before < found
        assert any(x.startswith(first) for x in found - before)
        assert not any(x.startswith(tuple(parts[number:])) for x in found - before) or (
            first == "stages.0.patch_embed."  # which the stage holds
        )
        before = found
    assert any(p.requires_grad for p in backbone.parameters())


def test_frozen_parts_keep_their_statistics_and_drop_nothing() -> None:
    backbone = build_backbone(config("build_timm_backbone", "MODEL.BACKBONE.FREEZE_AT", 2))
    norms = {n: m for n, m in backbone.named_modules() if isinstance(m, nn.BatchNorm2d)}
    before = {name: norm.running_mean.clone() for name, norm in norms.items()}
    backbone.train()
    backbone(torch.rand(2, 3, 64, 64))["res5"].sum().backward()
    moved = {name for name in norms if not torch.equal(norms[name].running_mean, before[name])}
    assert moved == {
        name for name in norms if name.startswith(("model.layer2", "model.layer3"))
    } | {name for name in norms if name.startswith("model.layer4")}
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is None) == name.startswith(
            ("model.conv1", "model.bn1", "model.layer1")
        )


def test_what_is_not_frozen_is_trained_when_blocks_are_computed_anew() -> None:
    pairs = ("MODEL.SWIN.USE_CHECKPOINT", True, "MODEL.BACKBONE.FREEZE_AT")
    for number in (0, 1, 2):
        backbone = build_backbone(config("build_swin_backbone", *pairs, number)).train()
        sum(x.sum() for x in backbone(torch.rand(1, 3, 32, 32)).values()).backward()
        without = {name for name, p in backbone.named_parameters() if p.grad is None}
        assert without == frozen(backbone)


def test_detectron2s_default_stays_that_of_resnets() -> None:
    assert load_config(None).MODEL.BACKBONE.FREEZE_AT == 2
    swin = ["MODEL.BACKBONE.NAME", "build_swin_backbone"]
    assert load_config(None, swin).MODEL.BACKBONE.FREEZE_AT == 0
    assert load_config(None, [*swin, "MODEL.BACKBONE.FREEZE_AT", "2"]).MODEL.BACKBONE.FREEZE_AT == 2
    bottom_up = ["MODEL.BACKBONE.NAME", "build_fpn_backbone", "MODEL.FPN.BOTTOM_UP"]
    assert load_config(None, [*bottom_up, "build_resnet_backbone"]).MODEL.BACKBONE.FREEZE_AT == 2


def test_parts_of_a_model_whose_modules_hold_parameters_of_their_own() -> None:
    model = nn.Module()
    model.token = nn.Parameter(torch.zeros(1))
    model.stem = nn.Linear(1, 1)
    model.blocks = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1))
    stem, first, second = parts_until(model, ["blocks.0", "blocks_1"])
    assert model.token in stem
    assert model.stem in stem
    assert first == [model.blocks[0]]
    assert second == [model.blocks[1]]
