"""tools/benchmarking/growth.py on tiny points; no figure is judged."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from d2seg.pictures import read_image


@pytest.fixture
def tool(repo_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(repo_dir / "tools"))
    from benchmarking import growth

    # a process that tests have used threads in is not to be forked
    monkeypatch.setattr(growth, "in_a_process", growth.measure)
    monkeypatch.setattr(growth, "SIDE", 64)
    return growth


def run(tool: Any, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["growth.py", *options])
    return tool.main()


def test_curves_are_measured_and_drawn(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    files = []
    for axis, values in (("side", ["32", "64"]), ("classes", ["3"]), ("batch", ["2"])):
        files.append(str(tmp_path / f"{axis}.json"))
        options = ["--model", "segformer_b0", "--axis", axis, "--values", *values]
        assert run(tool, monkeypatch, *options, "--repeats", "1", "--json", files[-1]) == 0
    points = json.loads(Path(files[0]).read_text())["points"]
    assert [point["value"] for point in points] == [32, 64]
    assert all(point["seconds"] > 0 and point["mib"] >= 0 for point in points)
    assert "slope" in capsys.readouterr().out
    picture = tmp_path / "growth.png"
    assert run(tool, monkeypatch, "--plot", str(picture), *files) == 0
    assert min(read_image(str(picture), "RGB").shape[:2]) > 300


def test_slopes_are_those_of_pixels(tool: Any) -> None:
    points = [{"value": 10, "seconds": 1, "mib": 1}, {"value": 20, "seconds": 4, "mib": 1}]
    for axis, slope in (("side", "1.00"), ("batch", "2.00")):
        rows = list(tool.table({"model": "x", "axis": axis, "points": points}))
        assert [row["slope"] for row in rows] == ["", slope]


def test_a_curve_ends_where_memory_does(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def found(_model: str, _axis: str, value: int, _repeats: int) -> tuple[float, float] | None:
        return None if value > 1 else (1.0, 2.0)

    monkeypatch.setattr(tool, "in_a_process", found)
    path = tmp_path / "curve.json"
    assert run(tool, monkeypatch, "--axis", "instances", "--json", str(path)) == 0
    assert json.loads(path.read_text())["points"] == [{"value": 1, "seconds": 1.0, "mib": 2.0}]
    assert "instances 10: not enough memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--plot", "a.png"], "--plot PNG and the files to draw go together"),
        (["--plot", "a.png", "/no/such.json"], "there is no file /no/such.json"),
        (["--values", "2", "1"], "give numbers above 0 that grow"),
        (["--values", "0"], "give numbers above 0"),
        (["--repeats", "0"], "at least 1"),
        (["--axis", "queries", "--model", "segformer_b0"], "SegFormer has no queries"),
    ],
)
def test_impossible_requests_are_refused(
    options: list[str], message: str, tool: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(tool, monkeypatch, *options)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
