"""Equality with transformers' Mask2Former: the same random weights, brought over by the converter.

The losses: ``test_losses_huggingface.py``.
"""

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from d2seg.checkpoint.layouts import find_layout
from families.mask2former_config import small_config

transformers = pytest.importorskip("transformers")

NUM_CLASSES, NUM_LAYERS = 5, 4


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


def their_model(backbone: str) -> nn.Module:
    sizes = {"depths": [2, 2, 2, 2], "out_features": ["stage1", "stage2", "stage3", "stage4"]}
    if backbone == "swin":
        backbone_config = transformers.SwinConfig(
            embed_dim=12, num_heads=[3, 6, 12, 24], window_size=7, drop_path_rate=0.0, **sizes
        )
    else:
        backbone_config = transformers.ResNetConfig(
            embedding_size=64, hidden_sizes=[64, 128, 256, 512], layer_type="basic", **sizes
        )
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone_config,
        feature_size=64,
        mask_feature_size=32,
        hidden_dim=32,
        num_attention_heads=4,
        encoder_layers=2,
        encoder_feedforward_dim=64,
        dim_feedforward=64,
        decoder_layers=NUM_LAYERS + 1,  # theirs counts the predictions
        num_queries=7,
        num_labels=NUM_CLASSES,
        dropout=0.0,
    )
    model = transformers.Mask2FormerForUniversalSegmentation(config).eval()
    randomise(model)
    return model


def our_model(repo_dir: Path, backbone: str) -> nn.Module:
    cfg = small_config(
        repo_dir, f"coco_panoptic_{'swin_tiny' if backbone == 'swin' else 'resnet50'}"
    )
    cfg.MODEL.MASK2FORMER.NUM_DECODER_LAYERS = NUM_LAYERS
    cfg.MODEL.SWIN.EMBED_DIM = 12
    cfg.MODEL.SWIN.DEPTHS = [2, 2, 2, 2]
    return build_model(cfg).eval()


@pytest.fixture(scope="module", params=["resnet", "swin"])
def models(request: pytest.FixtureRequest, repo_dir: Path) -> tuple[nn.Module, nn.Module]:
    theirs, ours = their_model(request.param), our_model(repo_dir, request.param)
    state = theirs.state_dict()
    missing, unexpected = ours.load_state_dict(find_layout(state.keys()).convert(state), False)
    assert not unexpected
    assert all("relative_position_index" in name for name in missing)
    return theirs, ours


IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def test_pixel_decoder(models: tuple[nn.Module, nn.Module]) -> None:
    theirs, ours = models
    with torch.no_grad():
        expected = theirs.model.pixel_level_module(IMAGES)
        decoded = ours.pixel_decoder(ours.backbone(IMAGES))
    tolerance = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(
        decoded.mask_features, expected.decoder_last_hidden_state, **tolerance
    )
    scales = zip(decoded.multi_scale_features, expected.decoder_hidden_states, strict=True)
    for scale, their_scale in scales:
        torch.testing.assert_close(scale, their_scale, **tolerance)


def test_predictions_of_every_layer(models: tuple[nn.Module, nn.Module]) -> None:
    theirs, ours = models
    with torch.no_grad():
        expected = theirs(IMAGES, output_auxiliary_logits=True)
        ours.transformer_decoder.training = True
        logits, masks = ours.transformer_decoder(ours.pixel_decoder(ours.backbone(IMAGES)))
        ours.transformer_decoder.training = False
    their_layers = [
        *(
            (a["class_queries_logits"], a["masks_queries_logits"])
            for a in expected.auxiliary_logits
        ),
        (expected.class_queries_logits, expected.masks_queries_logits),
    ]
    for layer in zip(logits, masks.all(), their_layers, strict=True):
        layer_logits, layer_masks, (their_logits, their_masks) = layer
        torch.testing.assert_close(layer_logits, their_logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(layer_masks, their_masks, atol=1e-4, rtol=1e-4)
