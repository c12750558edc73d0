"""The authors' layout of SETR, and ImageNet ViTs inside SETR."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor

from d2seg.checkpoint import Checkpointer
from d2seg.checkpoint.conversion import to_flavour
from d2seg.checkpoint.layouts import find_layout
from d2seg.checkpoint.layouts.deit import LAYOUT as DEIT
from d2seg.checkpoint.layouts.official_setr import LAYOUT
from families.setr_config import small_config

CASES = [f"setr_{head}_ade20k_vit_large" for head in ("naive", "pup", "mla")]


@pytest.mark.parametrize("case", CASES)
def test_what_is_dropped(official_state: Callable, case: str) -> None:
    """The classifiers that no head uses; in MLA the class token and its position."""
    state = official_state(case)
    converted = LAYOUT.convert(state)
    dropped = {name for name in state if "conv_seg" in name}
    if "mla" in case:
        dropped.add("backbone.cls_token")
        positions = converted["backbone.bottom_up.model.pos_embed"]
        assert positions.shape == (1, 1024, 1024)
    values = {float(tensor.flatten()[0]) for tensor in converted.values()}
    expected = {float(t.flatten()[0]) for name, t in state.items() if name not in dropped}
    assert values == expected
    assert len(converted) == len(state) - len(dropped)
    assert {name.split(".")[0] for name in converted} == {
        "backbone",
        "decode_head",
        "auxiliary_heads",
    }


@pytest.mark.parametrize(
    ("case", "theirs", "ours"),
    [
        ("naive", "decode_head.conv_0.weight", "decode_head.convs.0.weight"),
        ("naive", "decode_head.conv_1.bias", "decode_head.predictor.bias"),
        ("naive", "auxiliary_head.2.conv_1.bias", "auxiliary_heads.2.predictor.bias"),
        ("pup", "decode_head.conv_1.weight", "decode_head.convs.1.weight"),
        ("pup", "decode_head.conv_4.weight", "decode_head.predictor.weight"),
        ("pup", "decode_head.syncbn_fc_3.running_var", "decode_head.convs.3.norm.running_var"),
        ("pup", "auxiliary_head.3.conv_0.weight", "auxiliary_heads.3.convs.0.weight"),
        ("pup", "auxiliary_head.3.conv_1.weight", "auxiliary_heads.3.predictor.weight"),
        ("pup", "backbone.blocks.7.attn.qkv.bias", "backbone.model.blocks.7.attn.qkv.bias"),
        ("mla", "backbone.mla.mla_p2_1x1.0.weight", "backbone.laterals.0.weight"),
        ("mla", "backbone.mla.mla_p5.1.bias", "backbone.outputs.3.norm.bias"),
        ("mla", "backbone.norm_2.weight", "backbone.norms.2.weight"),
        ("mla", "backbone.blocks.7.norm1.bias", "backbone.bottom_up.model.blocks.7.norm1.bias"),
        ("mla", "decode_head.mlahead.head3.3.weight", "decode_head.streams.1.1.weight"),
        ("mla", "decode_head.cls.bias", "decode_head.predictor.bias"),
        ("mla", "auxiliary_head.1.aux.weight", "auxiliary_heads.1.predictor.weight"),
    ],
)
def test_names_one_by_one(official_state: Callable, case: str, theirs: str, ours: str) -> None:
    state = official_state(f"setr_{case}_ade20k_vit_large")
    assert LAYOUT.convert(state)[ours] is state[theirs]


@pytest.mark.parametrize("head", ["naive", "pup"])
def test_round_trip(repo_dir: Path, randomised: Callable, round_trip: Callable, head: str) -> None:
    model = randomised(build_model(small_config(repo_dir, head)))
    round_trip(model.state_dict(), "official", LAYOUT)


def test_mla_has_no_export(repo_dir: Path) -> None:
    state = build_model(small_config(repo_dir, "mla")).state_dict()
    with pytest.raises(ValueError, match="SETR with the Naive or the PUP head"):
        to_flavour(state, "official")


def published_vit(cfg: CfgNode, *, distilled: bool) -> dict[str, Tensor]:
    """A ViT of timm at 32 x 32 pixels, as large as the model's but with a classifier."""
    torch.manual_seed(0)
    name = "deit_tiny_distilled_patch16_224" if distilled else cfg.MODEL.VIT.NAME
    model = timm.create_model(name, depth=cfg.MODEL.VIT.DEPTH, img_size=32)
    return {n: torch.randn_like(tensor) for n, tensor in model.state_dict().items()}


@pytest.mark.parametrize("head", ["naive", "mla"])
@pytest.mark.parametrize("distilled", [False, True])
def test_imagenet_vit_fills_the_backbone(
    repo_dir: Path, tmp_path: Path, head: str, distilled: bool
) -> None:
    cfg = small_config(repo_dir, head)
    cfg.MODEL.VIT.IMG_SIZE = (48, 48)
    # of a published depth, because the aggregation outweighs a small one
    blocks = ["block3", "block6", "block9", "block12"]
    cfg.MODEL.VIT.DEPTH = 12
    cfg.MODEL.VIT.OUT_FEATURES = cfg.MODEL.SETR.AUX_IN_FEATURES = blocks
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = blocks if head == "mla" else blocks[-1:]
    model = build_model(cfg)
    published = published_vit(cfg, distilled=distilled)
    assert (find_layout(published.keys()) is DEIT) == distilled
    torch.save({"model": published}, tmp_path / "vit.pth")
    Checkpointer(model).load(str(tmp_path / "vit.pth"))
    vit = (model.backbone.bottom_up if head == "mla" else model.backbone).model
    for name, parameter in vit.named_parameters():
        if name != "pos_embed":
            assert torch.equal(parameter, published[name]), name
    tokens = 2 if distilled else 1
    grid = published["pos_embed"][:, tokens:].unflatten(1, (2, 2)).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(
        grid, size=(3, 3), mode="bilinear", align_corners=False
    )
    expected = resized.flatten(2).transpose(1, 2)
    torch.testing.assert_close(vit.pos_embed.data[:, -9:], expected)
    if head != "mla":
        assert torch.equal(vit.pos_embed.data[:, 0], published["pos_embed"][:, 0])
