"""Masks at the size of the image, as detectron2 resizes images: to the padded batch, cut to the
content, and on to the output.

Bilinear resizing is separable. Rows go first, as one small matrix for both stages, on maps of the
predictions' width; columns follow, on a few rows at a time.

N maps, (h, w) the predictions, n rows of a strip.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..layers.chunking import Budget
from ..layers.resampling import resize, resize_step

# of all maps of a strip together: 2 MiB in fp32 on a CPU
STRIP = Budget(on_cpu=1 << 19, elsewhere=1 << 26)


@dataclass(frozen=True)
class MaskResizer:
    """
    padded_size: (H, W) of the batch that the maps cover. content_size: (h, w) of the image within.
    output_size: (h, w) of the result; ``None`` leaves the content as it is.
    """

    padded_size: tuple[int, int]
    content_size: tuple[int, int]
    output_size: tuple[int, int] | None = None

    @property
    def final_size(self) -> tuple[int, int]:
        return self.output_size or self.content_size

    def strips(self, maps: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """All maps, resized, in strips of rows (N, n, final width) of bounded memory, each with its
        rows. The caller may overwrite a strip."""
        height, width = self.final_size
        width = max(width, self.padded_size[1])  # which the rows have on their way
        for rows in STRIP.slices(height, len(maps) * width, maps.device):
            yield rows, self.rows(maps, rows)

    def rows(self, maps: Tensor, rows: slice) -> Tensor:
        """Some rows of the result, (N, n, final width), in fp32."""
        matrix, first = self._row_matrix(rows, maps.shape[1])
        part = maps[:, first : first + matrix.shape[1]].float()
        part = matrix.to(maps.device) @ part  # (N, n, w)
        part = resize_columns(part, self.padded_size[1])[..., : self.content_size[1]]
        return resize_columns(part, self.final_size[1])

    def _row_matrix(self, rows: slice, num_rows: int) -> tuple[Tensor, int]:
        """(n, m) from m rows of the maps, the first of which is returned too."""
        outer, low = resize_step(self.content_size[0], self.final_size[0]).matrix(
            rows.start, rows.stop
        )
        inner, first = resize_step(num_rows, self.padded_size[0]).matrix(low, low + outer.shape[1])
        return torch.from_numpy(outer @ inner).float(), first


def resize_columns(maps: Tensor, width: int) -> Tensor:
    """(N, n, w) -> (N, n, width), bilinear."""
    return resize(maps, (maps.shape[1], width))
