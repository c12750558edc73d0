"""The command d2seg serve: from its arguments to a server that answers."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from d2seg.cli import main, serve
from d2seg.config.description import describe
from families import restr_config
from families.maskformer_config import small_config

pytest.importorskip("fastapi_offline")
from d2seg.serving.assets import samples_of


@pytest.fixture(scope="module")
def weights(repo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a small MaskFormer; beside it its config, and a referring model."""
    folder = tmp_path_factory.mktemp("serve")
    cfg = small_config(repo_dir, "coco_panoptic_resnet50")
    cfg.INPUT.MIN_SIZE_TEST, cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = 64, "", "cpu"
    torch.manual_seed(0)
    torch.save({"model": build_model(cfg).state_dict(), "d2seg": describe(cfg)}, folder / "a.pth")
    (folder / "a.yaml").write_text(cfg.dump())
    cfg = restr_config.small_config(repo_dir, restr_config.write_vocabulary(folder / "words.txt"))
    torch.save({"model": build_model(cfg).state_dict(), "d2seg": describe(cfg)}, folder / "r.pth")
    return folder / "a.pth"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A client of what the command would serve, and the line it prints."""
    from starlette.testclient import TestClient

    from d2seg.serving import run

    clients: list[TestClient] = []

    def serve_in_process(app: Any, listening: socket.socket, say: Callable[[], None]) -> None:
        assert listening.getsockname()[0] == "127.0.0.1"
        say()
        clients.append(TestClient(app, base_url="http://127.0.0.1"))

    monkeypatch.setattr(run, "run", serve_in_process)

    def call(*arguments: object) -> TestClient:
        assert main(["serve", "--port", "0", *map(str, arguments)]) == 0
        return clients[-1]

    return call


def picture(tmp_path: Path) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return (tmp_path / "a.png").read_bytes()


def test_a_checkpoint_alone(started, weights: Path, tmp_path: Path, capsys) -> None:
    with started("--weights", weights) as client:
        assert capsys.readouterr().out.startswith(
            "MaskFormer on cpu (panoptic, semantic, instance): http://127.0.0.1:"
        )
        for task in ("panoptic", "semantic", "instance"):
            answer = client.post(f"/predict?task={task}&confidence=0", content=picture(tmp_path))
            assert answer.status_code == 200
            found = answer.json()["segments"]
            assert all(one["segmentation"]["size"] == [60, 90] for one in found)
        assert found
        assert client.get("/model").json()["samples"] == [f"shapes_{i}.png" for i in (1, 2, 3, 4)]
        sample = client.get("/samples/2")
        assert client.post("/predict", content=sample.content).json()["width"] == 256


def test_a_config_and_limits(started, weights: Path, tmp_path: Path) -> None:
    content = picture(tmp_path)
    with started(
        *("--config", weights.with_suffix(".yaml"), "--weights", weights),
        *("--max-megabytes", "0.001", "--max-waiting", "2", "--time-limit", "9"),
        *("--opts", "INPUT.MIN_SIZE_TEST", "32"),
    ) as client:
        about = client.get("/model").json()
        assert about["limits"]["max_waiting"] == 2
        assert client.post("/predict", content=content).status_code == 413


def test_samples_of_a_folder(weights: Path, tmp_path: Path) -> None:
    content = picture(tmp_path)
    (tmp_path / "b.txt").write_text("no picture")
    (tmp_path / "caf\udce9.png").write_bytes(content)  # as JSON could not hold it
    found, other = samples_of(tmp_path, 32_000_000)
    assert other.name == "caf\\udce9.png"
    assert (found.name, found.content, found.kind) == ("a.png", content, "image/png")
    with pytest.raises(ValueError, match=r"has no picture .* of at most 0.0 MB"):
        samples_of(tmp_path, 1000)  # larger than what may be sent


def test_expressions(started, weights: Path, tmp_path: Path) -> None:
    with started("--weights", weights.with_name("r.pth")) as client:
        content = picture(tmp_path)
        fields = {"expression": ["the red ball", "the largest dog"]}
        answer = client.post("/predict", params=fields, content=content).json()
        named = {one["expression"] for one in answer["segments"]} | set(answer["not_found"])
        assert named == set(fields["expression"])
        answer = client.post("/predict", content=content)
        assert answer.status_code == 422
        assert "needs an expression" in answer.json()["error"]


def test_mistakes_are_one_line(weights: Path, tmp_path: Path, capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, line in (
            (["--weights", weights, "--port", port], f"--port {port} cannot be had: "),
            (["--weights", weights, "--port", "70000"], "--port is 70000; it is 0 "),
            (["--weights", tmp_path / "none.pth"], "none.pth"),
            (["--weights", weights, "MODEL.DEVICE", "cpu"], "give --config"),
            (["--config", weights.with_suffix(".yaml")], "names no weights: give --weights"),
            (["--weights", weights, "--samples", tmp_path / "none"], "none is no folder"),
            (["--weights", weights, "--samples", tmp_path], "has no picture (.jpeg, .jpg, "),
            (
                ["--weights", weights, "--max-pixels", "0"],
                "--max-pixels is 0; it is a number above 0",
            ),
            (["--weights", weights, "--time-limit", "nan"], "--time-limit is nan"),
            (["--weights", weights, "--max-megabytes", "inf"], "--max-megabytes is inf"),
        ):
            port_0 = [] if "--port" in arguments else ["--port", "0"]
            assert main(["serve", *map(str, [*arguments, *port_0])]) == 2
            error = capsys.readouterr().err
            assert line in error
            assert error.count("\n") == 1


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "uvicorn" else True)
    assert main(["serve", "--weights", "a.pth"]) == 2
    assert capsys.readouterr().err == (
        "error: d2seg serve needs uvicorn, which is missing: pip install 'd2seg[web]'\n"
    )
