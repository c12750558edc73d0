"""Inputs of the demo that cannot be drawn are listed, and the rest is drawn."""

import os
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import Metadata
from PIL import Image

from d2seg.cli.predict import run as write_all
from d2seg.data.augmentation import ResizeShortestEdge
from d2seg.visualization import media
from d2seg.visualization.media import find_inputs, plan_outputs
from d2seg.visualization.runner import Runner

METADATA = Metadata(stuff_classes=["a", "b"], stuff_colors=[[255, 0, 0], [0, 0, 255]])


def predict(image: np.ndarray) -> dict:
    if image.shape[:2] == (7, 9):
        raise cv2.error("OpenCV: out of memory")
    if image.shape[:2] == (7, 10):
        raise MemoryError
    if image.shape[:2] == (7, 11):  # torch's own words, of a CPU
        torch.empty(1 << 60)
    if image.shape[:2] == (7, 12):  # and of a GPU
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB")
    return {"sem_seg": torch.zeros(image.shape[:2], dtype=torch.int64)}


def picture(file, height: int = 6, width: int = 8) -> None:
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(file)


def test_one_bad_input_does_not_end_the_run(tmp_path, capfd) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    picture(folder / "a.png")
    picture(folder / "b.png", 7, 9)
    picture(folder / "c.png", 7, 10)
    os.mkfifo(folder / "d.png")
    os.mkfifo(folder / "e.mp4")
    (folder / "f.png").symlink_to("f.png")
    (folder / "g.png").write_bytes((folder / "a.png").read_bytes()[:-30])
    picture(folder / f"{'h' * 246}.png")
    picture(folder / "i.png", 1, 400)
    picture(folder / "j.png", 7, 11)
    picture(folder / "k.png", 7, 12)
    files, missing = find_inputs([str(folder / "*")])
    assert missing == []
    assert len(files) == 11
    assert find_inputs([str(folder)]) == (files, [])  # none is passed over in silence
    outputs = plan_outputs(files, tmp_path / "out")
    (tmp_path / "out").mkdir()
    runner = Runner(predict, METADATA)
    runner.run_files(files, outputs)
    assert (runner.num_drawn, runner.num_failed) == (3, 8)
    drawn = sorted(file.name[0] for file in (tmp_path / "out").iterdir())
    assert drawn == ["a", "h", "i"]
    lines = capfd.readouterr().err
    for name, reason in (
        ("b.png", "cannot be drawn: OpenCV: out of memory"),
        ("c.png", "cannot be drawn: not enough memory: make the picture smaller"),
        ("j.png", "cannot be drawn: not enough memory: "),
        ("k.png", "cannot be drawn: not enough memory: CUDA out of memory. Tried to allocate 20"),
        ("d.png", "cannot be read: it is no regular file"),
        ("e.mp4", "cannot be read: it is no regular file"),
        ("f.png", "cannot be read: "),
        ("g.png", "cannot be read: "),
    ):
        assert f"{name}: {reason}" in lines


def test_other_errors_end_the_run(tmp_path) -> None:
    def fail(image: np.ndarray) -> dict:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    picture(tmp_path / "a.png")
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        Runner(fail, METADATA).run_files([tmp_path / "a.png"], [None])


def test_predictions_go_on_after_a_picture_that_needs_too_much_memory(tmp_path) -> None:
    for name, width in (("a", 8), ("b", 11), ("c", 8)):
        picture(tmp_path / f"{name}.png", 7 if width == 11 else 6, width)
    files = [tmp_path / f"{name}.png" for name in "abc"]
    outputs = [tmp_path / "out" / f"{name}.png" for name in "abc"]
    (tmp_path / "out").mkdir()
    [unread] = write_all(predict, SimpleNamespace(metadata=METADATA, reader=None), files, outputs)
    assert unread.startswith(f"{tmp_path}/b.png: cannot be predicted: not enough memory: ")
    assert {file.stem for file in (tmp_path / "out").glob("*.png")} == {"a", "c"}


def test_too_large_pictures_are_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(media, "MAX_DRAWN_PIXELS", 40)
    picture(tmp_path / "a.png")
    with pytest.raises(media.UnreadableError, match=r"8x6 pixels .*more than 40; make it smaller"):
        media.read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("size", [(1, 4000), (1, 10000), (10000, 1), (1, 1), (3, 9000)])
def test_no_side_is_resized_to_nothing(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    resize = ResizeShortestEdge(800, 1333)
    assert min(resize.get_transform(image).apply_image(image).shape[:2]) >= 1


def test_pictures_are_resized_as_detectron2_does() -> None:
    from detectron2.data import transforms as T

    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    ours, theirs = (
        x(40, 60).get_transform(image) for x in (ResizeShortestEdge, T.ResizeShortestEdge)
    )
    assert np.array_equal(ours.apply_image(image), theirs.apply_image(image))
