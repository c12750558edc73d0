"""Frames of video files and cameras, RGB uint8 (H, W, 3).

Files are read packet by packet with PyAV: OpenCV estimates the number of frames of most containers
and takes the first fault beyond the estimate for the end.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from ..pictures import check_num_pixels, refuse_special_file

# Of a picture to be drawn: predictions, their masks and the drawing take up to 100 bytes for each.
MAX_DRAWN_PIXELS = 8192 * 8192
_DEFAULT_FPS = 25.0  # where a camera or a file does not say
_MAX_MISSES_IN_A_ROW = 100  # of a camera that has no more to give
_MAX_FAULTS_AT_THE_END = 64  # of a file, as many as a decoder may hold
_SHARE_OF_ONE_RATE = 0.85  # of the distances in time, equal: a video of one rate with some holes
# What is played: no playlist that a file may be in truth opens others, or addresses.
_OPTIONS = {"protocol_whitelist": "file"}
_PLAYLISTS = ("concat", "hls", "applehttp", "hls,applehttp", "dash", "imf", "sdp")


class UnreadableError(OSError):
    """A picture or video that cannot be decoded."""


def import_av() -> ModuleType:
    """PyAV, which only videos need.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError(
            "videos are read and written with PyAV: `pip install av` brings it"
        ) from error
    return av


def local_url(path: Path) -> str:
    """``path`` for FFmpeg, which would take the beginning of "Exp:12/a.mp4" for a protocol."""
    return f"file:{path}"


class VideoReader:
    """Iterates once over the frames of a file; what cannot be decoded is left out and counted.

    Attributes:
        fps: frames per second, on average
        num_frames: as the file says, or about; 0: unknown. After the iteration, those that it has.
        num_broken: frames that could not be read, or that the file says it has and has not
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            UnreadableError: it cannot be opened, or has too many pixels.
            ImportError: PyAV is missing.
        """
        self._av = import_av()
        self._path = path
        try:
            refuse_special_file(path)  # reading from a pipe may never end
        except ValueError as error:
            raise UnreadableError(f"{path}: cannot be read: {error}") from error
        try:
            self._container = self._av.open(local_url(path), options=dict(_OPTIONS))
        except (self._av.FFmpegError, ValueError, OSError) as error:
            reason = _one_line(error)
            raise UnreadableError(f"{path}: cannot be opened as a video: {reason}") from error
        try:
            self._stream = self._video_stream()
        except ValueError as error:
            self._container.close()
            raise UnreadableError(f"{path}: cannot be opened as a video: {error}") from error
        self._rate = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        self.fps = self._rate if 0 < self._rate < 1000 else _DEFAULT_FPS
        self._has_one_rate = self._container.format.name in ("mpeg", "mpegts")
        # with no number of frames: a distance in time says what is missing
        self._has_times_alone = self._container.format.name in ("asf", "mpegts")
        self._is_avi = self._container.format.name == "avi"
        self._end = self._declared_end()
        self.num_frames = self._stream.frames or round((self._end or 0) * self.fps)
        self.num_broken = 0

    def _video_stream(self) -> Any:
        if self._container.format.name in _PLAYLISTS:
            raise ValueError("it is a list of other files; name these")
        pictures = [s for s in self._container.streams.video if not _is_cover(self._av, s)]
        if not pictures:
            raise ValueError("it has no pictures")
        stream = pictures[0]
        if not stream.codec_context or not stream.width or not stream.height:
            raise ValueError("its pictures are of an unknown kind or size")
        check_num_pixels(stream.width, stream.height, MAX_DRAWN_PIXELS)
        stream.thread_type = "AUTO"
        return stream

    def __iter__(self) -> Iterator[np.ndarray]:
        """(H, W, 3) each, all of the first one's size, turned as the file says."""
        num_packets = num_good = self._num_skipped = 0
        start, end, size, times = None, 0.0, None, []
        with self._container:
            for packet in self._packets():
                num_packets += packet.size > 0
                if self._is_avi and packet.dts is not None:
                    # its numbers count times at which the frame before stays, too: empty packets
                    self._num_skipped = max(packet.dts + 1 - num_packets, 0)
                for frame in self._decoded(packet):
                    if frame.is_corrupt:  # made up of its neighbours
                        self.num_broken += 1
                        continue
                    num_good += 1
                    if frame.time is not None:
                        start = frame.time if start is None else start
                        end = max(end, frame.time + self._length(frame))
                        times.append(frame.time)
                    size = size or (frame.height, frame.width)
                    yield self._pixels(frame, *size)
        self._count(num_packets, num_good, start or 0.0, end)
        if self._has_times_alone and self.num_broken == 0:
            self.num_broken = _left_out(times)
            self.num_frames += self.num_broken

    def _length(self, frame: Any) -> float:
        """Seconds that a frame is shown."""
        return float(frame.duration * (frame.time_base or 0)) or 1 / self.fps

    def _count(self, num_packets: int, num_good: int, start: float, end: float) -> None:
        """Set ``num_broken`` and ``num_frames`` after frames between two times, in seconds.

        Packets without a frame are no fault by themselves: some are skipped on purpose.
        """
        declared = self._stream.frames - self._num_skipped
        expected = max(declared, num_packets)
        is_whole = self.num_broken == 0 and declared <= num_packets
        if self._has_one_rate and not is_whole:
            expected = max(expected, round((end - start) * self.fps))
        elif self._end is not None and not self._stream.frames and end > start:
            rate = num_good / (end - start)
            missing = round((self._end - end) * rate - 0.1)
            is_whole, expected = is_whole and missing < 1, max(expected, num_good + missing)
        self.num_broken = 0 if is_whole else max(expected - num_good, self.num_broken)
        self.num_frames = num_good + self.num_broken

    def _packets(self) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        # what is damaged beyond the next packet ends the file; the count says how much is missing
        with suppress(self._av.FFmpegError):
            yield from packets

    def _decoded(self, packet: Any) -> list[Any]:
        """The frames that a packet completes; the last one, which is empty, all that remain."""
        for _ in range(_MAX_FAULTS_AT_THE_END if packet.size == 0 else 1):
            try:
                return packet.decode()
            except EOFError:
                break
            except self._av.FFmpegError:
                self.num_broken += 1
        return []

    def _pixels(self, frame: Any, height: int, width: int) -> np.ndarray:
        pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
        turns = round(frame.rotation / 90) % 4  # counter-clockwise
        return np.ascontiguousarray(np.rot90(pixels, turns))

    def _declared_end(self) -> float | None:
        """Seconds at which the pictures end, as the container says; None: it says nothing of them,
        or no more than the last picture that is there does."""
        stream, container = self._stream, self._container
        text = stream.metadata.get("DURATION", "")  # of Matroska
        with suppress(ValueError):
            hours, minutes, seconds = text.split(":")
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        if self._has_one_rate:  # measured at the file's end
            return None
        if stream.duration is not None:
            return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
        if container.duration is not None and len(container.streams) == 1:
            return container.duration / 1e6
        return None


class Camera:
    """Iterates over what a camera sees, until it gives nothing more.

    Attributes:
        fps, num_frames, num_broken: as of :class:`VideoReader`; the number is unknown
    """

    num_frames = 0

    def __init__(self, number: int) -> None:
        """
        Raises:
            UnreadableError: there is no such camera.
        """
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise UnreadableError(f"{number}: cannot be opened as a camera")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if np.isfinite(fps) and fps > 0 else _DEFAULT_FPS
        self.num_broken = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        misses = 0
        while misses < _MAX_MISSES_IN_A_ROW:
            is_good, frame = self._capture.read()
            misses = 0 if is_good else misses + 1
            if is_good:
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        self._capture.release()


def _is_cover(av: ModuleType, stream: Any) -> bool:
    """Whether a stream is the picture on the cover of a sound file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _left_out(times: list[float]) -> int:
    """Frames missing between those at ``times``, seconds, if nearly all follow at one distance;
    0 in a video of varying rate, where a longer distance says nothing."""
    steps = np.diff(np.sort(times))
    usual = float(np.median(steps)) if len(steps) else 0.0
    if usual <= 0 or np.mean(np.abs(steps / usual - 1) < 0.25) < _SHARE_OF_ONE_RATE:
        return 0
    return int(np.maximum(np.round(steps / usual) - 1, 0).sum())


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
