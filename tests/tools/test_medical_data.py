"""check_dataset.py and visualize_data.py on medical slices and volumes."""

from pathlib import Path

import numpy as np
import pytest
from dataset_files import unique_name
from medical_files import COLORS, ORGANS, volume, write_h5, write_volumes
from PIL import Image

from d2seg.data.medical.registration import register_medical


@pytest.fixture
def name(tmp_path: Path) -> str:
    """Two registered volumes of three slices."""
    name = unique_name()
    arguments = {"list_file": write_volumes(tmp_path), "folders": [tmp_path / "volumes"]}
    register_medical(name, "volumes", suffix=".h5", classes=ORGANS, colors=COLORS, **arguments)
    return name


def test_sound_volumes(load_tool, name: str, capsys) -> None:
    assert load_tool("check_dataset").main([name]) == 0
    output = capsys.readouterr().out
    assert "no problems found" in output
    row = next(line.split() for line in output.splitlines() if "right half" in line)
    assert row[3:5] == ["6", "480"]  # slices and pixels


def test_an_unreadable_volume_is_named_and_the_others_go_on(
    load_tool, name: str, tmp_path: Path, capsys
) -> None:
    (tmp_path / "volumes" / "case0.h5").write_bytes(b"nothing")
    assert load_tool("check_dataset").main([name]) == 1
    output = capsys.readouterr().out
    assert "case0.h5" in output
    row = next(line.split() for line in output.splitlines() if "right half" in line)
    assert row[3:5] == ["3", "240"]


def test_pictures_of_slices(load_tool, name: str, tmp_path: Path) -> None:
    large = {key: array.repeat(10, 1).repeat(10, 2) for key, array in volume().items()}
    write_h5(tmp_path / "volumes" / "case0.h5", **large)
    tool, output = load_tool("visualize_data"), tmp_path / "pictures"
    assert tool.main([name, "--output", str(output), "--num-images", "6"]) == 0
    pictures = sorted((output / name).iterdir())
    assert len(pictures) == 6
    picture = np.array(Image.open(pictures[0]).convert("RGB")).astype(int)
    assert picture.shape == (200, 240, 3)
    corner, organ = picture[5, 5], picture[150, 130]  # beside the organ's name
    assert corner.max() - corner.min() < 10  # the background is left grey
    assert organ[2] - organ[0] > 60  # the right half is blue


def test_pictures_go_on_after_an_unreadable_volume(load_tool, name: str, tmp_path: Path) -> None:
    (tmp_path / "volumes" / "case0.h5").write_bytes(b"nothing")
    tool, output = load_tool("visualize_data"), tmp_path / "pictures"
    assert tool.main([name, "--output", str(output)]) == 1
    assert len(list((output / name).iterdir())) == 3
