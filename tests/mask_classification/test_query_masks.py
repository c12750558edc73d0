"""Masks by one convolution, against the per-pixel embedding that they are a product with."""

import pytest
import torch
from detectron2.layers import Conv2d

from d2seg.mask_classification.query_masks import ImageMasks, QueryMasks


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("num_queries", [0, 3, 8, 20])  # 8 channels
def test_projected_on_the_way(num_queries: int, bias: bool, kernel_size: int) -> None:
    torch.manual_seed(0)
    projection = Conv2d(6, 8, kernel_size, padding=kernel_size // 2, bias=bias)
    embeddings, features = torch.randn(1, 2, num_queries, 8), torch.randn(2, 6, 9, 7)
    with torch.no_grad():
        expected = QueryMasks(embeddings, projection(features))
        masks = QueryMasks(embeddings, features, projection)
        torch.testing.assert_close(masks.features, expected.features)
        torch.testing.assert_close(masks.all(), expected.all())
        queries = torch.arange(num_queries).flip(0)[None]
        for image in range(2):
            matched = expected.matched(image, queries)
            torch.testing.assert_close(masks.matched(image, queries), matched)
        for image in range(2):
            ours, reference = masks.last_layer(image), expected.last_layer(image)
            torch.testing.assert_close(ours.logits(), reference.logits(), rtol=1e-4, atol=1e-5)
            some = slice(1, 3)
            torch.testing.assert_close(
                ours[some].logits(), reference[some].logits(), rtol=1e-4, atol=1e-5
            )


def test_half_precision_rounds_a_kernel_once() -> None:
    torch.manual_seed(0)
    projection = Conv2d(32, 32, 3, padding=1)
    embeddings, features = torch.randn(16, 32), torch.randn(32, 9, 7)
    with torch.no_grad():
        exact = ImageMasks(embeddings, features, projection).logits()
        # autocast gives half-precision embeddings, of features that a norm may leave in fp32
        for dtype in (torch.bfloat16, torch.float32):
            masks = ImageMasks(embeddings.bfloat16(), features.to(dtype), projection).logits()
            assert masks.dtype == dtype
            assert (masks - exact).norm() < 0.01 * exact.norm()
        masks = ImageMasks(embeddings.bfloat16(), features.bfloat16(), projection.bfloat16())
        assert (masks.logits() - exact).norm() < 0.01 * exact.norm()
