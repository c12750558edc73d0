"""Inputs and outputs of the demo, pictures in and out, and windows; RGB uint8 (H, W, 3) within the
program. Videos are in video_reading.py and video_writing.py.

Whatever is written appears under its name only when it is complete.
"""

import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..names import shortened
from ..pictures import UnreadableFileError, read_image
from .video_reading import MAX_DRAWN_PIXELS, UnreadableError, import_av
from .video_writing import temporary_beside

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm"})
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv"}
    | {".flv", ".3gp", ".ogv"}
)


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
    # links that lead nowhere and pipes, too, which are reported when they are read
    named = (p for p in path.iterdir() if p.suffix.lower() in known)
    return sorted(p for p in named if not os.path.isdir(p))


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
        stem = shortened(path.stem)
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


def write_picture(path: Path, picture: np.ndarray) -> None:
    temporary = temporary_beside(path)
    try:
        Image.fromarray(picture).save(temporary, format="PNG")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
