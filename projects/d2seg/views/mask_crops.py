"""Binary masks of a large picture, each kept as the crop that holds it.

N masks, (H, W) the picture, (h, w) a crop.
"""

import zlib
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Masks of a result up to so many pixels in all are a plain tensor (N, H, W), of 256 MiB at most
LARGEST_TENSOR = 1 << 28


@dataclass(frozen=True)
class Crop:
    """A binary mask: ``mask`` (h, w) bool, whose first pixel is (top, left) of the picture. All
    outside is False."""

    mask: Tensor
    top: int
    left: int

    @property
    def bottom(self) -> int:
        return self.top + self.mask.shape[0]

    @property
    def right(self) -> int:
        return self.left + self.mask.shape[1]

    def area(self) -> int:
        return count(self.mask)

    def moved(self, down: int, right: int) -> "Crop":
        return Crop(self.mask, self.top + down, self.left + right)

    def within(self, top: int, left: int, bottom: int, right: int) -> Tensor:
        """The part in a rectangle that overlaps this one or touches it: bool, maybe empty."""
        return self.mask[
            max(top - self.top, 0) : max(bottom - self.top, 0),
            max(left - self.left, 0) : max(right - self.left, 0),
        ]

    def trimmed(self) -> "Crop":
        """The smallest crop of the same mask; an empty mask has no pixel at all."""
        rows, columns = self.mask.any(1).nonzero(), self.mask.any(0).nonzero()
        if not len(rows):
            return Crop(self.mask[:0, :0], 0, 0)
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        left, right = int(columns[0]), int(columns[-1]) + 1
        # a copy, so that the large mask is freed
        return Crop(self.mask[top:bottom, left:right].clone(), self.top + top, self.left + left)

    def resized(self, source: tuple[int, int], target: tuple[int, int]) -> "Crop":
        """The mask in a picture of another size (H, W): each pixel has the value of the nearest."""
        rows, top = _nearest(self.top, self.bottom, source[0], target[0])
        columns, left = _nearest(self.left, self.right, source[1], target[1])
        rows, columns = rows.to(self.mask.device), columns.to(self.mask.device)
        return Crop(self.mask[rows][:, columns], top, left)

    def box(self) -> list[int]:
        """Left, top, right and bottom of a trimmed crop; zeros for an empty mask."""
        return [self.left, self.top, self.right, self.bottom]

    def rectangle(self) -> tuple[int, int, int, int]:
        """Top, left, bottom and right."""
        return self.top, self.left, self.bottom, self.right


def _nearest(start: int, stop: int, source: int, target: int) -> tuple[Tensor, int]:
    """Which of ``start`` to ``stop`` of ``source`` pixels each of the target's shows, and the first
    of these."""
    below = nearest_positions(source, target)
    inside = ((below >= start) & (below < stop)).nonzero()[:, 0]
    return below[inside] - start, int(inside[0]) if len(inside) else 0


def count(mask: Tensor) -> int:
    """Pixels of a bool mask; numpy counts them in a tenth of torch's time."""
    return int(np.count_nonzero(mask.numpy(force=True)))


def nearest_positions(source: int, target: int) -> Tensor:
    """(target,) int64: the pixel of ``source`` that each one shows."""
    return (2 * torch.arange(target) + 1) * source // (2 * target)


def intersection(first: Crop, second: Crop) -> int:
    """Pixels in both."""
    top, left = max(first.top, second.top), max(first.left, second.left)
    bottom, right = min(first.bottom, second.bottom), min(first.right, second.right)
    if top >= bottom or left >= right:
        return 0
    window = (top, left, bottom, right)
    return count(first.within(*window) & second.within(*window))


class PackedCrop:
    """A crop in little memory: a bit for each pixel, each row as what differs from the one above,
    compressed. A smooth mask takes a hundredth of its pixels, noise an eighth."""

    def __init__(self, crop: Crop) -> None:
        """``crop``: on the CPU; it may be empty."""
        self.top, self.left, self.bottom, self.right = crop.top, crop.left, crop.bottom, crop.right
        self._area = crop.area()
        bits = np.packbits(crop.mask.numpy(), axis=1)
        bits[1:] ^= bits[:-1].copy()
        self._data = zlib.compress(bits.tobytes(), 1)

    def area(self) -> int:
        return self._area

    def box(self) -> list[int]:
        return [self.left, self.top, self.right, self.bottom]

    @property
    def mask(self) -> Tensor:
        """(h, w) bool, unpacked."""
        return self.unpacked().mask

    def unpacked(self) -> Crop:
        height, width = self.bottom - self.top, self.right - self.left
        bits = np.frombuffer(zlib.decompress(self._data), np.uint8)
        bits = bits.reshape(height, -(-width // 8))
        bits = np.bitwise_xor.accumulate(bits, axis=0)
        mask = np.unpackbits(bits, axis=1, count=width).view(bool)
        return Crop(torch.from_numpy(mask), self.top, self.left)

    def moved(self, down: int, right: int) -> "PackedCrop":
        """The same mask elsewhere, without unpacking it."""
        other = copy(self)
        other.top, other.bottom = self.top + down, self.bottom + down
        other.left, other.right = self.left + right, self.right + right
        return other


class MaskCrops:
    """N masks in place of ``pred_masks`` (N, H, W) of detectron2's ``Instances``.

    An index gives what it would give of the tensor, but slices, lists and tensors give crops again;
    so whatever looks at one mask at a time, as detectron2's COCO evaluation does, works unchanged.
    """

    def __init__(
        self,
        crops: "Sequence[Crop | PackedCrop]",
        size: tuple[int, int],
        device: torch.device | str = "cpu",
    ) -> None:
        """
        Args:
            size: (H, W) of the picture, within which the crops lie.
            device: of the masks that an index gives.
        """
        self.crops = list(crops)
        self.size = size
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self.crops)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[place] for place in range(len(self)))

    def __getitem__(self, index: "int | slice | Sequence | Tensor") -> "Tensor | MaskCrops":
        if isinstance(index, int):
            crop = self.crops[index]
            full = torch.zeros(self.size, dtype=torch.bool, device=self.device)
            full[crop.top : crop.bottom, crop.left : crop.right] = crop.mask.to(self.device)
            return full
        places = np.arange(len(self))[index if isinstance(index, slice) else np.asarray(index)]
        few = [self.crops[place] for place in places.reshape(-1)]
        return MaskCrops(few, self.size, self.device)

    def part(self, place: int) -> tuple[Tensor, int, int]:
        """The part (h, w) that holds all of a mask, bool on the CPU, and its first row and column:
        for whoever has no need of the whole picture."""
        crop = self.crops[place]
        return crop.mask.cpu(), crop.top, crop.left

    def to(self, *args: object, **kwargs: object) -> "MaskCrops":
        """As a tensor's, for the masks that an index gives; the crops stay where they are."""
        device = torch.empty(0, device=self.device).to(*args, **kwargs).device
        return MaskCrops(self.crops, self.size, device)

    @property
    def tensor(self) -> Tensor:
        """(N, H, W) bool, all at once."""
        return torch.stack(list(self)) if self.crops else torch.zeros(0, *self.size).bool()

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return self.tensor.cpu().numpy().astype(dtype or bool)

    def compact(self) -> "Tensor | MaskCrops":
        """A plain tensor (N, H, W) where that is small, else these crops."""
        is_small = len(self) * self.size[0] * self.size[1] <= LARGEST_TENSOR
        return self.tensor if is_small else self
