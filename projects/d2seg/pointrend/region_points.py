"""Points inside boxes: features, labels, and the chunks in which many boxes are handled
(PointRend, Kirillov et al. 2020, section 4.1).

R boxes of one image, P points each, C channels. Coordinates are (x, y) in [0, 1] x [0, 1] of a
box; boxes are XYXY in pixels of the (padded) image.
"""

from collections.abc import Mapping

import torch
from detectron2.structures import BitMasks, Instances
from torch import Tensor

from ..layers.point_rows import bilinear_corners, point_rows
from ..layers.recording import is_recording


def box_to_image_coords(coords: Tensor, boxes: Tensor) -> Tensor:
    """(R, P, 2) coordinates of boxes (R, 4) -> (R, P, 2) in pixels of the image."""
    corners, opposite = boxes[:, None, :2], boxes[:, None, 2:]
    return coords * (opposite - corners) + corners


def sample_features_in_boxes(
    features: Mapping[str, Tensor], strides: Mapping[str, int], boxes: Tensor, coords: Tensor
) -> Tensor:
    """Bilinear values of one image's feature maps at points of its boxes, zeros outside of them.

    Args:
        features: {name: (C, H, W)}; those that ``strides`` names are read.
        strides: {name: pixels of the image per cell}; their order is that of the channels.
        boxes: (R, 4), of any extent. coords: (R, P, 2).

    Returns:
        (R, P, C), the maps' channels one after the other.
    """
    pixels = box_to_image_coords(coords, boxes).flatten(0, 1)  # (R * P, 2)
    sampled = []
    for name, stride in strides.items():
        height, width = features[name].shape[-2:]
        if is_recording():  # no tensor of sizes, which would hold the example's
            x, y = pixels.unbind(-1)
            places = torch.stack([x / (width * stride), y / (height * stride)], dim=-1)
        else:
            places = pixels / pixels.new_tensor([width * stride, height * stride])
        rows = point_rows(features[name][None], places[None])[0]  # (R * P, C)
        sampled.append(rows.unflatten(0, coords.shape[:2]))
    return torch.cat(sampled, dim=2) if len(sampled) > 1 else sampled[0]


def mask_labels_at(instances: Instances, coords: Tensor) -> Tensor:
    """Ground truth of matched proposals at points of their boxes.

    Args:
        instances: R proposals with ``proposal_boxes`` and ``gt_masks``. coords: (R, P, 2).

    Returns:
        (R, P) in [0, 1]: masks are sampled bilinearly, so that a label on a border lies between.

    Raises:
        ValueError: the masks are polygons.
    """
    masks = instances.gt_masks
    if not isinstance(masks, BitMasks):
        raise ValueError(
            "PointRend samples its ground truth from bitmasks; set INPUT.MASK_FORMAT to bitmask"
        )
    pixels = box_to_image_coords(coords, instances.proposal_boxes.tensor)
    return _sample_masks(masks.tensor, pixels)


def _sample_masks(masks: Tensor, pixels: Tensor) -> Tensor:
    """Bilinear values of bool masks (R, H, W) at (R, P, 2) pixels, zeros outside: (R, P).

    Gathers four cells per point; ``grid_sample`` would need all masks in fp32.
    """
    indices, weights = bilinear_corners(pixels, *masks.shape[-2:])  # (R, P, 4)
    values = masks.flatten(1).gather(1, indices.flatten(1)).view_as(weights)
    return (values * weights).sum(-1)
