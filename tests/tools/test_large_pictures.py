"""tools/benchmarking/large_pictures.py and folders.py on small pictures; no figure is judged."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from torch import Tensor, nn

from d2seg.config.loading import load_config
from d2seg.mask_classification.query_masks import QueryMasks
from d2seg.views.settings import TileSettings
from d2seg.views.tiles import tiles_of

NUM_QUERIES, STRIDE = 12, 4


@pytest.fixture
def tools(repo_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repo_dir / "tools"))


class Blank(nn.Module):
    """A decoder that finds nothing; 5 classes and "no object", maps of the tile's size."""

    def forward(self, tile: Tensor) -> tuple[Tensor, QueryMasks]:
        size = [side // STRIDE for side in tile.shape[-2:]]
        masks = QueryMasks(torch.ones(1, 1, NUM_QUERIES, 16), torch.ones(1, 16, *size))
        return torch.ones(1, 1, NUM_QUERIES, 6), masks


@pytest.mark.usefixtures("tools")
def test_discs_are_masks_of_every_tile_that_shows_them() -> None:
    from benchmarking.large_pictures import Discs

    tiles = list(tiles_of((640, 512), TileSettings(512, 256)))
    discs = Discs(Blank(), tiles, density=20)
    assert len(discs.radii) == 6  # 20 * 640 * 512 / 2^20
    shown = torch.zeros(640, 512, dtype=torch.bool)
    for tile in tiles:
        top, left, bottom, right = tile.area
        logits, masks = discs(torch.zeros(1, 3, bottom - top, right - left))
        scores, classes = logits[-1, 0].softmax(-1).max(-1)
        assert (scores > 0.99).all()
        found = masks.all()[-1, 0][classes < 5] > 0
        assert 0 < len(found) <= 6
        assert found.flatten(1).any(1).all()
        full = found.any(0).repeat_interleave(STRIDE, 0).repeat_interleave(STRIDE, 1)
        shown[top:bottom, left:right] |= full
    ys, xs = torch.meshgrid(torch.arange(640), torch.arange(512), indexing="ij")
    for (y, x), radius in zip(discs.centers.tolist(), discs.radii.tolist(), strict=True):
        inside = (ys - y).square() + (xs - x).square() < (radius - STRIDE) ** 2
        assert shown[inside].all()


@pytest.mark.usefixtures("tools")
def test_a_large_picture_with_reused_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarking import large_pictures

    work = ("mask2former/shapes_panoptic_small", "panoptic")
    monkeypatch.setitem(large_pictures.WORKS, "small", work)
    tiles = ["TEST.TILES.SIZE", 64, "TEST.TILES.OVERLAP", 32]
    args = Namespace(model="small", reuse=True, discs=800.0, draw=True, opts=tiles)
    found = large_pictures.measure(args, 128, 96)
    assert found["result"].endswith("segments, 0 MiB")
    assert found["peak_with_drawing_mib"] >= found["peak_mib"] >= found["before_mib"] > 0
    assert "MiB" in large_pictures.describe_row(found)


@pytest.mark.usefixtures("tools")
def test_the_rate_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A run starts for 10 s; a picture takes 1 s, or 2 threads 0.5 s, and of the bare model 0.8."""
    from benchmarking import folders

    def command(_args: Namespace, names: Sequence[str], threads: int, shards: int = 1) -> float:
        return 10 + len(names) / threads / shards

    monkeypatch.setattr(folders, "command_seconds", command)
    monkeypatch.setattr(folders, "ask_bare", lambda _args, threads: 0.8 / threads)
    for i in range(4):
        (tmp_path / f"{i}.png").touch()
    sizes = ["--pictures", str(tmp_path), "--few", "2", "--many", "4", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", ["folders.py", "--weights", "w.pth", *sizes])
    assert folders.main() == 0
    said = capsys.readouterr().out
    assert "d2seg predict, 2 threads: 2.00 pictures/s" in said
    assert "1 threads: 0.800 of the bare model's pictures/s" in said
    assert "two shards of one thread against one: 2.00 x" in said


@pytest.fixture
def work(tmp_path: Path) -> Namespace:
    """A model of random weights and three pictures."""
    config = "mask2former/shapes_panoptic_small"
    model = build_model(load_config(config, ["MODEL.DEVICE", "cpu"]))
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    for i in range(3):
        name = str(tmp_path / f"{i}.png")
        assert cv2.imwrite(name, np.full((40, 60, 3), 50 * i, np.uint8))
    return Namespace(config=config, weights=str(tmp_path / "model.pth"), format="panoptic")


def names_in(folder: Path) -> list[str]:
    return sorted(map(str, folder.glob("*.png")))


@pytest.mark.usefixtures("tools")
def test_the_bare_model_runs(work: Namespace, tmp_path: Path) -> None:
    from benchmarking import folders

    assert folders.bare_seconds(work, names_in(tmp_path)) > 0


@pytest.mark.extended
@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize("shards", [1, 2])
def test_the_command_runs(work: Namespace, tmp_path: Path, shards: int) -> None:
    from benchmarking import folders

    assert folders.command_seconds(work, names_in(tmp_path), 1, shards) > 0
