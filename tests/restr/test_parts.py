"""Losses and decoder on cases worked out by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from d2seg.layers.chunking import budget
from d2seg.restr.decoder import MaskDecoder
from d2seg.restr.fusion import FusionEncoder, _block_of_shared_patches, _plain_block
from d2seg.restr.losses import ReferringLoss, patch_labels
from d2seg.restr.text_encoder import sinusoidal_positions


def test_patch_labels_are_positive_where_any_pixel_is() -> None:
    masks = torch.zeros(1, 4, 4)
    masks[0, 0, 3] = 1
    assert patch_labels(masks, (2, 2)).tolist() == [[[0, 1], [0, 0]]]


def test_losses_by_hand() -> None:
    masks = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    mask_logits = torch.zeros(1, 2, 2)
    patch_logits = torch.tensor([[[math.log(3)]]])  # a probability of 3/4, of a positive patch
    loss = ReferringLoss(mask_weight=1.0, patch_weight=0.1, dice_weight=2.0)
    losses = loss(mask_logits, patch_logits, masks)
    assert losses["loss_mask"].item() == pytest.approx(math.log(2))
    assert losses["loss_patch"].item() == pytest.approx(0.1 * math.log(4 / 3), rel=1e-6)
    # 1 - (2 * 0.5 + 1) / (4 * 0.5 + 1 + 1)
    assert losses["loss_dice"].item() == pytest.approx(2 * 0.5)


@pytest.mark.parametrize("rows", [1, 5, 100])
def test_the_decoder_equals_layers_applied_after_each_doubling(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plain form of the paper, with an image's patches repeated for its expressions."""
    torch.manual_seed(0)
    decoder = MaskDecoder(8, [8, 4])
    patches, fused = torch.randn(2, 8, 3, 5), torch.randn(3, 8, 3, 5)
    projection, patch_logits = torch.randn(8, 8), torch.randn(3, 15)
    image_of = torch.tensor([0, 0, 1])
    masked = F.linear(fused.flatten(2).mT, projection) * patch_logits[..., None]
    features = torch.cat([patches[image_of], masked.mT.unflatten(2, (3, 5))], dim=1)
    for layer in decoder.layers:
        features = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)
        features = F.leaky_relu(layer(features), 0.01)
    expected = decoder.predictor(features)[:, 0]
    tokens = (patches.flatten(2).mT, fused.flatten(2).mT, projection, patch_logits)
    tokens = (*tokens, image_of, (3, 5))
    torch.testing.assert_close(decoder(*tokens), expected)
    monkeypatch.setattr("d2seg.restr.decoder._STRIP", budget(rows * 4 * 40))
    with torch.no_grad():  # one by one, and the last doubling in strips of rows
        torch.testing.assert_close(decoder(*tokens), expected)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-3)], ids=["fp32", "bf16"]
)
def test_patches_attend_among_themselves_once_an_image(
    dtype: torch.dtype, tolerance: float
) -> None:
    """The first block of an image's patches and each expression's words, against the plain block;
    the plain block itself is 9e-4 off in bf16."""
    torch.manual_seed(0)
    fusion = FusionEncoder(vision_dim=8, text_dim=8, dim=32, depth=1, num_heads=2)
    (block,) = fusion.vision_language
    patches, words = torch.randn(2, 60, 32), 3 * torch.randn(3, 4, 32)
    image_of = torch.tensor([1, 0, 1])
    expected = block(torch.cat([patches[image_of], words], dim=1))
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        actual = _block_of_shared_patches(block, patches, words, image_of)
    assert (actual - expected).norm() / expected.norm() < tolerance


def test_blocks_are_the_same_in_training_and_at_inference() -> None:
    torch.manual_seed(0)
    fusion = FusionEncoder(vision_dim=8, text_dim=8, dim=32, depth=1, num_heads=2)
    (block,) = fusion.language_seed
    tokens = torch.randn(3, 7, 32)
    with torch.no_grad():
        expected = _plain_block(block, tokens)
    assert block.attn.fused_attn
    torch.testing.assert_close(_plain_block(block, tokens), expected)
    assert block.attn.fused_attn
    with torch.autocast("cpu", torch.bfloat16):
        in_half = _plain_block(block, tokens)
    assert not block.attn.fused_attn
    torch.testing.assert_close(in_half.float(), expected, atol=0.05, rtol=0)


def test_positions_alternate_sine_and_cosine() -> None:
    table = sinusoidal_positions(3, 4)
    expected = [math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)]
    assert table[2].tolist() == pytest.approx(expected)
