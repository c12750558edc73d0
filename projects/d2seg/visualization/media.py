"""Pictures and videos in and out for the demo, always RGB uint8 (H, W, 3) within the program.

Whatever is written appears under its name only when it is complete.
"""

import contextlib
import glob
import os
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType, TracebackType

import cv2
import numpy as np
from PIL import Image

from ..pictures import UnreadableFileError, read_image, refuse_special_file

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm"})
VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".wmv"})
# These containers store the number of frames; for others OpenCV estimates it from the duration.
_EXACT_COUNT_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi"})
_ESTIMATE_SLACK = 0.05
_MAX_MISSES_IN_A_ROW = 100  # of a video that has no more to give
# Of a picture to be drawn: predictions, their masks and the drawing take up to 100 bytes for each.
MAX_DRAWN_PIXELS = 8192 * 8192
_DEFAULT_FPS = 25.0  # where a camera or a file does not say
_MAX_STEM = 230  # bytes of an output's name, which with number and suffix may have 255
_BT601, _LIMITED_RANGE = 5, 1  # FFmpeg's numbers of a colour space and a range


class UnreadableError(OSError):
    """A picture or video that cannot be decoded."""


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def find_inputs(patterns: Sequence[str]) -> tuple[list[Path], list[str]]:
    """
    Args:
        patterns: files; folders, which stand for the pictures and videos directly in them; or glob
            patterns ("**" for any depth), which stand for what they match, as if named.

    Returns:
        The files in the order named, each once; and the patterns that stand for nothing.
    """
    found: dict[Path, None] = {}
    missing = []
    for pattern in patterns:
        path = Path(os.path.expanduser(pattern))
        if not pattern:  # of a variable that is not set; pathlib takes it for the current folder
            matches = []
        elif path.exists():
            matches = [path]
        else:
            matches = sorted(map(Path, glob.glob(str(path), recursive=True)))
        files = [file for match in matches for file in _files_of(match)]
        if not files:
            missing.append(pattern)
        found.update(dict.fromkeys(files))
    return list(found), missing


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    return sorted(p for p in path.iterdir() if p.is_file() and p.suffix.lower() in known)


def plan_outputs(inputs: Sequence[Path], folder: Path) -> list[Path]:
    """A distinct path in ``folder`` for each input: .png for pictures, .mp4 for videos; of inputs
    with one stem, the later ones get a number.

    Raises:
        ValueError: ``folder`` is a file, or holds one of the inputs.
        ImportError: there is a video, and PyAV, which would write it, is missing.
    """
    if folder.is_file() or folder.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
        raise ValueError(f"--output '{folder}' names a file; give a folder")
    for path in inputs:
        # realpath, which a loop of links does not stop
        if os.path.dirname(os.path.realpath(path)) == os.path.realpath(folder):
            raise ValueError(
                f"--output '{folder}' is the folder of the input {path.name}; give another one"
            )
    planned: dict[Path, None] = {}
    for path in inputs:
        suffix = ".mp4" if is_video(path) else ".png"
        stem = _shortened(path.stem)
        output, number = folder / f"{stem}{suffix}", 2
        while output in planned:
            output, number = folder / f"{stem}_{number}{suffix}", number + 1
        planned[output] = None
    if any(map(is_video, inputs)):
        import_av()
    return list(planned)


def read_picture(path: Path) -> np.ndarray:
    """(H, W, 3), turned as its EXIF orientation says.

    Raises:
        UnreadableError: the file cannot be decoded.
    """
    try:
        return np.ascontiguousarray(read_image(str(path), "RGB", MAX_DRAWN_PIXELS))
    except UnreadableFileError as error:
        raise UnreadableError(f"{path}: cannot be read: {error.reason}") from error


def _temporary(path: Path) -> Path:
    """Beside ``path``; the name of ``path`` may be as long as names can be."""
    return path.with_name(f".{_shortened(path.stem)}.partial{path.suffix}")


def _shortened(stem: str) -> str:
    return os.fsdecode(os.fsencode(stem)[:_MAX_STEM])


def write_picture(path: Path, picture: np.ndarray) -> None:
    temporary = _temporary(path)
    try:
        Image.fromarray(picture).save(temporary, format="PNG")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
        self._temporary = _temporary(path)
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


class Window:
    """A window on the screen. Escape or q in it asks to stop."""

    def __init__(self, title: str) -> None:
        """
        Raises:
            ValueError: no window can be opened here.
        """
        # without a display, OpenCV's window toolkit ends the whole process
        on_linux = sys.platform.startswith("linux")
        if on_linux and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise ValueError("there is no display to open a window on; give --output FOLDER")
        self._title = title
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL)
        except cv2.error as error:
            raise ValueError(
                "this OpenCV is built without windows (opencv-python-headless); give --output "
                "FOLDER"
            ) from error

    def show(self, picture: np.ndarray, wait_ms: int) -> bool:
        """Wait so long for a key (0: forever); return whether it asked to stop."""
        cv2.imshow(self._title, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        return cv2.waitKey(wait_ms) & 0xFF in (27, ord("q"))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
