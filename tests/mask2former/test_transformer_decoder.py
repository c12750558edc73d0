"""The attention mask and the scales of the masked-attention decoder, by hand."""

import torch
from torch.nn import functional as F

from d2seg.mask2former.transformer_decoder import MaskedAttentionDecoder, masked_out
from d2seg.mask_classification.pixel_decoder import MultiScaleFeatures


def test_queries_attend_inside_their_masks_and_everywhere_without_one() -> None:
    features = torch.tensor([[[2.0, -1.0, 0.0, 1.0]]])  # (B, C, M)
    embeddings = torch.tensor([[[1.0], [-1.0], [0.0]]])  # (B, Q, C)
    expected = [
        [False, True, False, False],  # a logit of 0 is a probability of 0.5: inside
        [True, False, False, True],
        [False, False, False, False],
    ]
    assert masked_out(embeddings, features)[0].tolist() == expected
    nowhere = masked_out(torch.tensor([[[-1.0]]]), torch.tensor([[[3.0, 1.0, 2.0, 1.0]]]))
    assert not nowhere.any()


def test_the_mask_has_no_gradient() -> None:
    embeddings = torch.randn(1, 3, 4, requires_grad=True)
    assert not masked_out(embeddings, torch.randn(1, 4, 5)).requires_grad


def decoder(**kwargs: object) -> MaskedAttentionDecoder:
    torch.manual_seed(0)
    return MaskedAttentionDecoder(
        scale_channels=[16, 8],
        num_classes=3,
        num_queries=5,
        hidden_dim=8,
        mask_dim=4,
        num_heads=2,
        dim_feedforward=16,
        num_layers=3,
        **kwargs,
    )


def decoded() -> MultiScaleFeatures:
    generator = torch.Generator().manual_seed(1)
    scales = [(16, 3, 4), (8, 5, 7)]
    return MultiScaleFeatures(
        torch.randn(2, 4, 11, 13, generator=generator),
        tuple(torch.randn(2, *shape, generator=generator) for shape in scales),
    )


def test_resized_features_give_the_resized_masks() -> None:
    """Of odd sizes, too: resizing and the product commute."""
    model, inputs = decoder(), decoded()
    embeddings = torch.randn(2, 5, 4)
    masks = torch.einsum("bqc,bchw->bqhw", embeddings, inputs.mask_features)
    scales = model._scales(inputs)
    for scale, feature in zip(scales, inputs.multi_scale_features, strict=True):
        resized = F.interpolate(masks, size=feature.shape[-2:], mode="bilinear")
        torch.testing.assert_close(embeddings @ scale.mask_features, resized.flatten(2))


def test_projects_only_where_widths_differ() -> None:
    model = decoder()
    assert [len(list(project.parameters())) for project in model.input_projs] == [2, 0]


def test_layers_take_the_scales_in_turn() -> None:
    model, sizes = decoder().eval(), []
    for layer in model.layers:
        layer.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[2].shape[1]))
    model(decoded())
    assert sizes == [12, 35, 12]


def test_predictions_in_training_and_at_inference() -> None:
    model = decoder()
    logits, masks = model(decoded())
    assert logits.shape == (4, 2, 5, 4)
    assert masks.all().shape == (4, 2, 5, 11, 13)
    model.eval()
    last_logits, last_masks = model(decoded())
    torch.testing.assert_close(last_logits[0], logits[-1])
    torch.testing.assert_close(last_masks.all()[0], masks.all()[-1])
    model.train()
    model.deep_supervision = False
    assert len(model(decoded())[0]) == 1
