"""Ground truth as matcher and criterion read it."""

from dataclasses import dataclass

import torch
from detectron2.structures import BitMasks, PolygonMasks
from torch import Tensor


@dataclass(frozen=True)
class MaskTargets:
    """Masks and classes of one image, without padding.

    labels: (N,) int64 in [0, num_classes).
    masks: (N, h, w) bool over the image's true extent, i.e. the top left part of the padded batch;
        nothing outside enters matching or losses.
    name: the image's file, for messages.
    """

    labels: Tensor
    masks: Tensor
    name: str

    def __len__(self) -> int:
        return len(self.labels)


def targets_of(example: dict, num_classes: int, device: torch.device) -> MaskTargets:
    """Targets of one mapped example with ``instances`` and, where its mapper padded the image,
    ``content_size`` (h, w).

    Raises:
        ValueError: the example has no ``instances``, or a class outside [0, num_classes).
    """
    name = str(example.get("file_name", "an image without file_name"))
    if "instances" not in example:
        raise ValueError(
            f"{name}: training needs 'instances' in each mapped example; set INPUT.MAPPER to "
            "'semantic', 'instance' or 'panoptic'"
        )
    instances = example["instances"]
    height, width = example.get("content_size", example["image"].shape[-2:])
    labels = instances.gt_classes
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"{name}: ground-truth classes {sorted(set(labels.tolist()))} do not fit "
            f"MODEL.SEM_SEG_HEAD.NUM_CLASSES {num_classes}"
        )
    masks = instances.gt_masks if len(instances) else torch.zeros(0, height, width)
    if isinstance(masks, PolygonMasks):
        masks = BitMasks.from_polygon_masks(masks, *instances.image_size)
    if isinstance(masks, BitMasks):
        masks = masks.tensor
    masks = masks[:, :height, :width].to(device, torch.bool, non_blocking=True)
    return MaskTargets(labels.to(device, non_blocking=True), masks, name)
