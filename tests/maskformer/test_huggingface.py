"""Equality with transformers' MaskFormer: the same random weights, brought over by the converter."""

from pathlib import Path

import pytest
import torch
from torch import nn

from d2seg.mask_classification.targets import MaskTargets
from families.dense_masks import query_masks
from families.huggingface_equality import BACKBONES, IMAGES, backbone_config, ours_like
from families.mask_classification import NUM_CLASSES
from families.maskformer_config import small_config

transformers = pytest.importorskip("transformers")


def their_model(backbone: str) -> nn.Module:
    config = transformers.MaskFormerConfig(
        backbone_config=backbone_config(backbone),
        decoder_config=transformers.DetrConfig(
            d_model=32,
            decoder_layers=3,
            decoder_attention_heads=4,
            decoder_ffn_dim=64,
            num_queries=7,
            dropout=0.0,
        ),
        fpn_feature_size=64,
        mask_feature_size=32,
        num_labels=NUM_CLASSES,
    )
    return transformers.MaskFormerForInstanceSegmentation(config).eval()


@pytest.fixture(scope="module", params=BACKBONES)
def models(request: pytest.FixtureRequest, repo_dir: Path) -> tuple[nn.Module, nn.Module]:
    theirs = their_model(request.param)
    cfg = small_config(repo_dir, f"ade20k_semantic_{BACKBONES[request.param]}")
    cfg.MODEL.MASKFORMER.NUM_DECODER_LAYERS = 3
    return theirs, ours_like(theirs, cfg)


def test_predictions(models: tuple[nn.Module, nn.Module]) -> None:
    """Of the last layer; transformers leaves out the norm before the auxiliary ones."""
    theirs, ours = models
    with torch.no_grad():
        expected = theirs(IMAGES)
        logits, masks = ours.transformer_decoder(ours.pixel_decoder(ours.backbone(IMAGES)))
    torch.testing.assert_close(logits[-1], expected.class_queries_logits, atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(masks.all()[-1], expected.masks_queries_logits, atol=2e-5, rtol=2e-5)


def test_loss_terms(models: tuple[nn.Module, nn.Module]) -> None:
    theirs, ours = models
    generator = torch.Generator().manual_seed(2)
    labels = [torch.tensor([1, 4, 2]), torch.tensor([0, 3])]
    masks = [torch.rand(len(row), 64, 96, generator=generator) > 0.7 for row in labels]
    targets = [MaskTargets(*pair, "") for pair in zip(labels, masks, strict=True)]
    with torch.no_grad():
        outputs = theirs(IMAGES)
        logits, pred_masks = outputs.class_queries_logits, outputs.masks_queries_logits
        expected = theirs.get_loss_dict(
            pred_masks, logits, [mask.float() for mask in masks], labels, {}
        )
        losses = ours.criterion(logits[None], query_masks(pred_masks[None]), targets, (64, 96))
    names = {"loss_ce": "loss_cross_entropy", "loss_mask": "loss_mask", "loss_dice": "loss_dice"}
    for name, their_name in names.items():
        torch.testing.assert_close(losses[name], expected[their_name].squeeze(), rtol=1e-5, atol=0)
