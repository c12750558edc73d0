"""The script of the 2018 Data Science Bowl on a small folder in the raw layout."""

import re
import runpy
import sys

import numpy as np
import pytest
from dataset_files import write_image, write_png
from PIL import Image

H, W = 6, 8


@pytest.fixture
def raw(tmp_path):
    """Two nuclei that overlap in one pixel, and one whose mask is saved in colours."""
    folder = tmp_path / "dsb2018/stage1_train/ab"
    write_image(folder / "images/ab.png", (H, W))
    first, second = np.zeros((H, W), np.uint8), np.zeros((H, W), np.uint8)
    first[:2, :3], second[1:4, 2:4] = 255, 255
    write_png(folder / "masks/1.png", first)
    write_png(folder / "masks/2.png", np.stack([second] * 3, axis=-1))
    return tmp_path, folder


def test_the_nuclei_become_one_mask(raw, load_tool):
    root, folder = raw
    load_tool("prepare_dsb2018").main(["--root", str(root)])
    with Image.open(root / "dsb2018/annotations_detectron2/ab.png") as image:
        merged = np.array(image)
    expected = np.zeros((H, W), np.uint8)
    expected[:2, :3] = expected[1:4, 2:4] = 255
    assert merged.tolist() == expected.tolist()
    linked = root / "dsb2018/images_detectron2/ab.png"
    assert linked.read_bytes() == (folder / "images/ab.png").read_bytes()
    # what is there is left alone
    write_png(root / "dsb2018/annotations_detectron2/ab.png", expected // 255)
    load_tool("prepare_dsb2018").main(["--root", str(root)])
    with Image.open(root / "dsb2018/annotations_detectron2/ab.png") as image:
        assert np.array(image).max() == 1


def test_what_is_wrong_is_said_in_a_line(raw, load_tool, monkeypatch, repo_dir, capsys):
    root, folder = raw
    main = load_tool("prepare_dsb2018").main
    with pytest.raises(ValueError, match=r"there is no .*stage1_train; get stage1_train\.zip"):
        main(["--root", str(root / "elsewhere")])
    write_png(folder / "masks/3.png", np.zeros((H + 1, W), np.uint8))
    with pytest.raises(ValueError, match=r"3\.png is \(7, 8\), the masks before it \(6, 8\)"):
        main(["--root", str(root), "--workers", "1"])
    for file in (folder / "masks").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=r"ab/masks has no PNG"):
        main(["--root", str(root), "--workers", "1"])
    write_png(folder / "masks/1.png", np.zeros((H + 1, W), np.uint8))
    with pytest.raises(ValueError, match=r"ab\.png is \(8, 6\), its annotation \(8, 7\)"):
        main(["--root", str(root), "--workers", "1"])
    (folder / "images/ab.png").unlink()
    monkeypatch.setattr(sys, "argv", ["prepare_dsb2018.py", "--root", str(root)])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(repo_dir / "tools/prepare_dsb2018.py"), run_name="__main__")
    assert re.match(
        r"error: there is no .*images/ab\.png", capsys.readouterr().err.splitlines()[-1]
    )
    (folder / "images").rmdir()
    with pytest.raises(ValueError, match="has no folder <id>/images"):
        main(["--root", str(root)])
