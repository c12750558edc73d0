"""No file, however hostile, takes more than a bounded memory and time: all cases run one after the
other in a process whose address space is limited, and each ends in data or in one line."""

import json
import multiprocessing
import os
import resource
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from coco_cases import BAD_MASKS, instances, panoptic, put
from picture_cases import CLAIMS, WHOLE

from d2seg.data.dicts import load_dicts
from d2seg.data.inspection.dataset import inspect_dataset
from d2seg.data.label_maps import read_id_map, read_labels
from d2seg.evaluation.instance import InstanceEvaluator
from d2seg.pictures import read_image, shown_size
from d2seg.visualization.media import read_picture
from d2seg.visualization.video_reading import VideoReader

GIGABYTE = 1 << 30
MAX_SECONDS = 10
READERS: dict[str, Callable[[str], object]] = {
    "image": lambda file: read_image(file, "RGB"),
    "size": shown_size,
    "demo": lambda file: read_picture(Path(file)),
    "labels": read_labels,
    "ids": read_id_map,
}
# numbers that an entry of a JSON file may hold in the place of any other
NUMBERS = (float("nan"), float("inf"), -1, 0, 10**9, 10**30, 1e308, "1", None, [], {}, True)
EDITS = {
    **{f"mask {name}": ("annotations", 0, "segmentation", mask) for name, (mask, _) in BAD_MASKS.items()},
    **{f"box {i}": ("annotations", 0, "bbox", [n] * 4) for i, n in enumerate(NUMBERS)},
    **{f"area {i}": ("annotations", 0, "area", n) for i, n in enumerate(NUMBERS)},
    **{f"height {i}": ("images", 0, "height", n) for i, n in enumerate(NUMBERS)},
    **{f"image {i}": ("images", 0, "id", n) for i, n in enumerate(NUMBERS)},
    **{f"category {i}": ("annotations", 0, "category_id", n) for i, n in enumerate(NUMBERS)},
}  # fmt: skip
FILES = {
    "deep": "[" * 200_000,
    "deep objects": '{"a":' * 100_000,
    "long number": '{"images": [' + "9" * 500_000 + "]}",
    "cut": '{"images": [{"id": 1, "file',
    "UTF-16": '{"images": []}'.encode("utf-16").decode("latin-1"),
    "array": "[]",
    "number": "3",
    "empty": "",
}


def cases(root: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    for name, make in CLAIMS.items():
        file = root / f"{name.replace(' ', '_')}.{name.split()[0]}"
        file.write_bytes(make())
        for reader, read in READERS.items():
            yield f"{name}: {reader}", lambda read=read, file=file: read(str(file))
        file.with_suffix(".mp4").write_bytes(file.read_bytes())
        yield (
            f"{name}: video",
            lambda file=file: list(VideoReader(file.with_suffix(".mp4"))),
        )
    for number, (name, edit) in enumerate(EDITS.items()):
        folder = root / f"json{number}"
        folder.mkdir()
        yield name, lambda f=folder, e=edit: use(instances(f, put(*e[:3], value=e[3]))["name"])
    for number, (name, content) in enumerate(FILES.items()):
        for make in (instances, panoptic):
            folder = root / f"{make.__name__}{number}"
            folder.mkdir()
            yield f"{name} {make.__name__}", lambda f=folder, c=content, m=make: use_file(f, c, m)


def use(name: str) -> None:
    inspect_dataset(name)
    load_dicts(name, for_test=True)
    InstanceEvaluator(name)


def use_file(folder: Path, content: str, make: Callable[[Path], dict]) -> None:
    made = make(folder)
    made["file"].write_text(content)
    load_dicts(made["name"], for_test=True)


def run_all(root: Path, results: Path) -> None:
    """What a case ends in, its seconds and what it has added to the memory, a line each."""
    torch.set_num_threads(1)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    # libraries alone may reserve more than that; a case has a gigabyte in any event
    limit = max(4 * GIGABYTE, pages + GIGABYTE)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with results.open("w") as file:
        for name, call in cases(root):
            start = time.process_time()
            try:
                call()
                end = ""
            except (ValueError, OSError) as error:
                end = str(error)
            except BaseException:
                end = f"\n{traceback.format_exc()}"
            file.write(json.dumps([name, end, time.process_time() - start]) + "\n")
            file.flush()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_every_case_ends_in_bounded_memory_and_time(tmp_path) -> None:
    (tmp_path / "cases").mkdir()
    results = tmp_path / "results"
    child = multiprocessing.get_context("fork").Process(
        target=run_all, args=(tmp_path / "cases", results)
    )
    child.start()
    child.join()
    ended = [json.loads(line) for line in results.read_text().splitlines()]
    assert child.exitcode == 0, ended[-1:]
    assert len(ended) > 200
    assert [(name, end) for name, end, _ in ended if "\n" in end] == []
    assert [(name, seconds) for name, _, seconds in ended if seconds > MAX_SECONDS] == []
    silent = [name for name, end, _ in ended if not end and name.startswith("mask")]
    assert silent == []


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_of_every_format_are_read(tmp_path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(WHOLE[name])
    assert read_image(str(file), "RGB").shape == (48, 64, 3)
