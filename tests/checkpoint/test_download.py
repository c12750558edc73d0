"""Downloads, from a server on this machine."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from detectron2.utils.file_io import PathManager
from loopback import Loopback, loopback

from d2seg.checkpoint.download import PART, DownloadError, cached_path, download
from d2seg.checkpoint.files import CheckpointFileError, find_file

CONTENT = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    with loopback() as started:
        started.content = CONTENT
        yield started


def left_over(url: str) -> list[str]:
    return sorted(
        path.name for path in cached_path(url).parent.iterdir() if not path.name.endswith(".lock")
    )


def test_a_file_is_fetched_once(server: Loopback) -> None:
    url = f"{server.url}/models/a/model.pkl"
    path = download(url)
    assert Path(path).read_bytes() == CONTENT
    assert path.endswith("cache/models/a/model.pkl")
    assert left_over(url) == ["model.pkl"]
    assert download(url) == path
    assert server.requests == ["all"]


def test_detectron2_finds_what_was_fetched_and_the_other_way(server: Loopback) -> None:
    mine, theirs = (f"{server.url}/{name}/model.pkl" for name in ("mine", "theirs"))
    assert PathManager.get_local_path(mine) == download(mine)
    assert download(theirs) == PathManager.get_local_path(theirs)
    assert len(server.requests) == 2


def test_a_download_that_breaks_off_goes_on_by_itself(server: Loopback) -> None:
    server.break_after = [300_000, 400_000]
    url = f"{server.url}/model.pkl#sha256={hashlib.sha256(CONTENT).hexdigest()}"
    assert Path(download(url)).read_bytes() == CONTENT
    assert server.requests == ["all", "bytes=300000-", "bytes=700000-"]


def test_an_interrupted_download_goes_on_in_the_next_call(server: Loopback) -> None:
    url = f"{server.url}/model.pkl"
    server.break_after = [500_000, 0, 0, 0]
    with pytest.raises(DownloadError, match="ended after 500000 of 1048576 bytes"):
        download(url)
    assert not cached_path(url).exists()
    server.requests.clear()
    assert Path(download(url)).read_bytes() == CONTENT
    assert server.requests == ["bytes=500000-"]
    assert left_over(url) == ["model.pkl"]


@pytest.mark.parametrize("change", ["another version", "no ranges"])
def test_what_cannot_be_gone_on_with_starts_anew(server: Loopback, change: str) -> None:
    url = f"{server.url}/model.pkl"
    server.break_after = [500_000, 0, 0, 0]
    with pytest.raises(DownloadError):
        download(url)
    if change == "no ranges":
        server.takes_ranges = False
    else:
        server.content, server.etag = CONTENT[::-1], '"2"'
    assert Path(download(url)).read_bytes() == server.content


def test_a_part_that_is_longer_than_the_file_is_thrown_away(server: Loopback) -> None:
    url = f"{server.url}/model.pkl"
    part = cached_path(url).with_name("model.pkl" + PART)
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(b"x" * (len(CONTENT) + 1))
    part.with_name(part.name + ".tag").write_text(server.etag)
    assert Path(download(url)).read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_the_hash_is_checked(server: Loopback, kind: str) -> None:
    digest = hashlib.new(kind, CONTENT).hexdigest()
    with pytest.raises(DownloadError, match=f"the {kind} of what the server sent is {digest}"):
        download(f"{server.url}/model.pkl#{kind}=123456")
    assert left_over(f"{server.url}/model.pkl") == []
    assert Path(download(f"{server.url}/model.pkl#{kind}={digest[:6]}")).is_file()
    assert server.requests == ["all", "all"]


def test_a_hash_that_is_none(server: Loopback) -> None:
    with pytest.raises(ValueError, match=r"'#sha1=123456' of .* is no hash; write #sha256="):
        download(f"{server.url}/model.pkl#sha1=123456")
    assert not server.requests


def test_what_cannot_be_fetched_says_what_to_fetch_by_hand(server: Loopback) -> None:
    for url, reason in (
        (f"{server.url}/missing/model.pkl", "the server answers 404"),
        ("http://127.0.0.1:9/model.pkl", "refused"),
    ):
        with pytest.raises(CheckpointFileError, match=reason) as caught:
            find_file(url)
        message = str(caught.value)
        assert message.startswith(f"cannot fetch the checkpoint {url}: ")
        assert f"fetch it by hand and put it at {cached_path(url)}" in message
    assert server.requests == ["all"]  # no second attempt


def test_a_web_page_is_no_checkpoint(server: Loopback) -> None:
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(DownloadError, match="the server sends a web page"):
        download(f"{server.url}/login/model.pkl")
    assert not cached_path(f"{server.url}/login/model.pkl").exists()


def test_weights_are_read_from_an_address_with_a_hash(server: Loopback, tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.ones(2)}}, tmp_path / "model.pth")
    server.content = (tmp_path / "model.pth").read_bytes()
    digest = hashlib.sha256(server.content).hexdigest()
    path = find_file(f"{server.url}/x/model.pth#sha256={digest[:8]}")
    assert os.path.samefile(path, tmp_path / "cache/x/model.pth")
    assert torch.load(path)["model"]["a"].tolist() == [1, 1]
