"""Videos out for the demo, of RGB uint8 frames (H, W, 3).

Whatever is written appears under its name only when it is complete.
"""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from ..names import shortened
from .video_reading import import_av, local_url

_BT601, _LIMITED_RANGE = 5, 1  # FFmpeg's numbers of a colour space and a range


def temporary_beside(path: Path) -> Path:
    """Beside ``path``; the name of ``path`` may be as long as names can be."""
    return path.with_name(f".{shortened(path.stem)}.partial{path.suffix}")


class VideoWriter:
    """An MP4 file of H.264 in yuv420p, which browsers play; it gets its name when the ``with``
    block ends without an exception."""

    def __init__(self, path: Path, fps: float) -> None:
        """
        Raises:
            ImportError: PyAV is missing.
        """
        self._av = import_av()
        self._path = path
        self._temporary = temporary_beside(path)
        # 30000/1001 comes back exactly from its float
        self._rate = Fraction(fps).limit_denominator(1_000_000)
        self._container = self._stream = None

    def __enter__(self) -> "VideoWriter":
        return self

    def write(self, frame: np.ndarray) -> None:
        """All frames of the first one's size. H.264 in yuv420p has even sides: the last row or
        column of an odd size comes twice.

        Raises:
            OSError: the file cannot be written.
        """
        odd_rows, odd_columns = frame.shape[0] % 2, frame.shape[1] % 2
        if odd_rows or odd_columns:
            frame = np.pad(frame, ((0, odd_rows), (0, odd_columns), (0, 0)), mode="edge")
        with self._errors_named():
            if self._stream is None:
                self._open(*frame.shape[:2])
            picture = self._av.VideoFrame.from_ndarray(frame, format="rgb24")
            self._container.mux(self._stream.encode(picture))

    def _open(self, height: int, width: int) -> None:
        self._container = self._av.open(local_url(self._temporary), "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate=self._rate)
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = "yuv420p"
        # what the conversion from RGB gives; players guess otherwise, by the size
        context = self._stream.codec_context
        context.colorspace, context.color_range = _BT601, _LIMITED_RANGE

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except (self._av.FFmpegError, ValueError) as error:  # ValueError: no encoder for H.264
            raise OSError(f"{self._path}: cannot be written: {_one_line(error)}") from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._stream is not None and kind is None:
                with self._errors_named(), self._container:
                    self._container.mux(self._stream.encode())  # what the encoder still holds
                os.replace(self._temporary, self._path)
            elif self._container is not None:
                with contextlib.suppress(self._av.FFmpegError):
                    self._container.close()
        finally:
            self._temporary.unlink(missing_ok=True)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
