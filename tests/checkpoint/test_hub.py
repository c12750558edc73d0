"""Weights of Hugging Face, from a hub on this machine that answers as the real one does."""

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from d2seg.checkpoint.download import DownloadError
from d2seg.checkpoint.files import CheckpointFileError, find_file, read_checkpoint
from d2seg.checkpoint.hub import fetch_from_hub

COMMIT = "a" * 40
WEIGHTS = save({"a": torch.ones(2)})


class Hub(BaseHTTPRequestHandler):
    files = {"model.safetensors": WEIGHTS, "pytorch_model.bin": b"worse", "README.md": b"x"}
    requests: list[str] = []

    def do_GET(self) -> None:
        Hub.requests.append(self.path)
        if self.path.startswith("/api/models/owner/name/tree"):
            tree = [
                {"type": "file", "path": name, "size": len(body), "oid": name}
                for name, body in self.files.items()
            ]
            self._answer(json.dumps(tree).encode(), "application/json")
        elif self.path.startswith("/api/models/owner/name"):
            siblings = [{"rfilename": name} for name in Hub.files]
            info = {"id": "owner/name", "sha": COMMIT, "siblings": siblings}
            self._answer(json.dumps(info).encode(), "application/json")
        elif self.path.startswith("/owner/name/resolve/"):
            self._answer(Hub.files[self.path.rpartition("/")[2]], "application/octet-stream")
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", kind)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(Hub, "requests", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield Hub
        server.shutdown()
        thread.join()


def test_a_repository_is_fetched_once(hub: type[Hub]) -> None:
    path = find_file("hf://owner/name")
    assert path.endswith("model.safetensors")
    assert read_checkpoint(path)["model"]["a"].tolist() == [1, 1]
    assert not any("pytorch_model" in request for request in hub.requests)
    hub.requests.clear()
    assert find_file("hf://owner/name") == path
    assert not hub.requests


def test_a_repository_without_weights(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "files", {"README.md": b"x"})
    with pytest.raises(CheckpointFileError, match=r"hf://owner/name has none of model\.safeten"):
        find_file("hf://owner/name")


def test_a_repository_that_there_is_not(hub: type[Hub]) -> None:
    with pytest.raises(
        DownloadError, match=r"cannot fetch the checkpoint hf://owner/other: .*by hand"
    ):
        fetch_from_hub("hf://owner/other", ["model.safetensors"])


def test_an_address_that_is_no_repository() -> None:
    with pytest.raises(ValueError, match="'hf://name' names no repository; write hf://owner/name"):
        find_file("hf://name")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match="needs the package huggingface_hub: pip install hug"):
        find_file("hf://owner/name")
