"""What every model of this package does with images before its own work begins."""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from detectron2.modeling.backbone import Backbone
from detectron2.structures import ImageList
from torch import Tensor, nn
from torch.nn import functional as F

from .state_conversion import convert_at_loading


class ExportedNetwork(Protocol):
    """A file that computes a model's :meth:`Segmentor.network`.

    size: (H, W) of the pictures, where it takes no others.
    """

    size: tuple[int, int] | None

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]: ...


class Segmentor(nn.Module):
    """A backbone, the statistics of the pixels that it takes, and the sides that it takes.

    The families' meta-architectures subclass it. detectron2's own (``GeneralizedRCNN``,
    ``SemanticSegmentor``) each have this part for themselves, beside heads of another kind.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    # what computes :meth:`network` in the place of this model's parts
    exported: ExportedNetwork | None = None

    def __init__(
        self,
        *,
        backbone: Backbone,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        size_divisibility: int = 1,
    ) -> None:
        """
        Args:
            pixel_mean, pixel_std: per channel, on the 0..255 scale, in the images' channel order.
            size_divisibility: images are padded to a multiple of this and of what the backbone
                asks for.
        """
        super().__init__()
        convert_at_loading(self)
        self.backbone = backbone
        self.size_divisibility = math.lcm(
            max(size_divisibility, 1), max(backbone.size_divisibility, 1)
        )
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def network(self, *inputs: Tensor) -> dict[str, Tensor]:
        """What lies between normalised pictures (and words) and the results: the part of a model
        that is exported. Tensors in, named tensors out; what they are is said where a family
        implements it.
        """
        raise NotImplementedError(f"{type(self).__name__} has no part that can be exported")

    def normalise(self, image: Tensor) -> Tensor:
        """(C, h, w) uint8 or float on the 0..255 scale -> (C, h, w) on the model's device; 0 is
        the mean, and what padding is filled with."""
        return (image.to(self.device, non_blocking=True) - self.pixel_mean) / self.pixel_std

    def normalised_batch(self, batched_inputs: list[dict]) -> ImageList:
        """Each example's ``image``, normalised; padded at the right and at the bottom."""
        images = [self.normalise(example["image"]) for example in batched_inputs]
        batch = ImageList.from_tensors(images, self.size_divisibility)
        size = None if self.exported is None else self.exported.size
        if size is None:
            return batch
        return ImageList(padded_to(batch.tensor, size), batch.image_sizes)


def padded_to(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, h, w) -> (B, C, *size), with zeros at the right and at the bottom.

    Raises:
        ValueError: the images are larger.
    """
    height, width = images.shape[-2:]
    if height > size[0] or width > size[1]:
        raise ValueError(
            f"the exported model takes pictures of at most {size[0]} x {size[1]} (height x width), "
            f"not {height} x {width}; make them smaller"
        )
    return F.pad(images, (0, size[1] - width, 0, size[0] - height))
