"""The part that all models share: pixels to a padded, normalised batch."""

import pytest
import torch
from torch import nn

from d2seg.layers.segmentor import Segmentor


def segmentor(of_backbone: int, of_batch: int) -> Segmentor:
    backbone = nn.Identity()
    backbone.size_divisibility = of_backbone
    return Segmentor(
        backbone=backbone,
        pixel_mean=[10.0, 20.0, 30.0],
        pixel_std=[2.0, 4.0, 5.0],
        size_divisibility=of_batch,
    )


def test_a_batch_is_normalised_and_padded_with_the_mean() -> None:
    model = segmentor(of_backbone=4, of_batch=6)
    images = [torch.full((3, 5, 7), 30, dtype=torch.uint8), torch.full((3, 13, 2), 40.0)]
    batch = model.normalised_batch([{"image": image} for image in images])
    assert batch.tensor.shape == (2, 3, 24, 12)
    assert [tuple(size) for size in batch.image_sizes] == [(5, 7), (13, 2)]
    first, second = (batch[i] for i in range(2))
    assert torch.equal(first, torch.tensor([10.0, 2.5, 0.0]).view(3, 1, 1).expand(3, 5, 7))
    assert torch.equal(second, torch.tensor([15.0, 5.0, 2.0]).view(3, 1, 1).expand(3, 13, 2))
    batch.tensor[0, :, :5, :7] = 0
    batch.tensor[1, :, :13, :2] = 0
    assert not batch.tensor.any()


@pytest.mark.parametrize(
    ("of_backbone", "of_batch", "expected"),
    [(0, 0, 1), (32, 0, 32), (0, 32, 32), (14, 32, 224), (16, 32, 32)],
)
def test_sides_fit_both_the_backbone_and_the_config(
    of_backbone: int, of_batch: int, expected: int
) -> None:
    assert segmentor(of_backbone, of_batch).size_divisibility == expected


def test_pixel_statistics_are_no_part_of_a_checkpoint() -> None:
    assert not segmentor(0, 0).state_dict()
