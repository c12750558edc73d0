"""tools/ray_predict.py: a local cluster of two actors gives what one process does."""

import json
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image
from toy_pictures import write_pictures

from d2seg.config.loading import load_config
from d2seg.prediction.batch import BatchPredictor

CONFIG = "segformer/shapes_semantic_small"


@pytest.fixture
def tool(load_tool):
    return load_tool("ray_predict")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, and a table of six paths, of which one is damaged, one an address, one missing."""
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    folder = tmp_path_factory.mktemp("ray")
    torch.manual_seed(0)
    state = build_model(load_config(CONFIG, ["MODEL.DEVICE", "cpu"])).state_dict()
    torch.save({"model": state}, folder / "model.pth")
    write_pictures(folder / "in", 5)
    damaged = folder / "in/0002.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    names = [f"in/{number:04d}.png" for number in (1, 2, 3, 4)]
    paths = [*names, f"file://{folder}/in/0005.png", "in/none.png"]
    table = pyarrow.table({"id": [7, 8, 9, 10, 11, 12], "path": paths, "town": list("abcdef")})
    pyarrow.parquet.write_table(table, folder / "pictures.parquet", row_group_size=2)
    return folder


def call(folder: Path, *more: object) -> list[str]:
    arguments = ("--config", CONFIG, "--weights", folder / "model.pth", *more)
    return [*map(str, arguments), "MODEL.DEVICE", "cpu"]


@pytest.mark.extended
def test_two_actors_are_as_one_process(tool, folder: Path, tmp_path: Path, capsys) -> None:
    pytest.importorskip("ray.data")
    import pyarrow.parquet

    arguments = call(folder, "--input", folder / "pictures.parquet", "--output", tmp_path / "out")
    assert tool.main(["--rows", "2", *arguments]) == 1
    assert "2 pictures failed" in capsys.readouterr().out
    rows = pyarrow.parquet.read_table(tmp_path / "out").to_pylist()
    rows.sort(key=lambda row: row["id"])
    assert [row["town"] for row in rows] == list("abcdef")
    assert [bool(row["error"]) for row in rows] == [False, True, False, False, False, True]
    cfg = load_config(CONFIG, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", str(folder / "model.pth")])
    alone = BatchPredictor(cfg, "semantic", batch_size=1)
    good = [{"id": n + 7, "path": str(folder / f"in/{n + 1:04d}.png")} for n in (0, 2, 3, 4)]
    expected = {row["id"]: row for row in alone(good)}
    for row in rows:
        if not row["error"]:
            assert row["png"] == expected[row["id"]]["png"]
            assert json.loads(row["result"]) == json.loads(expected[row["id"]]["result"])
            assert (row["height"], row["width"]) == (64, 64)
            assert row["png"].startswith(b"\x89PNG")


def test_mistakes_are_one_line(tool, folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "full").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "full/a.png")
    good = ("--input", folder / "pictures.parquet", "--output", tmp_path / "out")
    monkeypatch.setattr(tool, "import_ray", lambda: None)
    for arguments, message in (
        ((*good, "--actors", 0), "--actors is 0; it is 1 or more"),
        ((*good, "--threshold", 7), "--threshold is 7.0; it lies between 0 and 1"),
        ((*good, "--cpus-per-actor", "inf"), "--cpus-per-actor is inf and"),
        ((*good, "--gpus-per-actor", -1), "--gpus-per-actor -1; the first is above 0"),
        ((*good[:2], "--output", tmp_path / "full"), "is not empty; name a new folder"),
        (("--input", folder / "model.pth", *good[2:]), "is no Parquet file"),
        ((*good, "--task", "panoptic"), "panoptic"),
    ):
        assert tool.main(call(folder, *arguments)) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


def test_a_missing_package_is_named(
    tool, folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    arguments = ("--input", folder / "pictures.parquet", "--output", tmp_path / "out")
    assert tool.main(call(folder, *arguments)) == 2
    assert "pip install 'd2seg[ray]'" in capsys.readouterr().err
