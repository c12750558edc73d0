"""Equality with transformers' MaskFormer: the same random weights, brought over by the converter."""

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from d2seg.checkpoint.layouts import find_layout
from d2seg.mask_classification.targets import MaskTargets
from families.dense_masks import query_masks
from families.maskformer_config import small_config

transformers = pytest.importorskip("transformers")

NUM_CLASSES = 5


def randomise(model: nn.Module) -> None:
    """Weights and statistics under which every layer matters."""
    torch.manual_seed(0)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.dim() <= 1 and tensor.is_floating_point() and "empty_weight" not in name:
            tensor.add_(0.1 * torch.randn_like(tensor))
        elif tensor.is_floating_point() and "query" in name:
            tensor.normal_()


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
    config = transformers.MaskFormerConfig(
        backbone_config=backbone_config,
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
    model = transformers.MaskFormerForInstanceSegmentation(config).eval()
    randomise(model)
    return model


def our_model(repo_dir: Path, backbone: str) -> nn.Module:
    name = "coco_panoptic_swin_tiny" if backbone == "swin" else "ade20k_semantic_resnet50"
    cfg = small_config(repo_dir, name)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = NUM_CLASSES
    cfg.MODEL.MASKFORMER.NUM_DECODER_LAYERS = 3
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


def test_predictions(models: tuple[nn.Module, nn.Module]) -> None:
    """Of the last layer; transformers leaves out the norm before the auxiliary ones."""
    theirs, ours = models
    with torch.no_grad():
        expected = theirs(IMAGES)
        logits, masks = ours.transformer_decoder(ours.pixel_decoder(ours.backbone(IMAGES)))
    torch.testing.assert_close(logits[-1], expected.class_queries_logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(masks.all()[-1], expected.masks_queries_logits, atol=1e-4, rtol=1e-4)


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
        torch.testing.assert_close(losses[name], expected[their_name].squeeze(), rtol=1e-4, atol=0)
