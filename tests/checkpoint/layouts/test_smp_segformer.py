"""SegFormer of segmentation_models.pytorch."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from torch import Tensor, nn

from d2seg.checkpoint import Checkpointer
from d2seg.checkpoint.conversion import to_d2seg, to_flavour
from d2seg.checkpoint.layouts import find_layout, smp_segformer
from d2seg.config.loading import load_config
from families.segformer_config import small_config

State = dict[str, Tensor]


@pytest.fixture
def model(repo_dir: Path, randomised: Callable[[nn.Module], nn.Module]) -> nn.Module:
    return randomised(build_model(small_config(repo_dir)))


def in_smp(model: nn.Module) -> State:
    """The model's tensors under smp's names, by way of the authors'."""
    state = {}
    for name, tensor in to_flavour(model.state_dict(), "official").items():
        name = name.replace("backbone.", "encoder.")
        level = re.match(r"decode_head\.linear_c(\d)\.proj\.", name)
        if level:
            name = f"decoder.mlp_stage.{4 - int(level[1])}.linear.{name.rpartition('.')[2]}"
        name = name.replace("decode_head.linear_fuse.conv", "decoder.fuse_stage.0")
        name = name.replace("decode_head.linear_fuse.bn", "decoder.fuse_stage.1")
        state[name.replace("decode_head.linear_pred", "segmentation_head.0")] = tensor
    return state


def test_every_tensor_of_smp(model: nn.Module, same_state: Callable) -> None:
    state = in_smp(model)
    deepest = model.backbone.stages[-1].norm.normalized_shape[0]
    assert state["decoder.mlp_stage.0.linear.weight"].shape[1] == deepest
    assert find_layout(state.keys()) is smp_segformer.LAYOUT
    same_state(smp_segformer.LAYOUT.convert(state), dict(model.state_dict()))


def test_one_logit_becomes_two_classes(model: nn.Module) -> None:
    state = in_smp(model)
    weight, bias = torch.randn(1, *state["segmentation_head.0.weight"].shape[1:]), torch.randn(1)
    state |= {"segmentation_head.0.weight": weight, "segmentation_head.0.bias": bias}
    ours, _ = to_d2seg(state)
    hidden = torch.randn(1, weight.shape[1], 2, 3)
    one = nn.functional.conv2d(hidden, weight, bias)
    two = nn.functional.conv2d(
        hidden, ours["decode_head.predictor.weight"], ours["decode_head.predictor.bias"]
    )
    torch.testing.assert_close(two.softmax(1)[:, 1], one.sigmoid()[:, 0])


def test_real_weights_of_smp(repo_dir: Path, tmp_path: Path) -> None:
    """A MiT-B0 that finds the blades of wind turbines, 14.9 MB (PyPI: windblade-seg 0.1.0)."""
    found = importlib.util.find_spec("windblade_seg")
    if found is None or found.origin is None:
        pytest.skip("needs windblade-seg")
    smp = pytest.importorskip("segmentation_models_pytorch")
    weights = Path(found.origin).with_name("weights") / "best_model.pth"
    theirs = smp.Segformer("mit_b0", encoder_weights=None, in_channels=3, classes=1).eval()
    theirs.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    config = str(repo_dir / "configs" / "segformer" / "ade20k_semantic_mit_b0.yaml")
    cfg = load_config(config, ["MODEL.DEVICE", "cpu", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "2"])
    ours = build_model(cfg).eval()
    Checkpointer(ours).load(str(weights), require_complete=True)
    image = torch.rand(1, 3, 160, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs.segmentation_head[0](theirs.decoder(theirs.encoder(image)))
        logits = ours.decode_head(ours.backbone(image))
    assert expected.abs().max() > 1
    assert torch.equal(logits[:, 0], torch.zeros_like(logits[:, 0]))
    torch.testing.assert_close(logits[:, 1], expected[:, 0], atol=1e-5, rtol=1e-5)
