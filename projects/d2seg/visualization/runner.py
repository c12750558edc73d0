"""The loop of the demo: each input through the predictor and into a picture or video."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
from detectron2.data import Metadata
from tqdm import tqdm

from ..names import printable
from ..pictures import drawing_failure
from .media import (
    UnreadableError,
    Window,
    is_video,
    read_picture,
    write_picture,
)
from .predictions import draw_prediction
from .segments import absent_expressions
from .tracking import ObjectTracker, track_prediction
from .video_reading import Camera, VideoReader
from .video_writing import VideoWriter

# Smaller pictures are enlarged, so that labels are legible and contours fine; videos are not.
_PICTURE_SIDE, _MAX_SCALE = 1024, 4


class Runner:
    """Goes on after an input that cannot be read, and counts."""

    def __init__(
        self,
        predict: Callable[[np.ndarray], dict],
        metadata: Metadata,
        window: Window | None = None,
        *,
        show_ids: bool = False,
        read: Callable[[Path], np.ndarray] = read_picture,
        shown: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """
        Args:
            predict: from a (H, W, 3) uint8 RGB image, or what ``read`` gives, to what
                ``draw_prediction`` takes.
            metadata: names and colours of the classes.
            window: shows each result and may stop the run.
            show_ids: write the ids of a video's objects into its frames.
            read: of a picture's file; raises ``UnreadableError``.
            shown: from what ``read`` gives to (H, W, 3) uint8 RGB; None: it is that.
        """
        self.num_drawn = 0
        self.num_failed = 0
        self._predict = predict
        self._metadata = metadata
        self._window = window
        self._show_ids = show_ids
        self._read, self._shown = read, shown
        self._is_stopped = False

    def run_files(self, files: Sequence[Path], outputs: Sequence[Path | None]) -> None:
        """Draw each file into its output; one that cannot be read or drawn is reported on stderr.

        Raises:
            OSError: an output cannot be written.
        """
        with tqdm(total=len(files), unit="file") as progress:
            for path, output in zip(files, outputs, strict=True):
                try:
                    run = self._run_video if is_video(path) else self._run_picture
                    run(path, output)
                except UnreadableError as error:
                    self.report(str(error))
                except (RuntimeError, MemoryError, OverflowError, cv2.error) as error:
                    reason = drawing_failure(error)
                    if reason is None:
                        raise
                    self.report(f"{path}: cannot be drawn: {reason}")
                progress.update()
                if self._is_stopped:
                    return

    def run_camera(self, number: int, output: Path | None) -> None:
        """Draw what a camera sees until the window or Ctrl-C stops it.

        Raises:
            UnreadableError: there is no such camera, or it gives no picture.
        """
        self._run_video(number, output)

    def report(self, message: str) -> None:
        """Count an input as unreadable."""
        self.num_failed += 1
        tqdm.write(printable(message), file=sys.stderr)

    def _run_picture(self, path: Path, output: Path | None) -> None:
        image = self._read(path)
        scale = min(max(1.0, _PICTURE_SIDE / max(image.shape[:2])), _MAX_SCALE)
        prediction = self._predict(image)
        below = image if self._shown is None else self._shown(image)
        picture = draw_prediction(below, prediction, self._metadata, scale=scale)
        if output is not None:
            write_picture(output, picture)
        if self._window is not None:
            self._is_stopped = self._window.show(picture, wait_ms=0)
        self.num_drawn += 1
        for expression in absent_expressions(prediction):
            tqdm.write(printable(f'{path}: nothing found for "{expression}"'), file=sys.stderr)

    def _run_video(self, source: Path | int, output: Path | None) -> None:
        reader = VideoReader(source) if isinstance(source, Path) else Camera(source)
        num_frames = 0
        with nullcontext() if output is None else VideoWriter(output, reader.fps) as writer:
            try:
                for picture in self._draw_frames(reader, str(source)):
                    num_frames += 1
                    if writer is not None:
                        writer.write(picture)
                    if self._window is not None and self._window.show(picture, wait_ms=1):
                        self._is_stopped = True
                        break
            except KeyboardInterrupt:
                if isinstance(source, Path):  # a camera ends just so; half a video must not stay
                    raise
        self.num_drawn += num_frames > 0
        if not num_frames:
            raise UnreadableError(f"{source}: none of its frames can be read")
        if reader.num_broken:
            raise UnreadableError(
                f"{source}: {reader.num_broken} of {reader.num_frames} frames cannot be read and "
                "are left out"
            )

    def _draw_frames(self, reader: VideoReader | Camera, name: str) -> Iterator[np.ndarray]:
        tracker = ObjectTracker()
        never_found: list[str] | None = None
        for image in tqdm(
            reader, printable(name), reader.num_frames or None, leave=False, unit="frame"
        ):
            prediction = self._predict(image)
            absent = absent_expressions(prediction)
            if never_found is None:
                never_found = absent
            never_found = [expression for expression in never_found if expression in absent]
            prediction = track_prediction(prediction, tracker)
            yield draw_prediction(image, prediction, self._metadata, show_ids=self._show_ids)
        for expression in never_found or ():
            line = f'{name}: nothing found for "{expression}" in any frame'
            tqdm.write(printable(line), file=sys.stderr)
