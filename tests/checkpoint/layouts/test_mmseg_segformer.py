"""SegFormer and Mix Transformers of mmsegmentation 1.x."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from torch import Tensor, nn
from torch.nn import functional as F

from d2seg.checkpoint import Checkpointer
from d2seg.checkpoint.conversion import options_of, to_d2seg, to_flavour
from d2seg.checkpoint.layouts import mmseg_mit, mmseg_segformer
from families.segformer_config import small_config

State = dict[str, Tensor]
CHANNELS, DIM, CLASSES = (8, 16, 20, 32), 32, 5
KEY = "MODEL.SEGFORMER.LEVEL_NORMS"


def in_mmseg(model: nn.Module) -> State:
    """The backbone's tensors under mmsegmentation's names: the projections are one, linear layers
    of the feed-forward part convolutions."""
    state: State = {}
    for name, tensor in model.backbone.state_dict().items():
        for ours, theirs in [
            (r"stages\.(\d)\.patch_embed\.conv", r"layers.\1.0.projection"),
            (r"stages\.(\d)\.patch_embed\.norm", r"layers.\1.0.norm"),
            (r"stages\.(\d)\.norm", r"layers.\1.2"),
            (r"stages\.(\d)\.blocks", r"layers.\1.1"),
            (r"attention\.output", "attn.attn.out_proj"),
            (r"attention\.reduction_norm", "attn.norm"),
            (r"attention\.reduction", "attn.sr"),
            (r"feed_forward\.linear1", "ffn.layers.0"),
            (r"feed_forward\.depthwise", "ffn.layers.1"),
            (r"feed_forward\.linear2", "ffn.layers.4"),
        ]:
            name = re.sub(ours, theirs, name)
        if re.search(r"ffn\.layers\.[04]\.weight", name):
            tensor = tensor[..., None, None]
        state[f"backbone.{name}"] = tensor
    for name in [name for name in state if "attention.query" in name]:
        key_value = state.pop(name.replace("query", "key_value"))
        fused = re.sub(r"attention\.query\.", "attn.attn.in_proj_", name)
        state[fused] = torch.cat([state.pop(name), key_value])
    return state


class ConvModule(nn.Module):
    """Its parts have mmcv's names."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, DIM, 1, bias=False)
        self.bn = nn.BatchNorm2d(DIM)

    def forward(self, feature: Tensor) -> Tensor:
        return self.bn(self.conv(feature)).relu()


class MmsegHead(nn.Module):
    """mmsegmentation's SegFormer head, in the order of its steps and under its names."""

    def __init__(self, num_logits: int = CLASSES) -> None:
        super().__init__()
        self.convs = nn.ModuleList(ConvModule(channels) for channels in CHANNELS)
        self.fusion_conv = ConvModule(len(CHANNELS) * DIM)
        self.conv_seg = nn.Conv2d(DIM, num_logits, 1)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        size = features["res2"].shape[-2:]
        levels = [
            F.interpolate(conv(features[name]), size=size, mode="bilinear", align_corners=False)
            for name, conv in zip(("res2", "res3", "res4", "res5"), self.convs, strict=True)
        ]
        return self.conv_seg(self.fusion_conv(torch.cat(levels, 1)))


@pytest.fixture
def model(repo_dir: Path, randomised: Callable[[nn.Module], nn.Module]) -> nn.Module:
    cfg = small_config(repo_dir)
    cfg.MODEL.SEGFORMER.LEVEL_NORMS = True
    cfg.MODEL.PER_PIXEL.DROPOUT = 0.0
    return randomised(build_model(cfg))


def saved(state: State, folder: Path) -> str:
    torch.save({"meta": {"mmseg_version": "1.2"}, "state_dict": state}, folder / "mmseg.pth")
    return str(folder / "mmseg.pth")


def features_of(model: nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(2, channels, 16 >> i, 12 >> i, generator=generator)
        for i, (name, channels) in enumerate(
            zip(model.backbone.output_shape(), CHANNELS, strict=True)
        )
    }


@pytest.mark.parametrize("training", [False, True])
def test_logits_of_mmseg(
    model: nn.Module, randomised: Callable, tmp_path: Path, training: bool
) -> None:
    head = randomised(MmsegHead())
    state = in_mmseg(model) | {f"decode_head.{n}": t for n, t in head.state_dict().items()}
    state |= {
        "auxiliary_head.conv_seg.bias": torch.ones(3),
        "data_preprocessor.mean": torch.ones(3),
    }
    assert options_of({f"module.{name}": tensor for name, tensor in state.items()}) == (KEY, True)
    assert to_d2seg(state)[1] is mmseg_segformer.LAYOUT
    Checkpointer(model).load(saved(state, tmp_path), require_complete=True)
    features = features_of(model)
    expected = head.train(training)(features)
    ours = model.decode_head.train(training)
    forms = (ours, ours.forward_as_published)[: 1 if training else 2]  # each moves the statistics
    for logits in (form(features) for form in forms):
        torch.testing.assert_close(
            logits, expected, atol=1e-5 * expected.abs().max().item(), rtol=0
        )
    if training:
        means = [m.running_mean for m in (ours.level_norms["res4"], head.convs[2].bn)]
        torch.testing.assert_close(means[0], means[1], atol=1e-5, rtol=1e-5)


def test_one_logit_becomes_two_classes(model: nn.Module) -> None:
    state = in_mmseg(model)
    state |= {f"decode_head.{n}": t for n, t in MmsegHead(1).state_dict().items()}
    ours, _ = to_d2seg(state)
    assert ours["decode_head.predictor.weight"].shape == (2, DIM, 1, 1)
    assert not ours["decode_head.predictor.weight"][0].any()


def test_the_other_head_is_named(
    repo_dir: Path, model: nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The paper's head takes none of mmsegmentation's weights, nor the other way round."""
    state = in_mmseg(model) | {f"decode_head.{n}": t for n, t in MmsegHead().state_dict().items()}
    plain = build_model(small_config(repo_dir))
    before = plain.decode_head.fuse.weight.clone()
    path = saved(state, tmp_path)
    with pytest.raises(ValueError, match=f"set {KEY} True"):
        Checkpointer(plain).load(path, require_complete=True)
    with caplog.at_level(logging.WARNING):
        Checkpointer(plain).load(path)
    assert "the head starts from scratch" in caplog.text
    assert torch.equal(plain.decode_head.fuse.weight, before)
    official = saved(to_flavour(plain.state_dict(), "official"), tmp_path)
    with pytest.raises(ValueError, match=f"set {KEY} False"):
        Checkpointer(model).load(official, require_complete=True)
    with pytest.raises(ValueError, match="no 'official' layout holds this model"):
        to_flavour(model.state_dict(), "official")


@pytest.mark.parametrize("with_head", [False, True])
def test_a_backbone_of_mmseg(
    model: nn.Module, same_state: Callable, caplog: pytest.LogCaptureFixture, with_head: bool
) -> None:
    """ImageNet's, and that of another head."""
    state = in_mmseg(model)
    if with_head:
        state["decode_head.lateral_convs.0.bn.weight"] = torch.ones(3)
    else:
        state = {name.removeprefix("backbone."): tensor for name, tensor in state.items()}
    ours, layout = to_d2seg(state)
    assert layout is mmseg_mit.LAYOUT
    expected = {f"backbone.{name}": t for name, t in model.backbone.state_dict().items()}
    same_state(ours, expected)
    assert ("1 tensors of its heads" in caplog.text) == with_head
