"""tools/benchmark.py on small inputs: both sides run by turns and compute the same."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def run(repo_dir: Path, output: Path, *options: str) -> dict:
    command = [sys.executable, str(repo_dir / "tools/benchmark.py"), *options]
    command += ["--repeats", "1", "--warm-up", "0", "--json", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "faster" in done.stdout
    return json.loads(output.read_text())


@pytest.mark.slow
def test_post_processing_against_the_plain_formulas(repo_dir: Path, tmp_path: Path) -> None:
    report = run(repo_dir, tmp_path / "out.json", "--what", "postprocess")
    rows = {row["task"]: row for row in report["rows"]}
    assert set(rows) == {"panoptic", "instance", "semantic"}
    for row in rows.values():
        assert row["difference"] < 1e-4
        assert row["ours"]["ms"] > 0
        assert row["ours"]["peak_mib"] > 100


@pytest.mark.slow
def test_post_processing_against_transformers(repo_dir: Path, tmp_path: Path) -> None:
    """At another resolution, and with other results: there is no difference to be stated."""
    pytest.importorskip("transformers")
    options = ("--what", "postprocess", "--against", "transformers", "--task", "instance")
    report = run(repo_dir, tmp_path / "out.json", *options)
    (row,) = report["rows"]
    assert (row["task"], row["difference"]) == ("instance", None)
    assert row["transformers"]["ms"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("what", ["inference", "training"])
def test_maskformer_against_transformers(repo_dir: Path, tmp_path: Path, what: str) -> None:
    pytest.importorskip("transformers")
    report = run(repo_dir, tmp_path / "out.json", "--what", what, "--model", "maskformer")
    (row,) = report["rows"]
    if what == "inference":
        assert row["difference"] < 1e-4
    assert row["gflop"] > 50
    assert row["floor_ms"] > 0
    assert "commit" in report["machine"]


@pytest.mark.slow
def test_networks_in_their_runtimes(repo_dir: Path) -> None:
    for package in ("onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(package)
    command = [sys.executable, str(repo_dir / "tools/benchmark.py"), "--what", "runtimes"]
    command += ["--model", "segformer_b0", "--clock", "cpu", "--repeats", "1", "--warm-up", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines() if "segformer_b0" in line]
    assert [row[3].strip() for row in rows] == ["eager", "onnxruntime", "openvino"]
    assert all(float(row[4]) > 0 and float(row[7]) < 1e-4 for row in rows)


def test_impossible_requests_are_refused(repo_dir: Path) -> None:
    command = [sys.executable, str(repo_dir / "tools/benchmark.py"), "--against", "plain"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "the plain formulas are those of --what postprocess" in done.stderr
