"""Equality with transformers' SegFormer, B0 to B5: the same random weights through the converter."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from d2seg.checkpoint.layouts import find_layout
from d2seg.config.loading import load_config
from families.undrawn import build_undrawn, undrawn

transformers = pytest.importorskip("transformers")

NUM_CLASSES = 7
IMAGES = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(1))


def their_model(cfg) -> nn.Module:
    mit = cfg.MODEL.MIT
    config = transformers.SegformerConfig(
        depths=mit.DEPTHS,
        hidden_sizes=mit.EMBED_DIMS,
        num_attention_heads=mit.NUM_HEADS,
        sr_ratios=mit.REDUCTIONS,
        mlp_ratios=[int(mit.MLP_RATIO)] * 4,
        decoder_hidden_size=cfg.MODEL.SEGFORMER.EMBED_DIM,
        num_labels=NUM_CLASSES,
        semantic_loss_ignore_index=255,
    )
    return transformers.SegformerForSemanticSegmentation(config).eval()


def randomise(model: nn.Module) -> None:
    """Weights under which every layer matters, and activations that keep their size."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif not tensor.is_floating_point():
            continue
        elif tensor.dim() > 1:
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.copy_(noise * tensor[0].numel() ** -0.5)
        else:
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.copy_(0.1 * noise + (1.0 if name.endswith("weight") else 0.0))


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


@pytest.fixture(scope="module", params=range(6), ids=lambda i: f"b{i}")
def models(request: pytest.FixtureRequest, repo_dir: Path) -> tuple[nn.Module, nn.Module]:
    name = f"ade20k_semantic_mit_b{request.param}.yaml"
    cfg = load_config(str(repo_dir / "configs" / "segformer" / name))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = NUM_CLASSES
    with undrawn():
        theirs = their_model(cfg)
    ours = build_undrawn(cfg)
    randomise(theirs)
    state = theirs.state_dict()
    ours.load_state_dict(find_layout(state.keys()).convert(state))
    # transformers has eps 1e-5 in all norms, the authors 1e-6 in most: equality needs one of them
    for module in ours.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5
    return theirs, ours


def test_logits(models: tuple[nn.Module, nn.Module]) -> None:
    theirs, ours = models
    with torch.no_grad():
        assert relative_error(ours.window_logits(IMAGES), theirs(IMAGES).logits) < 1e-5


def test_loss_and_gradients(models: tuple[nn.Module, nn.Module]) -> None:
    """In eval mode (no dropout); the loss is transformers' too, a mean over the valid pixels."""
    theirs, ours = models
    labels = torch.randint(0, NUM_CLASSES, (2, 96, 128), generator=torch.Generator().manual_seed(2))
    labels[:, :20] = 255
    expected = theirs(IMAGES, labels=labels).loss
    loss = ours.losses(IMAGES, labels)["loss_sem_seg"]
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    for model, value in ((theirs, expected), (ours, loss)):
        model.zero_grad()
        value.backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    converted = find_layout(gradients.keys()).convert(gradients)
    parameters = dict(ours.named_parameters())
    assert set(converted) == set(parameters)
    for name, gradient in converted.items():
        assert relative_error(parameters[name].grad, gradient) < 1e-3, name
