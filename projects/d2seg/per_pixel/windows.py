"""Class scores or labels of one image: whole or by windows, at several sizes, mirrored.

The result is computed in tiles, straight from the logits at the heads' own resolution. Nothing but
the result itself has the size of the image: of the logits, those of the windows over the current
row of tiles are kept. For labels, a tile leaves out each class that cannot win in it.

N windows, K classes, (H, W) the result, (h, w) a window's logits.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..layers.chunking import UNBOUNDED, Budget
from ..layers.resampling import (
    AxisTaps,
    WindowAxis,
    flip_step,
    resize,
    resize_step,
    window_offsets,
)
from .tiles import Patch, tile_labels, tile_scores

MODES = ("whole", "slide")
ALIGNMENTS = ("pad", "resize")
OUTPUTS = ("scores", "labels")
# Side of a tile, in pixels: on a CPU its numbers shall stay in the cache, a GPU is to be kept busy
_CPU_TILE = 64
_GPU_TILE = 256
# Pixels of a batch of windows on a CPU: several small windows share the cost of a call, but more
# large ones take longer together than one after the other
_BATCH_PIXELS = Budget(on_cpu=1 << 18, elsewhere=UNBOUNDED)

Size = tuple[int, int]
ImageMap = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class WindowSettings:
    """See MODEL.PER_PIXEL.TEST."""

    mode: str = "whole"
    crop_size: Size = (512, 512)
    stride: Size = (341, 341)
    max_windows: int = 4
    align: str = "pad"
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    output: str = "scores"

    def __post_init__(self) -> None:
        for key, value, choice in [
            ("MODE", self.mode, MODES),
            ("ALIGN", self.align, ALIGNMENTS),
            ("OUTPUT", self.output, OUTPUTS),
        ]:
            if value not in choice:
                raise ValueError(
                    f"MODEL.PER_PIXEL.TEST.{key} is '{value}'; it is one of {list(choice)}"
                )
        if len(self.crop_size) != 2 or len(self.stride) != 2:
            raise ValueError(
                "MODEL.PER_PIXEL.TEST.CROP_SIZE and STRIDE are pairs (height, width), not "
                f"{self.crop_size} and {self.stride}"
            )
        if any(not 0 < s <= c for s, c in zip(self.stride, self.crop_size, strict=True)):
            raise ValueError(
                f"MODEL.PER_PIXEL.TEST.STRIDE is {self.stride}; it must lie between 1 and "
                f"CROP_SIZE, {self.crop_size}, or windows leave gaps"
            )
        if self.max_windows < 1 or not self.scales or min(self.scales) <= 0:
            raise ValueError(
                f"MODEL.PER_PIXEL.TEST.MAX_WINDOWS is {self.max_windows}, SCALES "
                f"{list(self.scales)}; they must be positive, with one scale at least"
            )

    def check_crop(self, divisibility: int) -> None:
        """Raises ValueError for windows that the model cannot take."""
        if self.mode == "slide" and any(side % divisibility for side in self.crop_size):
            raise ValueError(
                f"MODEL.PER_PIXEL.TEST.CROP_SIZE is {self.crop_size}; this model takes multiples "
                f"of {divisibility}"
            )


class _View:
    """One image of the test-time augmentation, cut into windows that go through the model when
    their logits are first asked for. A whole image is a single window."""

    def __init__(
        self,
        image: Tensor,
        output_size: Size,
        *,
        window_size: Size,
        stride: Size,
        max_windows: int,
        flipped: bool,
        normalise: ImageMap,
        logits_of: ImageMap,
    ) -> None:
        self.image = image.flip(-1) if flipped else image
        self.window_size = window_size
        self.max_windows = max_windows
        self.normalise = normalise
        self.logits_of = logits_of
        axes = []
        for axis, side in enumerate(image.shape[-2:]):
            steps = [flip_step(side)] if flipped and axis == 1 else []
            if side != output_size[axis]:
                steps.append(resize_step(side, output_size[axis]))
            axes.append(
                WindowAxis(
                    offsets=window_offsets(side, window_size[axis], stride[axis]),
                    window_size=window_size[axis],
                    content_size=side,
                    steps=steps,
                )
            )
        self.rows, self.columns = axes
        self._pending = [(y, x) for y in range(self.num_rows) for x in range(self.num_columns)]
        self._logits: dict[tuple[int, int], Tensor] = {}

    @property
    def num_rows(self) -> int:
        return len(self.rows.offsets)

    @property
    def num_columns(self) -> int:
        return len(self.columns.offsets)

    def logits(self, row: int, column: int) -> Tensor:
        """(K, h, w) of a window. Rows are to be asked for in ascending order."""
        while (row, column) not in self._logits:
            first, *others = self._pending
            windows = [self._window(*first)]
            num_fitting = _BATCH_PIXELS.count(windows[0][0].numel(), windows[0].device)
            others = others[: min(self.max_windows, num_fitting) - 1]
            windows += [self._window(*other) for other in others]
            batch = [first, *others]
            del self._pending[: len(batch)]
            logits = self.logits_of(torch.stack(windows))
            if len(batch) > 1:  # the memory of the batch is to be freed window by window
                logits = [of_window.clone() for of_window in logits]
            self._logits.update(zip(batch, logits, strict=True))
        return self._logits[row, column]

    def row_taps(self, start: int, stop: int) -> list[AxisTaps]:
        logits = next(iter(self._logits.values()))  # all have one size
        return self.rows.taps(start, stop, logits.shape[1], logits.device)

    def column_taps(self, start: int, stop: int) -> list[AxisTaps]:
        logits = self.logits(0, 0)
        return self.columns.taps(start, stop, logits.shape[2], logits.device)

    def patches(self, rows: list[AxisTaps], columns: list[AxisTaps]) -> list[Patch]:
        """What the windows hold of a tile."""
        return [
            (
                row.matrix,
                self.logits(row.window, column.window)[:, row.span, column.span],
                column.matrix,
            )
            for row in rows
            for column in columns
        ]

    def release_rows_before(self, row: int) -> None:
        for window in [window for window in self._logits if window[0] < row]:
            del self._logits[window]

    def _window(self, row: int, column: int) -> Tensor:
        top, left = self.rows.offsets[row], self.columns.offsets[column]
        height, width = self.window_size
        window = self.normalise(self.image[:, top : top + height, left : left + width])
        missing = height - window.shape[1], width - window.shape[2]
        return F.pad(window, (0, missing[1], 0, missing[0])) if any(missing) else window


def predict(
    image: Tensor,
    output_size: Size,
    *,
    normalise: ImageMap,
    logits_of: ImageMap,
    settings: WindowSettings,
    divisibility: int,
) -> Tensor:
    """
    Args:
        image: (C, h, w), as the mapper gives it.
        normalise: an image (C, h, w) to the model's device and scale, where 0 stands for padding.
        logits_of: normalised windows (N, C, h, w) to class logits (N, K, h', w').
        divisibility: of the sides that ``logits_of`` takes.

    Returns:
        On the device of the logits: float32 scores (K, *output_size), which are logits for a single
        view and else the views' mean probabilities; or int32 labels of ``output_size``.
    """
    with torch.no_grad():
        views = list(_views(image, output_size, normalise, logits_of, settings, divisibility))
        # sums of bf16 products could tell another winner
        with torch.autocast(views[0].logits(0, 0).device.type, enabled=False):
            return _assemble(views, output_size, settings.output == "labels")


def _views(
    image: Tensor,
    output_size: Size,
    normalise: ImageMap,
    logits_of: ImageMap,
    settings: WindowSettings,
    divisibility: int,
) -> Iterator[_View]:
    is_whole = settings.mode == "whole"
    for scale in settings.scales:
        size = tuple(max(1, round(side * scale)) for side in image.shape[-2:])
        aligned = tuple(-(-side // divisibility) * divisibility for side in size)
        if is_whole and settings.align == "resize":
            size = aligned
        scaled = image if tuple(image.shape[-2:]) == size else resize(image.float(), size)
        for flipped in (False, True) if settings.flip else (False,):
            yield _View(
                scaled,
                output_size,
                window_size=aligned if is_whole else settings.crop_size,
                stride=aligned if is_whole else settings.stride,
                max_windows=settings.max_windows,
                flipped=flipped,
                normalise=normalise,
                logits_of=logits_of,
            )


def _assemble(views: list[_View], output_size: Size, labels_only: bool) -> Tensor:
    height, width = output_size
    first = views[0].logits(0, 0)
    if labels_only:
        result = torch.empty(output_size, dtype=torch.int32, device=first.device)
    else:
        result = torch.empty(len(first), height, width, device=first.device)
    step = _GPU_TILE if first.is_cuda else _CPU_TILE
    lefts = range(0, width, step)
    columns = [[view.column_taps(x, min(x + step, width)) for x in lefts] for view in views]
    for top in range(0, height, step):
        rows = [view.row_taps(top, min(top + step, height)) for view in views]
        for view, row_taps in zip(views, rows, strict=True):
            view.release_rows_before(row_taps[0].window)
        for number, left in enumerate(lefts):
            patches = [
                view.patches(row_taps, of_view[number])
                for view, row_taps, of_view in zip(views, rows, columns, strict=True)
            ]
            tile = tile_labels(patches) if labels_only else tile_scores(patches)
            result[..., top : top + step, left : left + step] = tile
    return result
