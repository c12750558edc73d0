"""Exported files in detectron2's own meta-architectures, which have no place for one."""

from collections.abc import Callable

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import GeneralizedRCNN, SemanticSegmentor
from detectron2.modeling.backbone import Backbone
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

Network = Callable[..., dict[str, Tensor]]
_STRIDE = 32  # of the coarsest map, of a backbone that asks for no divisibility


def replace_parts(
    model: SemanticSegmentor | GeneralizedRCNN,
    network: Network,
    size: tuple[int, int] | None,
    score_threshold: float,
) -> None:
    """Put the network, in place, where the model computes, so that what comes before and after it
    stays detectron2's.

    Args:
        size: (H, W) of the pictures, where the network takes no others.
        score_threshold: detections that score more are kept.
    """
    model.backbone = _PassImages(model.backbone.size_divisibility, size)
    if isinstance(model, SemanticSegmentor):
        model.sem_seg_head = _ExportedHead(network)
    else:
        model.proposal_generator = _NoProposals()
        model.roi_heads = _ExportedBoxes(network, score_threshold)


class _PassImages(Backbone):
    """Gives the images themselves, padded to the size of the file."""

    def __init__(self, divisibility: int, size: tuple[int, int] | None) -> None:
        super().__init__()
        self.divisibility, self.size = divisibility, size

    @property
    def size_divisibility(self) -> int:
        return max(self.divisibility, _STRIDE)

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {}

    def forward(self, images: Tensor) -> Tensor:
        if self.size is None:
            return images
        height, width = images.shape[-2:]
        if height > self.size[0] or width > self.size[1]:
            raise ValueError(
                f"the exported model takes pictures of at most {self.size[0]} x {self.size[1]} "
                f"(height x width), not {height} x {width}"
            )
        padding = (0, self.size[1] - width, 0, self.size[0] - height)
        return nn.functional.pad(images, padding)


class _ExportedHead(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, targets: Tensor | None = None) -> tuple[Tensor, dict]:
        return self.network(images)["logits"], {}


class _NoProposals(nn.Module):
    """They are within the file."""

    def forward(self, images: ImageList, features: Tensor, targets: None) -> tuple[None, dict]:
        return None, {}


class _ExportedBoxes(nn.Module):
    """Detections of images (B, C, H, W), as detectron2's ROI heads give them."""

    def __init__(self, network: Network, score_threshold: float) -> None:
        super().__init__()
        self.network, self.score_threshold = network, score_threshold

    def forward(
        self, images: ImageList, padded: Tensor, proposals: None, targets: None
    ) -> tuple[list[Instances], dict]:
        return [
            self._detect(image[None], tuple(size))
            for image, size in zip(padded, images.image_sizes, strict=True)
        ], {}

    def _detect(self, image: Tensor, size: tuple[int, int]) -> Instances:
        found = self.network(image, torch.tensor(size, dtype=torch.float32))
        is_sure = found["scores"] > self.score_threshold
        result = Instances(
            size,
            pred_boxes=Boxes(found["boxes"][is_sure]),
            scores=found["scores"][is_sure],
            pred_classes=found["classes"][is_sure],
        )
        if "mask_probs" in found:
            result.pred_masks = found["mask_probs"][is_sure]
        return result
