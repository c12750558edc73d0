"""The loop over inputs, with a made-up predictor."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import Metadata
from PIL import Image

from d2seg.visualization.media import UnreadableError, read_picture
from d2seg.visualization.runner import Runner
from d2seg.visualization.video_reading import VideoReader

METADATA = Metadata(stuff_classes=["left"], stuff_colors=[(0, 0, 255)])


def left_half(image: np.ndarray) -> dict:
    labels = torch.full(image.shape[:2], -1)
    labels[:, : image.shape[1] // 2] = 0
    return {"sem_seg": labels}


class FakeWindow:
    def __init__(self, stop_after: int) -> None:
        self.shown: list[np.ndarray] = []
        self.stop_after = stop_after

    def show(self, picture: np.ndarray, wait_ms: int) -> bool:
        self.shown.append(picture)
        return len(self.shown) >= self.stop_after


def make_picture(path: Path, size: tuple[int, int] = (60, 80)) -> Path:
    Image.new("RGB", size[::-1], (200, 100, 100)).save(path)
    return path


def make_video(path: Path, num_frames: int = 6) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 64))
    rng = np.random.default_rng(0)
    for _ in range(num_frames):
        writer.write(rng.integers(0, 255, (64, 96, 3), np.uint8))
    writer.release()
    return path


def test_pictures_are_drawn_and_enlarged(tmp_path):
    inputs = [make_picture(tmp_path / "a.png"), make_picture(tmp_path / "b.png", (600, 2000))]
    runner = Runner(left_half, METADATA)
    runner.run_files(inputs, [tmp_path / "out_a.png", tmp_path / "out_b.png"])
    assert (runner.num_drawn, runner.num_failed) == (2, 0)
    small, large = (read_picture(tmp_path / f"out_{name}.png") for name in "ab")
    assert small.shape == (240, 320, 3)  # the greatest enlargement
    assert large.shape == (600, 2000, 3)
    assert small[10, 40] == pytest.approx([100, 50, 177], abs=2)
    assert small[10, 280].tolist() == [200, 100, 100]


def test_an_unreadable_file_is_reported_and_the_rest_goes_on(tmp_path, capfd):
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    no_video = tmp_path / "no_video.mp4"
    no_video.touch()
    inputs = [broken, no_video, make_picture(tmp_path / "good.png")]
    outputs = [tmp_path / f"out_{path.stem}.png" for path in inputs]
    runner = Runner(left_half, METADATA)
    runner.run_files(inputs, outputs)
    assert (runner.num_drawn, runner.num_failed) == (1, 2)
    assert [path.exists() for path in outputs] == [False, False, True]
    error = capfd.readouterr().err
    assert f"{broken}: cannot be read" in error
    assert f"{no_video}: cannot be opened as a video" in error


def test_a_video_stays_a_video(tmp_path):
    runner = Runner(left_half, METADATA)
    runner.run_files([make_video(tmp_path / "a.avi")], [tmp_path / "out.mp4"])
    assert (runner.num_drawn, runner.num_failed) == (1, 0)
    reader = VideoReader(tmp_path / "out.mp4")
    assert (reader.num_frames, reader.fps) == (6, 10)
    drawn = np.stack(list(reader)).astype(float)
    assert drawn.shape[1:] == (64, 96, 3)
    # blue over the left half
    assert drawn[:, 5:30, 5:40, 2].mean() > drawn[:, 5:30, 5:40, 0].mean() + 60
    assert abs(drawn[:, 5:, 60:, 2].mean() - drawn[:, 5:, 60:, 0].mean()) < 15


def test_a_video_with_broken_frames_is_drawn_and_reported(tmp_path, capfd):
    path = make_video(tmp_path / "a.avi")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    runner = Runner(left_half, METADATA)
    runner.run_files([path], [tmp_path / "out.mp4"])
    assert (runner.num_drawn, runner.num_failed) == (1, 1)
    num_good = VideoReader(tmp_path / "out.mp4").num_frames
    assert f"{6 - num_good} of 6 frames cannot be read" in capfd.readouterr().err


def test_a_failure_or_an_interruption_midway_leaves_no_video(tmp_path):
    for error in (RuntimeError, KeyboardInterrupt):
        calls = iter(range(3))

        def fails(image: np.ndarray, calls=calls, error=error) -> dict:
            if next(calls) == 2:
                raise error("not of memory")
            return left_half(image)

        path = make_video(tmp_path / "a.avi")
        with pytest.raises(error):
            Runner(fails, METADATA).run_files([path], [tmp_path / "out.mp4"])
        assert [p.name for p in tmp_path.iterdir()] == ["a.avi"]


def test_a_video_that_needs_too_much_memory_is_reported_and_leaves_none(tmp_path, capfd):
    calls = iter(range(3))

    def fails(image: np.ndarray) -> dict:
        if next(calls) == 2:
            raise RuntimeError("CUDA out of memory")
        return left_half(image)

    path = make_video(tmp_path / "a.avi")
    runner = Runner(fails, METADATA)
    runner.run_files([path], [tmp_path / "out.mp4"])
    assert (runner.num_drawn, runner.num_failed) == (0, 1)
    assert "a.avi: cannot be drawn: not enough memory: CUDA out of memory" in capfd.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["a.avi"]


def test_an_output_that_cannot_be_written_ends_the_run(tmp_path):
    runner = Runner(left_half, METADATA)
    with pytest.raises(OSError, match="absent"):
        runner.run_files([make_picture(tmp_path / "a.png")], [tmp_path / "absent" / "a.png"])


def test_a_window_shows_and_stops(tmp_path):
    inputs = [make_picture(tmp_path / "a.png"), make_video(tmp_path / "b.avi")]
    inputs.append(make_picture(tmp_path / "c.png"))
    window = FakeWindow(stop_after=3)
    Runner(left_half, METADATA, window).run_files(inputs, [None] * 3)
    assert len(window.shown) == 3  # the picture and two frames
    window = FakeWindow(stop_after=99)
    runner = Runner(left_half, METADATA, window)
    runner.run_files(inputs, [None] * 3)
    assert len(window.shown) == 8
    assert runner.num_drawn == 3


class FakeCamera:
    """Gives frames until Ctrl-C."""

    def __init__(self, num_frames: int) -> None:
        self.num_left = num_frames

    def isOpened(self) -> bool:
        return True

    def get(self, what: int) -> float:
        return {cv2.CAP_PROP_FPS: 0.0, cv2.CAP_PROP_FRAME_COUNT: -1.0}[what]

    def read(self) -> tuple[bool, np.ndarray]:
        if not self.num_left:
            raise KeyboardInterrupt
        self.num_left -= 1
        return True, np.zeros((64, 96, 3), np.uint8)


def test_a_camera_is_recorded_until_it_is_interrupted(tmp_path, monkeypatch):
    capture = cv2.VideoCapture
    monkeypatch.setattr(
        cv2, "VideoCapture", lambda source: FakeCamera(4) if source == 0 else capture(source)
    )
    runner = Runner(left_half, METADATA)
    runner.run_camera(0, tmp_path / "webcam.mp4")
    assert runner.num_drawn == 1
    assert VideoReader(tmp_path / "webcam.mp4").num_frames == 4


def test_no_camera(monkeypatch):
    monkeypatch.setattr(FakeCamera, "isOpened", lambda self: False)
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: FakeCamera(0))
    with pytest.raises(UnreadableError, match="0: cannot be opened as a camera"):
        Runner(left_half, METADATA).run_camera(0, None)
