"""Points of boxes, worked out by hand or with the general sampler."""

import torch
from detectron2.layers import ROIAlign
from detectron2.structures import BitMasks, Boxes, Instances

from d2seg.layers.point_sample import point_sample, regular_grid_coords
from d2seg.pointrend.region_points import (
    box_to_image_coords,
    mask_labels_at,
    sample_features_in_boxes,
)

BOXES = torch.tensor([[3.0, 5.0, 40.0, 30.0], [-10.0, -4.0, 12.0, 70.0], [60.0, 2.0, 60.0, 2.0]])


def test_corners_of_boxes() -> None:
    corners = torch.tensor([[[0.0, 0.0], [1.0, 1.0], [0.5, 0.0]]]).expand(3, -1, -1)
    pixels = box_to_image_coords(corners, BOXES)
    assert pixels[0].tolist() == [[3.0, 5.0], [40.0, 30.0], [21.5, 5.0]]
    assert pixels[2].tolist() == [[60.0, 2.0]] * 3


def test_a_grid_of_points_is_roi_align() -> None:
    torch.manual_seed(0)
    maps = {"a": torch.randn(6, 16, 20), "b": torch.randn(2, 8, 10)}
    boxes = BOXES[:1]
    sampled = sample_features_in_boxes(
        maps, {"b": 8, "a": 4}, boxes, regular_grid_coords(1, 7, "cpu")
    )
    assert sampled.shape == (1, 49, 8)
    for channels, name, stride in ((slice(0, 2), "b", 8), (slice(2, 8), "a", 4)):
        pool = ROIAlign((7, 7), 1 / stride, sampling_ratio=1, aligned=True)
        pooled = pool(maps[name][None], torch.cat([torch.zeros(1, 1), boxes], dim=1))
        torch.testing.assert_close(sampled[..., channels].mT, pooled.flatten(2))


def test_labels_are_bilinear_with_zeros_outside() -> None:
    torch.manual_seed(0)
    instances = Instances((60, 50))
    instances.proposal_boxes = Boxes(BOXES)
    instances.gt_masks = BitMasks(torch.rand(3, 60, 50) > 0.4)
    coords = torch.rand(3, 200, 2)
    labels = mask_labels_at(instances, coords)
    pixels = box_to_image_coords(coords, BOXES) / torch.tensor([50.0, 60.0])
    expected = point_sample(instances.gt_masks.tensor[:, None].float(), pixels)[:, 0]
    torch.testing.assert_close(labels, expected, atol=1e-5, rtol=0)
    assert 0 < (labels > 0.5).float().mean() < 1


def test_label_of_a_mask_at_the_border() -> None:
    instances = Instances((4, 4))
    instances.proposal_boxes = Boxes(torch.tensor([[0.0, 0.0, 4.0, 4.0]]))
    instances.gt_masks = BitMasks(torch.ones(1, 4, 4))
    coords = torch.tensor([[[0.0, 0.5], [0.125, 0.5], [1.0, 1.0]]])
    assert mask_labels_at(instances, coords).tolist() == [[0.5, 1.0, 0.25]]
