"""Files in and out: what is found, what is refused, what stays behind after a failure."""

import os
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from d2seg.visualization.media import (
    UnreadableError,
    Window,
    find_inputs,
    plan_outputs,
    read_picture,
    write_picture,
)
from d2seg.visualization.video_reading import VideoReader
from d2seg.visualization.video_writing import VideoWriter

NUM_FRAMES, FPS, SIZE = 12, 12.5, (48, 64)


def touch(folder: Path, *names: str) -> list[Path]:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return [folder / name for name in names]


def frames() -> list[np.ndarray]:
    return [np.full((*SIZE, 3), (20 * i, 100, 200), np.uint8) for i in range(NUM_FRAMES)]


def write_video(path: Path) -> Path:
    with VideoWriter(path, FPS) as writer:
        for frame in frames():
            writer.write(frame)
    return path


def test_files_folders_and_patterns_are_found(tmp_path):
    a, b, c, movie, deep = touch(
        tmp_path, "a.jpg", "in/b.PNG", "in/c.jpeg", "in/d.mp4", "in/e/f.png"
    )
    touch(tmp_path, "in/notes.txt", "in/.hidden")
    odd = touch(tmp_path, "odd[1].dat")[0]
    files, missing = find_inputs([str(a), str(tmp_path / "in"), str(odd), str(tmp_path / "no.jpg")])
    assert files == [a, b, c, movie, odd]
    assert missing == [str(tmp_path / "no.jpg")]
    files, missing = find_inputs([str(tmp_path / "*.jpg"), str(tmp_path / "**/*.png"), str(a)])
    assert files == [a, deep]
    assert not missing
    (tmp_path / "empty").mkdir()
    assert find_inputs([str(tmp_path / "empty")]) == ([], [str(tmp_path / "empty")])


def test_outputs_have_distinct_names(tmp_path):
    inputs = [tmp_path / name for name in ("a/x.jpg", "b/x.png", "b/x.mp4", "b/x_2.jpg", "c/x.bmp")]
    outputs = plan_outputs(inputs, tmp_path / "out")
    assert [p.name for p in outputs] == ["x.png", "x_2.png", "x.mp4", "x_2_2.png", "x_3.png"]
    assert {p.parent for p in outputs} == {tmp_path / "out"}


def test_the_folder_of_an_input_is_no_output(tmp_path, monkeypatch):
    (path,) = touch(tmp_path, "in/a.jpg")
    monkeypatch.chdir(tmp_path)
    for folder in (Path("in"), tmp_path / "in", tmp_path / "other" / ".." / "in"):
        with pytest.raises(ValueError, match=r"is the folder of the input a\.jpg"):
            plan_outputs([path], folder)


def test_an_output_that_names_a_file_is_refused(tmp_path):
    (existing,) = touch(tmp_path, "result")
    for output in (existing, tmp_path / "new.png", tmp_path / "new.MP4"):
        with pytest.raises(ValueError, match="names a file"):
            plan_outputs([tmp_path / "in" / "a.jpg"], output)


def test_exif_rotation_is_honoured(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = (255, 0, 0)  # the left half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    picture = read_picture(tmp_path / "a.png")
    assert picture.shape == (40, 20, 3)
    assert (picture[:20] == (255, 0, 0)).all()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_other_modes_become_rgb(tmp_path, mode):
    suffix = "tif" if mode == "CMYK" else "png"
    Image.new(mode, (8, 6)).save(tmp_path / f"a.{suffix}")
    assert read_picture(tmp_path / f"a.{suffix}").shape == (6, 8, 3)


def test_broken_pictures_raise_one_clear_error(tmp_path):
    path = tmp_path / "a.png"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    content = path.read_bytes()
    path.with_name("text.png").write_text("not a picture")
    path.with_name("empty.jpg").touch()
    path.with_name("cut.png").write_bytes(content[: len(content) // 2])
    path.with_name("crc.png").write_bytes(content[:40] + b"\0\0\0\0" + content[44:])
    for name in ("text.png", "empty.jpg", "cut.png", "crc.png", "absent.png"):
        with pytest.raises(UnreadableError, match=name) as caught:
            read_picture(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_picture_is_written_whole_or_not(tmp_path, monkeypatch):
    picture = frames()[3]
    write_picture(tmp_path / "a.png", picture)
    assert np.array_equal(read_picture(tmp_path / "a.png"), picture)

    def full_disk(self, file, **_):
        Path(file).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    for name in ("a.png", "b.png"):
        with pytest.raises(OSError, match="no space"):
            write_picture(tmp_path / name, frames()[5])
    assert os.listdir(tmp_path) == ["a.png"]
    monkeypatch.undo()
    assert np.array_equal(read_picture(tmp_path / "a.png"), picture)


def test_a_video_comes_back_with_its_size_rate_and_colours(tmp_path):
    reader = VideoReader(write_video(tmp_path / "a.mp4"))
    assert (reader.num_frames, reader.fps) == (NUM_FRAMES, FPS)
    back = list(reader)
    assert len(back) == NUM_FRAMES
    assert reader.num_broken == 0
    for ours, theirs in zip(frames(), back, strict=True):
        assert np.abs(ours.astype(int) - theirs).max() <= 12  # lossy; but red is not blue
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_an_interrupted_video_leaves_nothing(tmp_path):
    def interrupted() -> None:
        with VideoWriter(tmp_path / "a.mp4", FPS) as writer:
            for frame in 10 * frames():  # more than the encoder holds back
                writer.write(frame)
            assert os.listdir(tmp_path) != []
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("rate", [12.5, 30000 / 1001, 25.0])
@pytest.mark.parametrize("size", [(48, 64), (47, 63), (1, 1)])
def test_videos_play_in_browsers(tmp_path, size, rate):
    frame = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    with VideoWriter(tmp_path / "a.mp4", rate) as writer:
        for _ in range(NUM_FRAMES):
            writer.write(frame)
    with av.open(str(tmp_path / "a.mp4")) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.height, stream.width) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
        assert float(stream.average_rate) == rate
        assert stream.frames == len(list(container.decode(stream))) == NUM_FRAMES
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (5, 1)


def test_the_last_row_and_column_of_an_odd_size_come_twice(tmp_path):
    frame = np.zeros((47, 63, 3), np.uint8)
    frame[-1], frame[:, -1] = 255, 255
    with VideoWriter(tmp_path / "a.mp4", FPS) as writer:
        writer.write(frame)
    (back,) = VideoReader(tmp_path / "a.mp4")
    assert back.shape == (48, 64, 3)
    assert back[46:].min() > 200
    assert back[:, 62:].min() > 200
    assert back[:44, :60].max() < 50


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device without space")
def test_a_full_disk_leaves_the_old_video(tmp_path):
    old = write_video(tmp_path / "a.mp4").read_bytes()
    (tmp_path / ".a.partial.mp4").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"/a\.mp4: cannot be written: .*No space left"):
        write_video(tmp_path / "a.mp4")
    assert os.listdir(tmp_path) == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == old


def test_without_pyav_only_videos_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    for refused in (
        lambda: plan_outputs([tmp_path / "a.png", tmp_path / "a.avi"], tmp_path / "out"),
        lambda: VideoWriter(tmp_path / "a.mp4", FPS),
    ):
        with pytest.raises(ImportError, match="`pip install av` brings it"):
            refused()
    assert plan_outputs([tmp_path / "a.png"], tmp_path / "out") == [tmp_path / "out" / "a.png"]


def test_no_frames_make_no_video(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", FPS):
        pass
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(OSError, match=r"/a\.mp4: cannot be written: .*No such file"):
        write_video(tmp_path / "absent" / "a.mp4")


def write_noise(path: Path, codec: str) -> Path:
    """A video whose frames each take much space, so that damage hits only some of them."""
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), FPS, SIZE[::-1])
    for _ in range(NUM_FRAMES):
        writer.write(rng.integers(0, 255, (*SIZE, 3), np.uint8))
    writer.release()
    return path


def test_broken_frames_are_left_out_and_counted(tmp_path):
    path = write_noise(tmp_path / "a.avi", "MJPG")
    content = bytearray(path.read_bytes())
    middle = content.index(b"00dc", len(content) // 2) + 8  # the pixels of a frame
    content[middle : middle + 400] = bytes(400)
    path.write_bytes(content)
    reader = VideoReader(path)
    assert len(list(reader)) == NUM_FRAMES - 1
    assert reader.num_broken == 1


@pytest.mark.parametrize("name", ["a.avi", "a.mkv"])
def test_a_video_that_breaks_off(tmp_path, name):
    path = write_noise(tmp_path / name, "MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    reader = VideoReader(path)
    num_good = len(list(reader))
    assert 3 <= num_good < NUM_FRAMES
    assert reader.num_broken == NUM_FRAMES - num_good


def test_whole_videos_of_other_containers(tmp_path):
    for name in ("a.mkv", "a.avi"):
        reader = VideoReader(write_noise(tmp_path / name, "MJPG"))
        assert len(list(reader)) == NUM_FRAMES
        assert reader.num_broken == 0


def test_what_is_no_video(tmp_path):
    (path,) = touch(tmp_path, "a.mp4")
    for source in (path, tmp_path / "absent.mp4"):
        with pytest.raises(UnreadableError, match="cannot be opened as a video"):
            VideoReader(source)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is a display")
def test_without_a_display_there_is_no_window(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(ValueError, match="--output"):
        Window("test")


def test_without_window_support_there_is_no_window(monkeypatch):
    def refuse(*_):
        raise cv2.error("not implemented")

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(ValueError, match="headless"):
        Window("test")


def test_a_window_shows_and_is_asked_to_stop(monkeypatch):
    shown = []
    keys = iter([-1, ord("a"), ord("q"), 27])
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", lambda _, picture: shown.append(picture))
    monkeypatch.setattr(cv2, "waitKey", lambda _: next(keys))
    window = Window("test")
    picture = np.full((4, 4, 3), (1, 2, 3), np.uint8)
    assert [window.show(picture, 1) for _ in range(4)] == [False, False, True, True]
    assert shown[0][0, 0].tolist() == [3, 2, 1]  # OpenCV shows BGR
