"""tools/benchmark.py on small pictures, in this process: all of it runs, both sides compute the
same, and reports are compared. No time is judged."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.modeling import build_model

from d2seg.config.loading import load_config
from families.programs import run_program

Benchmark = Callable[..., dict[str, Any]]


@pytest.fixture
def tool(repo_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(repo_dir / "tools"))
    import benchmark

    return benchmark


@pytest.fixture
def benchmark(tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    def run(*options: str) -> dict[str, Any]:
        output = tmp_path / "out.json"
        short = ("--short", "--repeats", "1", "--warm-up", "0", "--json", str(output))
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *options, *short])
        assert tool.main() == 0
        return json.loads(output.read_text())

    return run


def refusal(tool: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any, *options: str) -> str:
    """The line in which arguments are refused."""
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *options])
    with pytest.raises(SystemExit) as ended:
        tool.main()
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_the_short_table(benchmark: Benchmark, capsys: Any) -> None:
    pytest.importorskip("transformers")
    report = benchmark("--all")
    rows = {(row["what"], row["model"], row["task"]): row for row in report["rows"]}
    assert set(rows) == {
        ("inference", "maskformer", ""),
        ("inference", "segformer_b0", ""),
        ("training", "maskformer", ""),
        *(("postprocess", "mask2former", task) for task in ("panoptic", "instance", "semantic")),
    }
    for (what, _, _), row in rows.items():
        peer = "plain" if what == "postprocess" else "transformers"
        assert row["ours"]["ms"] > 0
        assert row[peer]["ms"] > 0
        assert row["ours"]["peak_mib"] is None  # both sides share it
        if what == "training":
            assert row["difference"] is None  # dropout
        else:
            assert row["difference"] < 1e-4
        if what != "postprocess":
            assert row["gflop"] > 0.1  # fused operators are counted too
            assert row["floor_ms"] > 0
    assert "commit" in report["machine"]
    assert "faster" in capsys.readouterr().out


def test_a_side_in_a_process_of_its_own(repo_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    arguments = ["--what", "postprocess", "--against", "none", "--task", "panoptic"]
    arguments += ["--repeats", "1", "--warm-up", "0", "--json", output]
    arguments += ["--earlier", repo_dir]  # this version stands in for one
    done = run_program(repo_dir / "tools/benchmark.py", arguments, tmp_path)
    assert done.returncode == 0, done.stderr
    [row] = json.loads(output.read_text())["rows"]
    for side in ("ours", "earlier"):
        assert row[side]["ms"] > 0
        assert row[side]["peak_mib"] > 100
    assert "earlier / ours" in done.stdout


def test_a_folder_that_is_no_earlier_version(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    line = refusal(tool, monkeypatch, capsys, "--earlier", str(tmp_path))
    assert f"{tmp_path} has no tools/benchmarking/serve.py; name a worktree" in line
    line = refusal(tool, monkeypatch, capsys, "--earlier", str(tmp_path), "--short")
    assert "it does not go with --short" in line


def report_of(*rows: tuple[str, float, float, float | None], short: bool = False) -> dict[str, Any]:
    """A row for each model, ms, peer's ms (0: no peer) and MiB."""
    made = []
    for model, ms, peer_ms, memory in rows:
        row: dict[str, Any] = dict.fromkeys(("what", "task", "dtype", "device"), "x")
        row |= {"model": model, "ours": {"ms": ms, "peak_mib": memory}}
        if peer_ms:
            row["transformers"] = {"ms": peer_ms, "peak_mib": memory}
        made.append(row)
    return {"machine": {}, "short": short, "rows": made}


def test_differences(tool: Any) -> None:
    old = report_of(("a", 100, 200, 10), ("b", 100, 0, 10), ("c", 100, 200, 10), ("gone", 1, 1, 1))
    # the machine is half as fast: "a" is as fast as before beside its peer
    new = report_of(("a", 200, 400, 10), ("b", 150, 0, 10), ("c", 50, 200, 20), ("added", 1, 1, 1))
    lines = list(tool.differences(old, new))
    assert lines == [
        "REGRESSION: x c x x x: MiB 10 -> 20 (+100%)",
        "REGRESSION: x b x x x: ms 100 -> 150 (+50%)",
        "better: x c x x x: time / transformers's 0.5 -> 0.25 (-50%)",
        "only in the new report: x added x x x",
        "only in the old report: x gone x x x",
    ]
    assert list(tool.differences(old, old)) == ["no figure of 8 differs by more than 5%"]
    [line] = tool.differences(old, {**new, "short": True})
    assert "nothing can be compared" in line


def test_no_time_is_judged(
    benchmark: Benchmark, tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A regression is printed, and the program ends well."""

    def measured(_: Any, work: Any) -> dict[str, Any]:
        return {**report_of((work.model, 900, 100, None))["rows"][0], "gflop": 0, "task": ""}

    old = report_of(("segformer_b0", 100, 100, None), short=True)
    old["rows"][0]["task"] = ""
    (tmp_path / "old.json").write_text(json.dumps(old))
    monkeypatch.setattr(tool, "measure", measured)
    monkeypatch.setattr(tool, "shown", dict)
    benchmark("--model", "segformer_b0", "--compare", str(tmp_path / "old.json"))
    assert "REGRESSION: x segformer_b0 x x: time / transformers's 1 -> 9 (+800%)" in (
        capsys.readouterr().out
    )


def test_masks_of_random_weights_are_raised(repo_dir: Path) -> None:
    """Every query attends everywhere; all else of the masks stays."""
    from benchmarking.runtime_sides import MASK_LEVEL, attend_everywhere

    cfg = load_config("mask2former/shapes_panoptic_small", ["MODEL.DEVICE", "cpu"])
    model = build_model(cfg).eval()
    with torch.inference_mode():
        images = torch.randn(1, 3, 64, 64)
        attend_everywhere(model)
        raised = model.network(images)["pred_masks"]
        model.transformer_decoder.mask_embed.layers[-1].bias[0] = 2 * MASK_LEVEL
        higher = model.network(images)["pred_masks"]
    assert raised.min() > 0
    torch.testing.assert_close(higher, raised + MASK_LEVEL)


@pytest.mark.extended
def test_networks_in_their_runtimes(repo_dir: Path) -> None:
    for package in ("onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(package)
    command = [sys.executable, str(repo_dir / "tools/benchmark.py"), "--what", "runtimes"]
    command += ["--model", "segformer_b0", "--clock", "cpu", "--repeats", "1", "--warm-up", "0"]
    command += ["--earlier", str(repo_dir)]  # this version stands in for one
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines() if "segformer_b0" in line]
    assert [row[3].strip() for row in rows] == [
        "eager",
        "onnxruntime",
        "openvino",
        "earlier, eager",
    ]
    assert all(float(row[4]) > 0 and float(row[5]) > 100 for row in rows)
    assert all(float(row[7]) < 1e-4 for row in rows[:3])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory; name a file that --json wrote"),
        (b"", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[]", "has no rows"),
        (b'{"rows": []}', "has no rows"),
        (b'{"rows": [{"what": "x"}]}', "row 0 is none that --json writes"),
        (b'{"rows": [1]}', "row 0 is none"),
    ],
)
def test_reports_that_are_none(
    content: bytes | None,
    message: str,
    tool: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    path = tmp_path / "old.json"
    if content is not None:
        path.write_bytes(content)
    line = refusal(tool, monkeypatch, capsys, "--compare", str(path))
    assert f"--compare {path}" in line
    assert message in line


@pytest.mark.parametrize("ms", [0, -1, "1", True, None, float("nan"), float("inf"), []])
def test_times_that_are_none(ms: Any, tool: Any, tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps(report_of(("a", ms, 0, None))))
    with pytest.raises(ValueError, match="row 0 is none that --json writes"):
        tool.read_report(str(path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--against", "plain"], "the plain formulas are those of --what postprocess"),
        (["--all", "--model", "maskformer"], "--all measures every row; leave --model out"),
        (["--what", "postprocess", "--model", "segformer_b0"], "is for mask classification"),
        (["--what", "runtimes", "--short"], "--what runtimes has no --short"),
        (
            ["--what", "runtimes", "--model", "topformer", "--earlier", "."],
            "--earlier has no network of --model topformer",
        ),
        (["--repeats", "0"], "'0' is not a number of at least 1"),
        (["--json", "/no/such/folder/out.json"], "there is no folder /no/such/folder"),
        (["--json", "/"], "is a folder; name a file"),
    ],
)
def test_impossible_requests_are_refused(
    options: list[str], message: str, tool: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert message in refusal(tool, monkeypatch, capsys, *options)
