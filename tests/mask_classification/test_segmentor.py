"""What the segmentor does by itself; with its decoders it is tested in every method's folder."""

from types import SimpleNamespace

import pytest
from torch import nn

from d2seg.mask_classification.segmentor import MaskClassificationSegmentor


@pytest.mark.parametrize(
    ("of_the_batch", "of_the_backbone", "expected"),
    [(32, 14, 224), (32, 16, 32), (0, 32, 32), (32, 0, 32), (0, 0, 1)],
)
def test_sides_are_multiples_of_both(
    of_the_batch: int, of_the_backbone: int, expected: int
) -> None:
    backbone = nn.Identity()
    backbone.size_divisibility = of_the_backbone
    model = MaskClassificationSegmentor(
        backbone=backbone,
        pixel_decoder=nn.Identity(),
        transformer_decoder=nn.Identity(),
        criterion=nn.Identity(),
        inference=SimpleNamespace(),
        size_divisibility=of_the_batch,
        pixel_mean=[0.0, 0.0, 0.0],
        pixel_std=[1.0, 1.0, 1.0],
    )
    assert model.size_divisibility == expected
