"""Videos: every frame that can be decoded, and a count of what is missing."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from d2seg.visualization import video_reading
from d2seg.visualization.video_reading import UnreadableError, VideoReader
from d2seg.visualization.video_writing import VideoWriter

NUM_FRAMES, RATE, SIZE = 24, 25, (48, 64)
CODECS = {
    ".mp4": "libx264",
    ".mkv": "libx264",
    ".webm": "libvpx",
    ".mov": "mjpeg",
    ".avi": "mpeg4",
    ".wmv": "wmv2",
    ".mpg": "mpeg2video",
    ".ts": "mpeg2video",
    ".flv": "flv1",
}


def picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.full((*size, 3), (10 * number, 100, 200), np.uint8)


def write(
    path: Path,
    *,
    when: Callable[[int], int] = int,
    sound: bool = False,
    noise: bool = False,
    count: int = NUM_FRAMES,
    **options: str,
) -> Path:
    """A video whose frame i is shown at ``when(i)`` / 25 seconds."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(CODECS[path.suffix], rate=RATE)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuvj420p" if path.suffix == ".mov" else "yuv420p"
        tones = container.add_stream("aac", rate=16000) if sound else None
        for number in range(count):
            pixels = rng.integers(0, 255, (*SIZE, 3), np.uint8) if noise else picture(number)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = when(number), Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        for part in range(60 if tones else 0):  # some 4 seconds
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.sample_rate, silence.pts = 16000, 1024 * part
            container.mux(tones.encode(silence))
        if tones:
            container.mux(tones.encode())
    return path


def read(path: Path) -> tuple[list[np.ndarray], int]:
    reader = VideoReader(path)
    frames = list(reader)
    assert reader.num_frames == len(frames) + reader.num_broken
    return frames, reader.num_broken


@pytest.mark.parametrize("suffix", CODECS)
def test_every_frame_is_read(tmp_path, suffix: str) -> None:
    frames, broken = read(write(tmp_path / f"a{suffix}"))
    assert (len(frames), broken) == (NUM_FRAMES, 0)
    assert abs(int(frames[-1][..., 0].mean()) - 230) < 25


@pytest.mark.parametrize(
    "name", [f"variable{x}" for x in (".mkv", ".mp4", ".mpg", ".webm", ".wmv", ".avi", ".ts")]
)
@pytest.mark.parametrize("when", [lambda i: i * i, lambda i: i + i // 5 * 3, lambda i: 3 * i])
def test_frames_that_are_far_apart_in_time_are_not_missing(tmp_path, name: str, when) -> None:
    assert [len(read(write(tmp_path / name, when=when))[0]), read(tmp_path / name)[1]] == [24, 0]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_a_longer_sound_is_no_missing_picture(tmp_path, suffix: str) -> None:
    assert read(write(tmp_path / f"a{suffix}", sound=True))[1] == 0


def test_one_frame_is_a_video(tmp_path) -> None:
    for suffix in CODECS:
        frames, broken = read(write(tmp_path / f"a{suffix}", count=1))
        assert (suffix, len(frames), broken) == (suffix, 1, 0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {"movflags": "faststart"}),
        ("a.avi", {}),
        ("a.mkv", {}),
        ("a.mov", {"movflags": "faststart"}),
    ],
)
@pytest.mark.parametrize("share", [0.5, 0.85])
def test_what_is_cut_off_is_counted(tmp_path, name: str, options: dict, share: float) -> None:
    path = write(tmp_path / name, noise=True, **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    frames, broken = read(path)
    assert 2 <= len(frames) < NUM_FRAMES
    assert NUM_FRAMES - 1 <= len(frames) + broken <= NUM_FRAMES + 1


@pytest.mark.parametrize("suffix", [".mpg", ".wmv"])
def test_frames_after_a_damaged_one_are_read_beyond_the_estimate(tmp_path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", noise=True)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(content)
    frames, broken = read(path)
    assert len(frames) >= NUM_FRAMES // 2 + 3  # it goes on behind the fault
    assert NUM_FRAMES - 1 <= len(frames) + broken <= NUM_FRAMES + 1


def test_a_frame_that_a_transport_stream_lost_is_counted(tmp_path) -> None:
    path = write(tmp_path / "a.ts")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)  # of more than one packet of 188 bytes
    path.write_bytes(content)
    frames, broken = read(path)
    assert broken >= 1
    assert len(frames) + broken == NUM_FRAMES


@pytest.mark.parametrize("share", [0.5, 0.85])
def test_frames_cut_off_an_avi_of_varying_rate_are_counted(tmp_path, share: float) -> None:
    path = write(tmp_path / "a.avi", noise=True, when=lambda i: 2 * i)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    frames, broken = read(path)
    assert 2 <= len(frames) < NUM_FRAMES
    assert broken >= NUM_FRAMES - len(frames) - 1


def test_a_name_like_a_protocol(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("Exp:12", "a.mp4")
    path.parent.mkdir()
    with VideoWriter(path, RATE) as writer:
        writer.write(picture(3))
    assert len(read(path)[0]) == 1


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"
ADDRESS = "http://127.0.0.1:9/a.ts"


@pytest.mark.parametrize(
    "content",
    ["", "no video", PLAYLIST.format(ADDRESS), f"ffconcat version 1.0\nfile {ADDRESS}\n"],
)
def test_what_is_no_video(tmp_path, content: str) -> None:
    (tmp_path / "a.mp4").write_text(content)
    with pytest.raises(UnreadableError, match=r"a\.mp4: cannot be opened as a video: ."):
        VideoReader(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    "content",
    ["ffconcat version 1.0\nfile a.mp4\n", PLAYLIST.format("a.mp4")],
)
def test_lists_of_other_files_are_not_followed(tmp_path, content: str) -> None:
    write(tmp_path / "a.mp4")
    (tmp_path / "list.mp4").write_text(content)
    with pytest.raises(UnreadableError, match=r"list\.mp4: cannot be opened as a video: "):
        VideoReader(tmp_path / "list.mp4")


def test_sound_alone_is_no_video(tmp_path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UnreadableError, match=r"a\.mp4: cannot be opened .*: it has no pictures"):
        VideoReader(tmp_path / "a.mp4")


def test_frames_of_too_many_pixels_are_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(video_reading, "MAX_DRAWN_PIXELS", 3000)
    with pytest.raises(UnreadableError, match=r"64x48 pixels .*more than 3000"):
        VideoReader(write(tmp_path / "a.mp4"))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_frames_are_turned_as_the_file_says(tmp_path, turns: int) -> None:
    path = tmp_path / "a.mp4"
    left = np.zeros((*SIZE, 3), np.uint8)
    left[:, : SIZE[1] // 2] = 255
    with VideoWriter(path, RATE) as writer:
        writer.write(left)
    content = path.read_bytes()
    # the display matrix of the track: x and y of the picture from those of the frame
    matrix = [(1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0)][turns]
    at = content.index(b"tkhd") + 4 + 40
    numbers = [matrix[0], matrix[1], 0, matrix[2], matrix[3], 0]
    words = b"".join((n * 65536).to_bytes(4, "big", signed=True) for n in numbers)
    path.write_bytes(content[:at] + words + content[at + 24 :])
    [frame], _ = read(path)
    assert frame.shape[:2] == (SIZE if turns % 2 == 0 else SIZE[::-1])
    side = [frame[:, :20], frame[-20:], frame[:, -20:], frame[:20]][turns]
    assert side.mean() > 240
    assert frame.mean() < 140
