"""Videos and cameras in and videos out for the demo: RGB uint8 frames (H, W, 3).

Whatever is written appears under its name only when it is complete.
"""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType, TracebackType

import cv2
import numpy as np

from ..pictures import refuse_special_file

# These containers store the number of frames; for others OpenCV estimates it from the duration.
_EXACT_COUNT_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi"})
_ESTIMATE_SLACK = 0.05
_MAX_MISSES_IN_A_ROW = 100  # of a video that has no more to give
_DEFAULT_FPS = 25.0  # where a camera or a file does not say
_MAX_STEM = 230  # bytes of an output's name, which with number and suffix may have 255
_BT601, _LIMITED_RANGE = 5, 1  # FFmpeg's numbers of a colour space and a range


class UnreadableError(OSError):
    """A picture or video that cannot be decoded."""


def temporary_beside(path: Path) -> Path:
    """Beside ``path``; the name of ``path`` may be as long as names can be."""
    return path.with_name(f".{shortened(path.stem)}.partial{path.suffix}")


def shortened(stem: str) -> str:
    """What an output may have of the stem of its input."""
    return os.fsdecode(os.fsencode(stem)[:_MAX_STEM])


class VideoReader:
    """Iterates once over the frames of a file or a camera; what cannot be decoded is left
    out and counted."""

    def __init__(self, source: Path | int) -> None:
        """
        Args:
            source: a file, or the number of a camera.

        Raises:
            UnreadableError: it cannot be opened.
        """
        self._source = source
        if isinstance(source, Path):
            try:
                refuse_special_file(source)  # reading from a pipe may never end
            except ValueError as error:
                raise UnreadableError(f"{source}: cannot be read: {error}") from error
        self._capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
        if not self._capture.isOpened():
            kind = "camera" if isinstance(source, int) else "video"
            raise UnreadableError(f"{source}: cannot be opened as a {kind}")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if np.isfinite(fps) and fps > 0 else _DEFAULT_FPS
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # OpenCV answers with a negative number where it does not know
        self.num_frames = int(count) if np.isfinite(count) and count > 0 else 0
        self.num_broken = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        """(H, W, 3) each. ``num_broken`` is final at the end."""
        num_good = misses = 0
        while misses < _MAX_MISSES_IN_A_ROW:
            is_good, frame = self._capture.read()
            if is_good:
                self.num_broken += misses
                misses = 0
                num_good += 1
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                continue
            misses += 1
            if num_good + self.num_broken + misses > self.num_frames:
                break  # the end
        self._capture.release()
        missing = self.num_frames - num_good - self.num_broken
        if missing > self._count_slack():
            self.num_broken += missing

    def _count_slack(self) -> float:
        if isinstance(self._source, Path) and self._source.suffix.lower() in _EXACT_COUNT_SUFFIXES:
            return 0
        return max(1, _ESTIMATE_SLACK * self.num_frames)


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
        self._container = self._av.open(str(self._temporary), "w", format="mp4")
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


def import_av() -> ModuleType:
    """PyAV, which only the writing of videos needs.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError("videos are written with PyAV: `pip install av` brings it") from error
    return av


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
