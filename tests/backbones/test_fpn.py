"""The feature pyramid network on any backbone."""

import pytest
import torch
from detectron2.modeling import build_backbone

from d2seg.config.loading import load_config

TIMM = ["MODEL.FPN.BOTTOM_UP", "build_timm_backbone", "MODEL.TIMM.NAME", "resnet10t"]
SWIN = ["MODEL.FPN.BOTTOM_UP", "build_swin_backbone", "MODEL.SWIN.EMBED_DIM", "12"]
STAGES = ["MODEL.FPN.IN_FEATURES", ["res2", "res3", "res4", "res5"]]
FPN = ["MODEL.BACKBONE.NAME", "build_fpn_backbone", "MODEL.FPN.OUT_CHANNELS", "16"]


@pytest.mark.parametrize("bottom_up", [TIMM, SWIN], ids=["timm", "swin"])
def test_pyramid(bottom_up: list[str]) -> None:
    backbone = build_backbone(load_config(None, [*FPN, *STAGES, *bottom_up]))
    features = backbone(torch.randn(1, 3, 64, 96))
    assert list(features) == ["p2", "p3", "p4", "p5", "p6"]
    for level, (name, feature) in enumerate(features.items(), start=2):
        assert feature.shape == (1, 16, 64 // 2**level, -(-96 // 2**level))
        assert backbone.output_shape()[name].stride == 2**level


def test_missing_stages_are_named() -> None:
    cfg = load_config(None, [*FPN, *TIMM, "MODEL.FPN.IN_FEATURES", ["res1", "res2"]])
    with pytest.raises(ValueError, match=r"MODEL\.FPN\.IN_FEATURES is \['res1', 'res2'\]; choose"):
        build_backbone(cfg)
