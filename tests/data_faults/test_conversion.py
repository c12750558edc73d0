"""tools/prepare_own_labels.py: no label is lost without a word, and no advice leads back to it."""

import errno
import os
from pathlib import Path

import numpy as np
import prepare_own_labels
import pytest
from dataset_files import semantic_declaration, write_png
from PIL import Image

from d2seg.data.label_conversion import ColorTable, ValueTable
from d2seg.data.label_maps import read_labels


def convert(root: Path, *arguments: object) -> None:
    prepare_own_labels.main([str(root / "raw"), str(root / "new"), *map(str, arguments)])


def row(*values: int, dtype: type = np.uint8) -> np.ndarray:
    return np.array([values], dtype)


def result(root: Path, name: str = "a.png") -> list[int]:
    return read_labels(root / "new" / name)[0].tolist()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_values_above_the_ignore_label_are_not_reduced_to_it(tmp_path, dtype) -> None:
    write_png(tmp_path / "raw/a.tif", row(0, 255, 256, dtype=dtype))
    with pytest.raises(ValueError, match=r"a\.tif: the value 256 is above .*--ignore-label 65535"):
        convert(tmp_path, "--reduce-zero-label")
    assert not (tmp_path / "new").exists()
    convert(tmp_path, "--reduce-zero-label", "--ignore-label", "65535")
    assert result(tmp_path) == [65535, 254, 255]


def test_the_ignore_label_stays_when_values_are_reduced(tmp_path) -> None:
    write_png(tmp_path / "raw/a.png", row(0, 1, 255))
    write_png(tmp_path / "raw/b.png", row(0, 65535, 300, dtype=np.uint16))
    convert_all = ("--reduce-zero-label", "--ignore-label", "65535")
    convert(tmp_path, *convert_all)
    assert result(tmp_path) == [65535, 0, 254]
    assert result(tmp_path, "b.png") == [65535, 65535, 299]
    for label in ("0", "-1", "65536"):
        with pytest.raises(ValueError, match=f"--ignore-label is {label}; it is 1 to 65535"):
            convert(tmp_path, "--reduce-zero-label", "--ignore-label", label)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("--reduce-zero-label",), ("--map", "1:2")),
        (("--map", "1:3"), ("--map", "1:2")),
        (("--reduce-zero-label",), ("--reduce-zero-label", "--ignore-label", "250")),
    ],
)
def test_files_of_other_rules_are_not_kept(tmp_path, first, second) -> None:
    write_png(tmp_path / "raw/a.png", row(0, 1))
    convert(tmp_path, *first)
    kept = result(tmp_path)
    write_png(tmp_path / "raw/0.png", row(1))
    with pytest.raises(ValueError, match=r"new/a\.png is there, and not what these arguments"):
        convert(tmp_path, *second)
    assert not (tmp_path / "new/0.png").exists()  # nothing of the second rule
    assert result(tmp_path) == kept
    convert(tmp_path, *first)  # goes on
    assert (tmp_path / "new/0.png").exists()


@pytest.mark.parametrize("stem", ["a" * 250, "\u00e4" * 125, "\U0001f600" * 62])
def test_names_may_be_as_long_as_names_can_be(tmp_path, stem: str) -> None:
    write_png(tmp_path / f"raw/{stem}.tif", row(0, 1))
    convert(tmp_path, "--map", "1:2")
    assert result(tmp_path, f"{stem}.png") == [0, 2]
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_names_too_long_for_the_target_are_listed_and_the_rest_is_done(
    tmp_path, monkeypatch, caplog
) -> None:
    """Some file systems have shorter names, and whole paths have 4096 bytes."""

    def replace(self: Path, target: Path) -> None:
        if len(target.name) > 143:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(target))
        os.replace(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    for stem in ("a", "b" * 150, "c"):
        write_png(tmp_path / f"raw/{stem}.png", row(0, 1))
    with pytest.raises(ValueError, match="1 of 3 files are left out, whose names are too long"):
        convert(tmp_path, "--map", "1:2")
    assert f"left out: {tmp_path}/raw/{'b' * 150}.png: its name is too long" in caplog.text
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["a.png", "c.png"]


@pytest.mark.parametrize("other", ["a.tif", "a.bmp", "a.gif", "a.PNG"])
def test_two_files_of_one_stem_are_refused(tmp_path, other: str) -> None:
    write_png(tmp_path / "raw/x/a.png", row(0, 1))
    write_png(tmp_path / "raw/x" / other, row(1, 0))
    with pytest.raises(ValueError, match=r"raw/x/a\.\w+ and .*raw/x/a\.\w+ would both become"):
        convert(tmp_path, "--map", "1:2")
    assert not (tmp_path / "new").exists()


def test_hidden_files_are_left_out_and_gif_is_read(tmp_path) -> None:
    write_png(tmp_path / "raw/a.gif", row(0, 1))
    (tmp_path / "raw/._a.png").write_bytes(b"of another system")
    convert(tmp_path, "--map", "1:2")
    assert result(tmp_path) == [0, 2]
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.png"]


def test_equal_colours_are_refused(tmp_path) -> None:
    for colors in ([[0, 0, 0], [9, 9, 9], [0, 0, 0]], [[1, 1, 1]] * 3):
        file = semantic_declaration(tmp_path / "a.json", "toy", colors=colors)
        with pytest.raises(ValueError, match=r"a\.json: 'colors' has .* for 'floor' and for '"):
            ColorTable.of_declaration(file)


def test_one_value_with_two_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="--map makes 1 both 2 and 3"):
        ValueTable.of_pairs(["1:2", "1:3"])
    ValueTable.of_pairs(["1:2", "1:2"])


def test_what_becomes_one_label_and_what_is_absent_is_reported(tmp_path, caplog) -> None:
    write_png(tmp_path / "raw/a.png", row(0, 1, 2))
    convert(tmp_path, "--map", "1:2", "9:255")
    assert result(tmp_path) == [0, 2, 2]
    assert "the values 1 and 2 are one label now, 2" in caplog.text
    assert "--map: no file has the value 9" in caplog.text


def test_colours_that_are_not_declared_are_reported(tmp_path, caplog) -> None:
    colors = [[0, 0, 0], [255, 0, 0], [0, 128, 255]]
    file = semantic_declaration(tmp_path / "toy.json", "toy", colors=colors)
    pixels = np.array([[*colors, [255, 128, 0], [255, 128, 0]]], np.uint8)
    write_png(tmp_path / "raw/a.png", pixels)
    convert(tmp_path, "--colors-of", file)
    assert result(tmp_path) == [0, 1, 2, 255, 255]
    assert "1 colours are not declared and have the ignore label 255 now" in caplog.text
    assert "[255, 128, 0] (2 pixels, as in" in caplog.text


@pytest.mark.parametrize(
    ("pixels", "suffix", "message"),
    [
        (np.zeros((2, 2, 3), np.uint8), "png", "--colors-of turns colours into ids"),
        (np.zeros((2, 2, 4), np.uint8), "png", "--colors-of turns colours into ids"),
        (np.zeros((2, 2), np.float32), "tif", "save the numbers of the classes as whole numbers"),
    ],
)
def test_advice_leads_elsewhere_than_to_the_same_call(
    tmp_path, pixels, suffix: str, message: str
) -> None:
    write_png(tmp_path / f"raw/a.{suffix}", pixels)
    for rule in (("--map", "1:2"), ("--reduce-zero-label",)):
        with pytest.raises(ValueError, match=rf"a\.{suffix}: a label map needs .*{message}"):
            convert(tmp_path, *rule)


@pytest.mark.parametrize("pixels", [row(0, 300, dtype=np.uint16), row(0, 1, dtype=np.float32)])
def test_colours_of_more_bits_are_refused(tmp_path, pixels) -> None:
    file = semantic_declaration(
        tmp_path / "toy.json", "toy", colors=[[0, 0, 0], [1, 1, 1], [2, 2, 2]]
    )
    write_png(tmp_path / "raw/a.tif", pixels)
    with pytest.raises(ValueError, match=r"a\.tif: the colours cannot be read: it has the mode"):
        convert(tmp_path, "--colors-of", file)


def test_negative_values_of_32_bits_stay_negative(tmp_path) -> None:
    write_png(tmp_path / "raw/a.tif", row(0, -1, 3, dtype=np.int32))
    assert read_labels(tmp_path / "raw/a.tif")[0].tolist() == [0, -1, 3]
    with pytest.raises(ValueError, match=r"a\.tif: the value -1 in 1 pixels; .*--map -1:255"):
        convert(tmp_path, "--reduce-zero-label")
    convert(tmp_path, "--map", "-1:255", "3:1")
    assert result(tmp_path) == [0, 255, 1]


def test_negative_values_of_16_bits_are_large_ones(tmp_path) -> None:
    signed = {339: 2}  # the tag SampleFormat of TIFF
    pixels = row(1, 65535, 40000, dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.tif", tiffinfo=signed)
    with Image.open(tmp_path / "a.tif") as image:
        assert np.array(image).tolist() == [[1, -1, 40000 - 65536]]
    assert read_labels(tmp_path / "a.tif")[0].tolist() == [1, 65535, 40000]


@pytest.mark.parametrize("value", [65536, -32769, 2**31 - 1])
def test_values_beyond_16_bits_are_named(tmp_path, value: int) -> None:
    write_png(tmp_path / "raw/a.tif", row(0, value, dtype=np.int32))
    for rule in (("--map", "1:2"), ("--reduce-zero-label",)):
        with pytest.raises(ValueError, match=rf"a\.tif: the value {value} in .*number them anew"):
            convert(tmp_path, *rule)


def test_folders_that_would_mix_are_refused(tmp_path) -> None:
    write_png(tmp_path / "raw/a.png", row(0, 1))
    (tmp_path / "new").symlink_to(tmp_path / "raw/deep")
    with pytest.raises(ValueError, match=r"TARGET .* lies in SOURCE"):
        convert(tmp_path, "--map", "1:2")
    (tmp_path / "new").unlink()
    (tmp_path / "new").symlink_to(tmp_path / "raw")
    with pytest.raises(ValueError, match=r"TARGET is SOURCE"):
        convert(tmp_path, "--map", "1:2")
    (tmp_path / "new").unlink()
    (tmp_path / "new").touch()
    with pytest.raises(ValueError, match=r"TARGET .*new is no folder"):
        convert(tmp_path, "--map", "1:2")
