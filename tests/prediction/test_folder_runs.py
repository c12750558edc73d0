"""Parts, what survives a killed process, shards, and merging."""

import csv
import json
import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from toy_pictures import CLASSES, toy_predictor, write_pictures

from d2seg.data.label_maps import read_labels
from d2seg.prediction.folders import parts as parts_module
from d2seg.prediction.folders.manifest import Manifest, check_folder, claim, part_size, read
from d2seg.prediction.folders.names import read_folder
from d2seg.prediction.folders.parts import Parts
from d2seg.prediction.folders.running import merge, predict_parts

FORK = multiprocessing.get_context("fork")


def manifest_of(source, **changes) -> Manifest:
    given = {
        "task": "semantic",
        "format": "masks",
        "threshold": None,
        "config": "MODEL:\n  X: 1\n  DEVICE: cpu\n",
        "weights": "ab",
        "classes": CLASSES,
        "base": source.base,
        "num_pictures": len(source),
        "pictures": source.fingerprint(),
        "part_size": 4,
        "batch": "auto",
    }
    return Manifest(**{**given, **changes})


def predict(source, output: Path, size: int, shard: tuple[int, int] = (0, 1)) -> int:
    manifest = manifest_of(source, part_size=size)
    claim(output, check_folder(output, manifest, True))
    parts = Parts(output, len(source), size)
    return predict_parts(toy_predictor(), source, parts, range(shard[0], len(parts), shard[1]))


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_pictures(tmp_path_factory.mktemp("pictures"), 10)
    (folder / "0005.png").write_bytes(b"no picture")
    return folder


def test_one_run(pictures: Path, tmp_path: Path) -> None:
    source = read_folder(pictures)
    assert predict(source, tmp_path, 4) == 1
    parts = Parts(tmp_path, 10, 4)
    assert [parts.bounds(number) for number in range(len(parts))] == [(0, 4), (4, 8), (8, 10)]
    assert not parts.missing()
    assert [record.id for record in parts.records()] == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    written, num_failed = merge(tmp_path, read(tmp_path), "masks")
    assert (written, num_failed) == ([tmp_path / "masks", tmp_path / "classes.json"], 1)
    assert {path.name for path in (tmp_path / "masks").iterdir()} == {
        path.name for path in pictures.iterdir() if path.name != "0005.png"
    }
    for path in (tmp_path / "masks").iterdir():
        red = read_labels(path)
        assert red.max() < 4
        assert red.shape == (64, 64)
    with (tmp_path / "failed.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["id"], row["name"]) == ("5", "0005.png")
    assert "it is no picture" in row["reason"]


def test_a_missing_part_is_made_again_and_no_other(pictures: Path, tmp_path: Path) -> None:
    source = read_folder(pictures)
    predict(source, tmp_path, 4)
    before = contents(tmp_path)
    parts = Parts(tmp_path, 10, 4)
    times = {number: parts.path(number).stat().st_mtime_ns for number in range(3)}
    parts.path(1).unlink()
    (tmp_path / "parts/part-000002.tar.x-999999999-0123abcd.tmp").touch()  # of a process that died
    with pytest.raises(ValueError, match="lacks 1 of 3 parts, the first is 1"):
        merge(tmp_path, read(tmp_path), "masks")
    assert predict(source, tmp_path, 4) == 1
    after = {k: v for k, v in contents(tmp_path).items() if not k.endswith(".tmp")}
    assert after == before
    now = {number: parts.path(number).stat().st_mtime_ns for number in range(3)}
    assert [now[n] == times[n] for n in range(3)] == [True, False, True]
    # all is there: nothing is predicted, and what failed before still counts
    assert predict(source, tmp_path, 4) == 1


def test_shards_give_what_one_gives(pictures: Path, tmp_path: Path) -> None:
    source = read_folder(pictures)
    assert predict(source, tmp_path / "one", 2) == 1
    failed = [predict(source, tmp_path / "three", 2, (index, 3)) for index in (2, 0, 1)]
    assert sum(failed) == 1
    assert contents(tmp_path / "one") == contents(tmp_path / "three")
    # more shards than parts
    assert [predict(source, tmp_path / "many", 4, (index, 5)) for index in range(5)] == [
        0,
        1,
        0,
        0,
        0,
    ]
    assert not Parts(tmp_path / "many", 10, 4).missing()


def test_a_damaged_part_is_named(pictures: Path, tmp_path: Path) -> None:
    predict(read_folder(pictures), tmp_path, 4)
    path = Parts(tmp_path, 10, 4).path(1)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match=r"part-000001\.tar is damaged .*; delete it and predict"):
        merge(tmp_path, read(tmp_path), "masks")


def test_a_format_that_cannot_hold_the_task(pictures: Path, tmp_path: Path) -> None:
    predict(read_folder(pictures), tmp_path, 4)
    with pytest.raises(ValueError, match="has results of the task semantic; the format panoptic"):
        merge(tmp_path, read(tmp_path), "panoptic")


class TestFolderOfAnotherRun:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"config": "MODEL:\n  X: 2\n"}, "MODEL.X is 1 there, not 2; choose another --output"),
            ({"config": "MODEL:\n  X: 1\n  Y: [3]\n"}, r"MODEL.Y is None there, not \[3\]"),
            ({"weights": "cd"}, "the weights are others"),
            ({"task": "panoptic"}, "its task is semantic, not panoptic"),
            ({"threshold": 0.5}, "its threshold is None, not 0.5"),
            ({"num_pictures": 11}, "its num pictures is 10, not 11"),
            ({"pictures": "cd"}, "the pictures of --input are others"),
            ({"part_size": 5}, "its part size is 4, not 5"),
            ({"batch": "2"}, "its batch is auto, not 2"),
            ({"classes": {}}, "its classes have other names"),
        ],
    )
    def test_is_refused(self, pictures: Path, tmp_path: Path, changes: dict, message: str) -> None:
        source = read_folder(pictures)
        claim(tmp_path, manifest_of(source))
        with pytest.raises(ValueError, match=message):
            check_folder(tmp_path, manifest_of(source, **changes), True)

    def test_what_may_differ(self, pictures: Path, tmp_path: Path) -> None:
        source = read_folder(pictures)
        ours = manifest_of(source)
        claim(tmp_path, ours)
        assert check_folder(tmp_path, ours, True) == ours
        other = "MODEL:\n  X: 1\n  DEVICE: cuda\nOUTPUT_DIR: there\nDATALOADER:\n  NUM_WORKERS: 0\n"
        changed = manifest_of(source, config=other, format="coco")
        assert check_folder(tmp_path, changed, True) == ours
        assert check_folder(tmp_path, manifest_of(source, part_size=7), False) == ours

    def test_a_manifest_that_cannot_be_read(self, pictures: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"is no folder of predictions: it has no run\.json"):
            read(tmp_path)
        (tmp_path / "parts").mkdir()
        with pytest.raises(ValueError, match=r"has parts, but no run\.json"):
            check_folder(tmp_path, manifest_of(read_folder(pictures)), False)
        for content in ("{", "[]", "{}"):
            (tmp_path / "run.json").write_text(content)
            with pytest.raises(ValueError, match=r"run\.json is (damaged|of another version)"):
                read(tmp_path)


def test_parts_are_small_enough_for_the_shards() -> None:
    assert part_size(10**8, 64) == 200
    assert part_size(500, 2) == 62
    assert part_size(3, 8) == 1


def test_a_full_disk_leaves_what_is_whole(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second part fails half way, as a disk does that takes no more."""
    source = read_folder(pictures)
    number, real = 0, parts_module._add

    def fail(tar, name: str, content: bytes) -> None:
        nonlocal number
        number += 1
        if number > 12:
            raise OSError(28, "No space left on device")
        real(tar, name, content)

    monkeypatch.setattr(parts_module, "_add", fail)
    with pytest.raises(OSError, match=r"part-000001\.tar.*No space left on device"):
        predict(source, tmp_path, 4)
    assert {path.name for path in (tmp_path / "parts").glob("*.t*")} == {"part-000000.tar"}
    monkeypatch.undo()
    predict(source, tmp_path, 4)
    predict(source, tmp_path / "whole", 4)
    got, want = contents(tmp_path / "parts"), contents(tmp_path / "whole/parts")
    assert got == want


def wait_for(parts: Parts, number: int) -> None:
    deadline = time.monotonic() + 120
    while len(parts) - len(parts.missing()) < number:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def random_delays() -> Iterator[float]:
    yield from np.random.default_rng(0).uniform(0, 0.03, 3)


def test_three_kills(tmp_path: Path) -> None:
    """500 pictures, three SIGKILLs: every picture once, files as of a run that was not killed."""
    source = read_folder(write_pictures(tmp_path / "in", 500))
    predict(source, tmp_path / "whole", 20)
    parts = Parts(tmp_path / "killed", 500, 20)
    for number, delay in enumerate(random_delays(), 1):
        process = FORK.Process(target=predict, args=(source, tmp_path / "killed", 20))
        process.start()
        wait_for(parts, 5 * number)
        time.sleep(delay)
        process.kill()
        process.join()
    assert parts.missing(), "it was done before it was killed"
    predict(source, tmp_path / "killed", 20)
    assert [record.id for record in parts.records()] == list(range(1, 501))
    assert contents(tmp_path / "whole") == contents(tmp_path / "killed")
    assert json.loads((tmp_path / "killed/run.json").read_text())["num_pictures"] == 500
