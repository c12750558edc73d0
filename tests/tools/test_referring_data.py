"""check_dataset.py and visualize_data.py on referring data."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from dataset_files import H, W, unique_name
from PIL import Image
from referring_files import coco, own, ref, write_referring

from d2seg.cli import visualize
from d2seg.data.datasets import register_dataset


@pytest.fixture
def check(load_tool: Callable[[str], ModuleType], capsys) -> Callable[..., tuple[int, str]]:
    """Registers a data set and checks it: exit code and output."""

    def run(root: Path, expressions: Any, **keys: Any) -> tuple[int, str]:
        name = unique_name()
        paths = write_referring(root, expressions, keys.pop("file", "own.json"), **keys)
        register_dataset(name, "referring", paths, [], split="train")
        code = load_tool("check_dataset").main([name, "--workers", "1"])
        return code, capsys.readouterr().out

    return run


def test_a_sound_data_set_is_counted(check, tmp_path: Path) -> None:
    expressions = [own(0, 1, "the square", "a box"), own(0, 2, "the bar"), own(1, None, "The dog.")]
    code, output = check(tmp_path, expressions)
    assert code == 0
    assert "no problems found" in output
    assert (
        "2 images\n4 expressions, 1 of them without a target; 6 different words, up to 2" in output
    )
    assert "mixed formats of the masks: 2 polygon, 1 RLE" in output


def test_doubled_expressions_are_a_hint(check, tmp_path: Path) -> None:
    code, output = check(tmp_path, [own(0, 1, "it", "It."), own(1, 3, "it")])
    assert code == 0
    assert "hint: 1 expressions are said more than once of the same object" in output


def test_problems_are_listed_with_their_numbers(check, tmp_path: Path) -> None:
    content = coco()
    content["annotations"][0]["segmentation"] = [[3, 2, 8, 2, 8, 6, -4, 6]]
    content["annotations"][1]["segmentation"] = {"size": [H, W], "counts": [H * W]}
    expressions = [
        ref(1, 0, 1, "shape", ""),
        ref(2, 0, 2, "Shape."),
        ref(3, 0, 98, "gone"),
        ref(4, 0, 99, "gone"),
        ref(5, 7, 1, "gone"),
    ]
    code, output = check(tmp_path, expressions, content=content, file="refs(unc).p")
    assert code == 1
    assert "expression without its annotation        2" in output
    assert "entry 2: annotation 98 is not in" in output
    assert "entry 4: image 7 is not in" in output
    assert "empty expression" in output
    assert "entry 0: '' has no words" in output
    assert "mask leaves its image: " in output
    assert "'shape', annotation 1: by 4.0 pixels" in output
    assert "'Shape.', annotation 2" in output[output.index("empty mask:") :]
    assert "'shape' means the annotations 1 and 2" in output
    assert "2 expressions, 0 of them" in output  # what is left


def test_images_of_another_size_and_unreadable_ones(check, tmp_path: Path) -> None:
    expressions = [own(0, 2, "the bar"), own(1, 3, "the square")]
    write_referring(tmp_path, expressions)
    content = coco()
    content["annotations"][1]["segmentation"]["counts"] = [0, 2 * (H + 5), (W - 2) * (H + 5)]
    content["annotations"][1]["segmentation"]["size"] = [H + 5, W]
    content["images"][0]["height"] = H + 5
    code, output = check(tmp_path, expressions, content=content)
    assert code == 1
    assert f"the image is {H}x{W} (height x width), its entry says {H + 5}x{W}" in output
    assert f"'the bar', annotation 2: the mask's RLE is {H + 5}x{W}, its image {H}x{W}" in output


def test_a_hostile_file_ends_with_1_and_one_line(check, tmp_path: Path) -> None:
    code, output = check(tmp_path, b"cos\nsystem\n(S'true'\ntR.", file="refs(unc).p")
    assert code == 1
    assert "cannot be loaded: " in output
    assert "refs(unc).p names os.system" in output


def test_pictures_say_what_is_meant(
    load_tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = load_tool("visualize_data")
    lines: list[str] = []
    text_strip = visualize.text_strip
    monkeypatch.setattr(
        visualize,
        "text_strip",
        lambda texts, width: (lines.extend(texts), text_strip(texts, width))[1],
    )
    name = unique_name()
    expressions = [own(0, 1, "the square", "a box"), own(0, 2, "bar"), own(0, None, "a dog")]
    register_dataset(name, "referring", write_referring(tmp_path, expressions), [])
    assert tool.main([name, "--output", str(tmp_path / "drawn")]) == 0
    assert lines == ["1: the square", "1: a box", "2: bar", "nothing: a dog"]
    [picture] = (tmp_path / "drawn" / name).iterdir()
    drawn = np.asarray(Image.open(picture)).astype(int)
    image = np.asarray(Image.open(tmp_path / "images" / "000.jpg")).astype(int)
    assert drawn.shape[1:] == (W, 3)
    difference = abs(drawn[:H] - image).sum(axis=2)
    assert (difference[:, :2] > 30).mean() > 0.8  # the bar is coloured
    assert (difference[8:, 12:] < 30).all()  # what nobody speaks of is not
    assert (drawn[H:] < 100).any()  # text


def test_long_lines_are_broken() -> None:
    strip = visualize.text_strip(["word " * 40, "short"], 300)
    assert strip.shape == (14 * 5 + 4, 300, 3)


def test_pictures_of_the_mapper(load_tool, repo_dir: Path, tmp_path: Path) -> None:
    name = unique_name()
    register_dataset(name, "referring", write_referring(tmp_path, [own(0, 2, "bar")]), [])
    config = tmp_path / "config.yaml"
    config.write_text(
        f'_BASE_: "{repo_dir}/configs/_base_/datasets/shapes_referring.yaml"\n'
        f"DATASETS:\n  TRAIN: [{name}]\n"
    )
    arguments = ["--mapper", "--config-file", str(config), "--output", str(tmp_path / "drawn")]
    assert load_tool("visualize_data").main(arguments) == 0
    [picture] = (tmp_path / "drawn" / name).iterdir()
    assert Image.open(picture).size == (128, 128 + 14 + 4)  # with a line of text


@pytest.mark.usefixtures("few_shapes")
def test_shapes_and_the_real_refcocog_are_sound(load_tool, shared_dir: Path, capsys) -> None:
    folder = shared_dir / "data" / "refer"
    name = unique_name()
    paths = {
        "images": folder / "images/mscoco/images/train2014",
        "annotations": folder / "refcocog/instances.json",
        "expressions": folder / "refcocog/refs(google).p",
    }
    register_dataset(name, "referring", paths, [], split="train")
    assert load_tool("check_dataset").main([name]) == 0
    assert "6 expressions, 0 of them without a target" in capsys.readouterr().out
    assert load_tool("check_dataset").main(["shapes_referring_val"]) == 0
    assert "506 expressions, 0 of them without a target" in capsys.readouterr().out
