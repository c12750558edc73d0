"""TopFormer: what every per-pixel method does, its parts against the paper's description."""

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn
from torch.nn import functional as F

from d2seg.config.loading import load_config
from d2seg.topformer.backbone import TopFormerBackbone
from d2seg.topformer.head import SumHead
from d2seg.topformer.semantics import ConvAttention, SemanticsInjection
from families.per_pixel import PerPixelChecks
from families.topformer_config import small_config


class TestTopFormer(PerPixelChecks):
    def config(self, repo_dir: Path) -> CfgNode:
        return small_config(repo_dir)


class TestTopFormerTiny(PerPixelChecks):
    """With the depthwise head."""

    def config(self, repo_dir: Path) -> CfgNode:
        return small_config(repo_dir, "ade20k_semantic_tiny")


class Logits(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.window_logits(images)


@pytest.mark.parametrize(
    ("size", "millions", "giga"), [("tiny", 1.4, 0.6), ("small", 3.1, 1.2), ("base", 5.1, 1.8)]
)
def test_published_parameters_and_multiplications(
    repo_dir: Path, size: str, millions: float, giga: float
) -> None:
    """As published: parameters and multiplications at 512 x 512 pixels with 150 classes."""
    cfg = load_config(str(repo_dir / f"configs/topformer/ade20k_semantic_{size}.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg).eval()
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.07)
    analysis = FlopCountAnalysis(Logits(model), torch.zeros(1, 3, 512, 512))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    assert analysis.total() / 1e9 == pytest.approx(giga, abs=0.05)


def small_backbone(**changes: object) -> TopFormerBackbone:
    torch.manual_seed(0)
    arguments = {
        "pyramid_blocks": [[3, 1, 8, 1], [3, 2, 8, 2], [5, 2, 12, 2], [3, 2, 16, 2], [3, 2, 20, 2]],
        "depth": 2,
        "num_heads": 2,
        "out_dim": 16,
    }
    return TopFormerBackbone(**(arguments | changes)).eval()


@pytest.mark.parametrize("size", [(64, 128), (97, 131), (1, 1)])
def test_strides_and_channels(size: tuple[int, int]) -> None:
    backbone = small_backbone(out_features=("res5", "res2", "res4"))
    features = backbone(torch.randn(1, 3, *size))
    assert list(features) == ["res2", "res4", "res5"]
    for name, stride in (("res2", 4), ("res4", 16), ("res5", 32)):
        shape = backbone.output_shape()[name]
        assert (shape.channels, shape.stride) == (16, stride)
        assert features[name].shape == (1, 16, *(-(-side // stride) for side in size))


@torch.no_grad()
def test_transformer_works_on_the_pooled_tokens_of_all_scales() -> None:
    backbone = small_backbone()
    seen = []
    backbone.semantics.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.randn(1, 3, 128, 192)
    backbone(images)
    tokens = backbone.pyramid(images)
    assert [t.shape[1] for t in tokens.values()] == backbone.channels == [8, 12, 16, 20]
    pooled = [
        F.avg_pool2d(t, 64 // stride)
        for t, stride in zip(tokens.values(), (4, 8, 16, 32), strict=True)
    ]
    torch.testing.assert_close(seen[0], torch.cat(pooled, 1))


@torch.no_grad()
def test_attention_equals_loops_over_heads_and_tokens() -> None:
    torch.manual_seed(0)
    attention = ConvAttention(6, num_heads=2, key_dim=3, norm="BN").eval()
    tokens = torch.randn(1, 6, 2, 3)
    query, key, value = (
        p(tokens)[0].flatten(1) for p in (attention.query, attention.key, attention.value)
    )
    attended = torch.zeros(12, 6)
    for head in range(2):
        q, k = query[3 * head : 3 * head + 3], key[3 * head : 3 * head + 3]
        v = value[6 * head : 6 * head + 6]
        for n in range(6):
            weights = torch.stack([q[:, n] @ k[:, m] for m in range(6)]).softmax(0)
            attended[6 * head : 6 * head + 6, n] = v @ weights
    expected = attention.project(attended.view(1, 12, 2, 3).clamp(0, 6))
    torch.testing.assert_close(attention(tokens), expected)


@torch.no_grad()
def test_injection_gates_local_tokens_and_adds_semantics() -> None:
    torch.manual_seed(0)
    injection = SemanticsInjection(4, 5, norm="BN").eval()
    tokens, semantics = torch.randn(1, 4, 6, 4), 4 * torch.randn(1, 4, 3, 2)
    gate = ((injection.gate(semantics) + 3) / 6).clamp(0, 1)
    assert 0 in gate or 1 in gate  # the gate's both ends count
    gate, content = (
        F.interpolate(f, size=(6, 4), mode="bilinear", align_corners=False)
        for f in (gate, injection.content(semantics))
    )
    expected = injection.local(tokens) * gate + content
    torch.testing.assert_close(injection(tokens, semantics), expected)


@pytest.mark.parametrize("depthwise", [False, True])
@torch.no_grad()
def test_head_adds_at_the_finest_size(depthwise: bool) -> None:
    head = SumHead(in_features=("res3", "res4"), channels=6, num_classes=3, depthwise=depthwise)
    head.eval()
    features = {"res3": torch.randn(2, 6, 4, 6), "res4": torch.randn(2, 6, 2, 3)}
    coarse = F.interpolate(features["res4"], scale_factor=2, mode="bilinear", align_corners=False)
    expected = head.predictor(F.relu(head.fuse(features["res3"] + coarse)))
    torch.testing.assert_close(head(features), expected)
    assert head.fuse.weight.numel() == (6 if depthwise else 36)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["MODEL.TOPFORMER.OUT_FEATURES", ["res6"]], r"OUT_FEATURES is \['res6'\]; choose from"),
        (["MODEL.TOPFORMER.PYRAMID_BLOCKS", []], r"rows of \[kernel size, expansion"),
        (["MODEL.TOPFORMER.PYRAMID_BLOCKS", [[3, 1, 8]]], r"rows of \[kernel size, expansion"),
        (["MODEL.TOPFORMER.PYRAMID_BLOCKS", [[3, 1, 8, 1], [3, 1, 8, 3]]], "stride 1 or 2"),
        (["MODEL.TOPFORMER.PYRAMID_BLOCKS", [[3, 1, 8, 1], [3, 1, 8, 2]]], "four rows of stride 2"),
        (["MODEL.SEM_SEG_HEAD.IN_FEATURES", ["res2"]], r"IN_FEATURES asks for \['res2'\]"),
        (["MODEL.SEM_SEG_HEAD.IN_FEATURES", []], "IN_FEATURES asks for nothing, but the backbone"),
    ],
)
def test_errors_name_the_key(repo_dir: Path, keys: list, message: str) -> None:
    cfg = small_config(repo_dir)
    cfg.merge_from_list(keys)
    with pytest.raises(ValueError, match=message):
        build_model(cfg)


def test_head_on_maps_of_different_channels(repo_dir: Path) -> None:
    cfg = small_config(repo_dir)
    cfg.MODEL.BACKBONE.NAME = "build_timm_backbone"
    cfg.MODEL.TIMM.NAME = "resnet10t"
    with pytest.raises(ValueError, match="the channels differ in the backbone build_timm_backbone"):
        build_model(cfg)
