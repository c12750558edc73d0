"""What counts as a picture, and what is said of other things."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from d2seg.prediction.inputs import collect_pictures

RGB = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
BGR = RGB[:, :, ::-1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.png"):
        Image.fromarray(RGB).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_every_kind_gives_the_same_pixels(folder: Path) -> None:
    file = folder / "a.png"
    transparent = Image.fromarray(RGB).convert("RGBA")
    kinds = [file, str(file), Image.open(file), transparent, cv2.imread(str(file)), BGR]
    for given in kinds:
        (picture,), is_single = collect_pictures(given, "BGR")
        assert is_single
        assert np.array_equal(picture.rgb(), RGB)
    (picture,), _ = collect_pictures(RGB, "RGB")
    assert np.array_equal(picture.rgb(), RGB)


def test_folders_and_lists_in_order(folder: Path) -> None:
    pictures, is_single = collect_pictures(folder, "BGR")
    assert [picture.source.name for picture in pictures] == ["a.png", "b.png"]
    assert not is_single
    pictures, is_single = collect_pictures([BGR, folder, str(folder / "b.png")], "BGR")
    assert len(pictures) == 4
    assert not is_single
    assert collect_pictures([], "BGR") == ([], False)


def test_a_photograph_is_turned_as_its_orientation_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    for given in (tmp_path / "a.png", Image.open(tmp_path / "a.png")):
        (picture,), _ = collect_pictures(given, "BGR")
        assert np.array_equal(picture.rgb(), np.rot90(RGB, -1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (RGB / 255, r"dtype float64; give uint8 from 0 to 255: \(255 \* picture\)"),
        (RGB.astype(np.float32), "dtype float32; give uint8 from 0 to 255$"),
        (RGB.astype(np.int64), "dtype int64; give uint8"),
        (RGB[:, :, :2], r"shape \(4, 5, 2\); give three channels"),
        (RGB[:, :, 0], r"shape \(4, 5\); repeat a grey picture's channel"),
        (RGB.transpose(2, 0, 1), r"shape \(3, 4, 5\); the channels come last"),
        (np.zeros((4, 5, 4), np.uint8), "drop the alpha channel"),
        (RGB[:0], r"shape \(0, 5, 3\), which holds no pixel"),
        (torch.zeros(3, 4, 5), "a picture is a Tensor; give a path"),
        (None, "a picture is a NoneType"),
        ([BGR, 3], "a picture is a int"),
        (Image.new("F", (3, 3)), "mode F; scale it to 8 bits"),
        ("absent.png", "there is no picture .*absent.png"),
    ],
)
def test_other_things_are_refused_in_one_line(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        collect_pictures(given, "BGR")
    assert "\n" not in str(error.value)


def test_a_folder_without_pictures_and_a_wrong_order(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no picture \(.*\.png"):
        collect_pictures(tmp_path, "BGR")
    with pytest.raises(ValueError, match="channel_order is 'rgb'; it is one of"):
        collect_pictures(RGB, "rgb")
