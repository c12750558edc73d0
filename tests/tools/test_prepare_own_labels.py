import numpy as np
import pytest
from dataset_files import semantic_declaration, write_png
from PIL import Image


def read(file) -> np.ndarray:
    with Image.open(file) as image:
        return np.array(image)


@pytest.fixture
def tool(load_tool):
    return load_tool("prepare_own_labels")


def test_zero_is_reduced_and_the_tree_is_kept(tool, tmp_path):
    write_png(tmp_path / "raw/a/1.png", np.array([[0, 1, 150, 255]], np.uint8))
    write_png(tmp_path / "raw/2.bmp", np.array([[3]], np.uint8))
    tool.main([str(tmp_path / "raw"), str(tmp_path / "new"), "--reduce-zero-label"])
    assert read(tmp_path / "new/a/1.png").tolist() == [[255, 0, 149, 255]]
    assert read(tmp_path / "new/2.png").tolist() == [[2]]


def test_single_values_are_replaced(tool, tmp_path):
    write_png(tmp_path / "raw/1.png", np.array([[0, 255, 7]], np.uint8))
    tool.main([str(tmp_path / "raw"), str(tmp_path / "new"), "--map", "255:1", "7:65535"])
    labels = read(tmp_path / "new/1.png")
    assert labels.tolist() == [[0, 1, 65535]]
    assert labels.dtype != np.uint8


def test_colours_become_positions(tool, tmp_path):
    colors = [[0, 0, 0], [255, 0, 0], [0, 128, 255]]
    pixels = np.array([[*colors, [1, 2, 3]]], np.uint8)
    write_png(tmp_path / "raw/1.png", pixels)
    file = semantic_declaration(tmp_path / "toy.yaml", "toy", colors=colors, ignore_label=9)
    tool.main([str(tmp_path / "raw"), str(tmp_path / "new"), "--colors-of", str(file)])
    assert read(tmp_path / "new/1.png").tolist() == [[0, 1, 2, 9]]


def test_mistakes_are_named(tool, tmp_path):
    with pytest.raises(ValueError, match="there is no"):
        tool.main([str(tmp_path / "raw"), "new", "--reduce-zero-label"])
    (tmp_path / "raw").mkdir()
    with pytest.raises(ValueError, match="no label images"):
        tool.main([str(tmp_path / "raw"), "new", "--reduce-zero-label"])
    write_png(tmp_path / "raw/1.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="TARGET is SOURCE"):
        tool.main([str(tmp_path / "raw"), str(tmp_path / "raw"), "--reduce-zero-label"])
    for pair in ("1", "a:1", "1:-2", "70000:1"):
        with pytest.raises(ValueError, match="it has the form OLD:NEW"):
            tool.main([str(tmp_path / "raw"), str(tmp_path / "new"), "--map", pair])
    write_png(tmp_path / "raw/2.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match=r"2\.png: a label map needs one channel"):
        tool.main([str(tmp_path / "raw"), str(tmp_path / "new"), "--map", "0:1"])
