"""Output folders of runs that were damaged, and disks that fill up, for ``try_faults``.

Each case takes the folder of a run that was interrupted, with checkpoints of iterations 2, 5 and 6,
and damages it. Resumed, the run must end with the weights of the uninterrupted one.
"""

import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

OPTS = ("SOLVER.MAX_ITER", 12, "SOLVER.CHECKPOINT_PERIOD", 3, "MODEL.MASKFORMER.DROPOUT", 0.5)
LAST, BEFORE = "model_0000006.pth", "model_0000005.pth"
Damage = Callable[[Path], None]


def _tag(content: bytes | None) -> Damage:
    def damage(folder: Path) -> None:
        (folder / "last_checkpoint").unlink()
        if content is not None:
            (folder / "last_checkpoint").write_bytes(content)

    return damage


def _last(change: Callable[[bytes], bytes]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / LAST
        path.write_bytes(change(path.read_bytes()))

    return damage


def _content(change: Callable[[dict], None]) -> Damage:
    """The newest checkpoint, whole as a file, with another content."""

    def damage(folder: Path) -> None:
        content = torch.load(folder / LAST, weights_only=True)
        change(content)
        torch.save(content, folder / LAST)

    return damage


def _extra(name: str, make: Callable[[Path], object]) -> Damage:
    return lambda folder: make(folder / name) and None


def _all_but_one(folder: Path) -> None:
    for name in (LAST, BEFORE):
        (folder / name).write_bytes(b"")


def _link_in_a_circle(path: Path) -> None:
    path.symlink_to(path.name)


def _pipe(folder: Path) -> None:
    (folder / "last_checkpoint").unlink()
    os.mkfifo(folder / "last_checkpoint")


DAMAGES: dict[str, Damage] = {
    **{
        f"tag: {name}": _tag(content)
        for name, content in {
            "missing": None,
            "empty": b"",
            "of another file": b"model_0000099.pth",
            "of an older file": b"model_0000002.pth",
            "of a file elsewhere": b"../model_0000006.pth",
            "of an absolute path": b"/etc/passwd",
            "of a folder": b".",
            "binary": bytes(range(256)),
            "in UTF-16": "model_0000006.pth".encode("utf-16"),
            "of many lines": b"model_0000006.pth\n" * 3,
            "long": b"m" * 100_000,
            "of zeros": bytes(17),
            "of two names": b"model_0000006.pth\nmodel_0000002.pth",
            "with a byte order mark": b"\xef\xbb\xbfmodel_0000006.pth",
        }.items()
    },
    **{
        f"newest checkpoint: {name}": _last(change)
        for name, change in {
            "empty": lambda data: b"",
            "half": lambda data: data[: len(data) // 2],
            "without its end": lambda data: data[:-1],
            "of zeros": lambda data: bytes(len(data)),
            "a flipped bit": lambda data: data[:-900] + bytes([data[-900] ^ 1]) + data[-899:],
            "a web page": lambda data: b"<!doctype html><title>404</title>",
            "a git-lfs pointer": lambda data: b"version https://git-lfs.github.com/spec/v1\n",
            "of text": lambda data: b"model",
        }.items()
    },
    "newest checkpoint: weights alone": _content(lambda c: c.pop("trainer")),
    "newest checkpoint: no weights": _content(lambda c: c.pop("model")),
    "a folder named as a checkpoint": _extra("model_0000007.pth", Path.mkdir),
    "a link to nowhere": _extra("model_0000007.pth", lambda path: path.symlink_to("gone")),
    "a link in a circle": _extra("model_0000007.pth", _link_in_a_circle),
    "a pipe": _extra("model_0000007.pth", os.mkfifo),
    "a device": _extra("model_0000007.pth", lambda path: path.symlink_to("/dev/zero")),
    "a file of another kind": _extra("model_notes.pth", lambda path: path.write_text("notes")),
    "remains of a dead writer": _extra("model_0000007.pth.tmp", lambda path: path.write_bytes(b"")),
    "binary metrics": _extra("metrics.json", lambda path: path.write_bytes(bytes(range(256)))),
    "metrics of lists": _extra("metrics.json", lambda path: path.write_text("[1]\n7\nnull\n")),
    "binary log": _extra("log.txt", lambda path: path.write_bytes(bytes(range(256)))),
    "an old lock": _extra(".lock", lambda path: path.write_bytes(b"\xff" * 99)),
    "two checkpoints empty": _all_but_one,
    "metrics without end": _extra("metrics.json", lambda path: path.write_text("[" * 100_000)),
    "metrics of digits": _extra(
        "metrics.json", lambda path: path.write_text('{"iteration": ' + "9" * 9999 + "}")
    ),
    "a tag that is a pipe": _pipe,
    "a tag of 64 GiB": lambda folder: os.truncate(folder / "last_checkpoint", 1 << 36),
    "a checkpoint of 16 GiB": lambda folder: os.truncate(folder / LAST, 1 << 34),
    "a clock turned back": lambda folder: os.utime(folder / LAST, (1, 1)),
    "a checksum of another file": _extra(
        f"{LAST}.sha256", lambda path: path.write_text(f"{'0' * 64}  {LAST}\n")
    ),
    "times in the future": lambda folder: os.utime(folder / LAST, (2**33, 2**33)),
    "all times alike": lambda folder: [os.utime(p, (1, 1)) for p in folder.glob("*.pth")] and None,
    "a copy of the folder": lambda folder: shutil.copytree(folder, folder / "copy") and None,
}


def fill_disk_at(num_bytes: int) -> None:
    """No file of this process grows beyond that, as where a quota ends."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, resource.RLIM_INFINITY))


def room_again() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
