"""Masks at the size of the image, as detectron2 resizes images: to the padded batch, cut to the
content, and on to the output.

Bilinear resizing is separable, and both stages of an axis are one small matrix. On a CPU columns go
first, where there are fewer rows than in the result, for a block of strips at a time; then the rows
of each strip. Elsewhere rows go first, and torch resizes the columns. All is in fp32, also under
autocast.

N maps, (h, w) the predictions, n rows of a strip.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..layers.chunking import Budget
from ..layers.resampling import AxisStep, resize, resize_step

# of all maps of a strip together: 2 MiB in fp32 on a CPU
STRIP = Budget(on_cpu=1 << 19, elsewhere=1 << 26)
_BAND = 32  # columns of a product
_STRIPS_OF_BLOCK = 16  # whose columns, at most as many as theirs, are held at a time
Steps = tuple[AxisStep, AxisStep]


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
        columns = self._columns_of(maps)
        width = max(width, self.padded_size[1])  # which the rows may have on their way
        steps = self._steps(0, maps.shape[1])
        strips = list(STRIP.slices(height, len(maps) * width, maps.device))
        if maps.device.type != "cpu":
            for rows in strips:
                yield rows, columns(self._rows(maps, rows, steps))
            return
        shrinking = max(1, maps.shape[1] // max(height, 1))  # a strip is made of more rows then
        length = max(1, _STRIPS_OF_BLOCK // shrinking)
        for number in range(0, len(strips), length):
            block = strips[number : number + length]
            matrix, first = _matrix(steps, slice(block[0].start, block[-1].stop))
            wide = columns(maps[:, first : first + matrix.shape[1]].float())
            for rows in block:
                yield rows, self._rows(wide, rows, steps, first)

    def rows(self, maps: Tensor, rows: slice) -> Tensor:
        """Some rows of the result, (N, n, final width), in fp32."""
        return self._columns_of(maps)(self._rows(maps, rows, self._steps(0, maps.shape[1])))

    def _rows(self, maps: Tensor, rows: slice, steps: Steps, begin: int = 0) -> Tensor:
        """(N, n, w). ``begin``: what row of all ``maps`` begins with."""
        matrix, first = _matrix(steps, rows)
        first -= begin
        part = maps[:, first : first + matrix.shape[1]].float()
        with torch.autocast(maps.device.type, enabled=False):
            return matrix.to(maps.device) @ part

    def _columns_of(self, maps: Tensor) -> Callable[[Tensor], Tensor]:
        """What brings rows of maps (N, n, w) to the final width."""
        width, num_cells = self.final_size[1], maps.shape[2]
        is_same = num_cells == self.padded_size[1] == self.content_size[1] == width
        if maps.device.type != "cpu" or is_same:
            return self.plain_columns
        steps = self._steps(1, num_cells)
        bands = [slice(i, min(i + _BAND, width)) for i in range(0, width, _BAND)]
        return BandedColumns(width, num_cells, [_matrix(steps, band) for band in bands])

    def plain_columns(self, part: Tensor) -> Tensor:
        """(N, n, w) -> (N, n, final width), stage by stage."""
        part = resize_columns(part, self.padded_size[1])[..., : self.content_size[1]]
        return resize_columns(part, self.final_size[1])

    def _steps(self, axis: int, num_cells: int) -> Steps:
        """From the padded batch's content to the result, and from so many rows (axis 0) or columns
        (1) of the maps to the padded batch."""
        return (
            resize_step(self.content_size[axis], self.final_size[axis]),
            resize_step(num_cells, self.padded_size[axis]),
        )


def _matrix(steps: Steps, span: slice) -> tuple[Tensor, int]:
    """(n, m) from m rows or columns of the maps, the first of which is returned too."""
    outer, low = steps[0].matrix(span.start, span.stop)
    inner, first = steps[1].matrix(low, low + outer.shape[1])
    return torch.from_numpy(outer @ inner).float(), first


class BandedColumns:
    """Resizes columns by a banded matrix, of which only the non-zero blocks are multiplied."""

    def __init__(self, width: int, num_cells: int, bands: list[tuple[Tensor, int]]) -> None:
        """
        Args:
            bands: for every ``_BAND`` columns of the result, and those left over, (b, m) from m
                columns of the ``num_cells``, and the first of these.
        """
        self.width = width
        self.band = bands[0][0].shape[0]
        num_taps = max(matrix.shape[1] for matrix, _ in bands)
        self.matrices = torch.zeros(len(bands), num_taps, self.band)
        self.taps = torch.empty(len(bands), num_taps, dtype=torch.int64)
        for number, (matrix, first) in enumerate(bands):
            begin = min(first, num_cells - num_taps)
            shift, (size, taps) = first - begin, matrix.shape
            self.matrices[number, shift : shift + taps, :size] = matrix.T
            self.taps[number] = torch.arange(begin, begin + num_taps)

    def __call__(self, part: Tensor) -> Tensor:
        """(N, n, w) -> (N, n, width)."""
        cells = part.flatten(0, 1).index_select(1, self.taps.flatten())
        cells = cells.unflatten(1, self.taps.shape).transpose(0, 1)  # (bands, N * n, m)
        with torch.autocast("cpu", enabled=False):
            bands = torch.bmm(cells, self.matrices).transpose(0, 1)
        result = part.new_empty(len(bands), self.width)
        whole, left = divmod(self.width, self.band)
        result[:, : self.width - left].unflatten(1, (whole, self.band)).copy_(bands[:, :whole])
        if left:
            result[:, -left:] = bands[:, whole, :left]
        return result.unflatten(0, part.shape[:2])


def resize_columns(maps: Tensor, width: int) -> Tensor:
    """(N, n, w) -> (N, n, width), bilinear."""
    return resize(maps, (maps.shape[1], width))
