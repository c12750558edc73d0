"""Equality with transformers' Mask2Former: the same random weights, brought over by the converter.

The losses: ``test_losses_huggingface.py``.
"""

from pathlib import Path

import pytest
import torch
from torch import nn

from families.huggingface_equality import BACKBONES, IMAGES, backbone_config, ours_like
from families.mask2former_config import small_config
from families.mask_classification import NUM_CLASSES

transformers = pytest.importorskip("transformers")


def their_model(backbone: str, num_layers: int) -> nn.Module:
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone_config(backbone),
        feature_size=64,
        mask_feature_size=32,
        hidden_dim=32,
        num_attention_heads=4,
        encoder_layers=2,
        encoder_feedforward_dim=64,
        dim_feedforward=64,
        decoder_layers=num_layers + 1,  # theirs counts the predictions
        num_queries=7,
        num_labels=NUM_CLASSES,
        dropout=0.0,
    )
    return transformers.Mask2FormerForUniversalSegmentation(config).eval()


@pytest.fixture(scope="module", params=BACKBONES)
def models(request: pytest.FixtureRequest, repo_dir: Path) -> tuple[nn.Module, nn.Module]:
    cfg = small_config(repo_dir, f"coco_panoptic_{BACKBONES[request.param]}")
    theirs = their_model(request.param, cfg.MODEL.MASK2FORMER.NUM_DECODER_LAYERS)
    return theirs, ours_like(theirs, cfg)


def test_pixel_decoder(models: tuple[nn.Module, nn.Module]) -> None:
    theirs, ours = models
    with torch.no_grad():
        expected = theirs.model.pixel_level_module(IMAGES)
        decoded = ours.pixel_decoder(ours.backbone(IMAGES))
    tolerance = {"atol": 2e-5, "rtol": 2e-5}
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
        torch.testing.assert_close(layer_logits, their_logits, atol=2e-5, rtol=2e-5)
        torch.testing.assert_close(layer_masks, their_masks, atol=2e-5, rtol=2e-5)
