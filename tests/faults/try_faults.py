#!/usr/bin/env python
"""Try what can go wrong with checkpoints and runs, and print what held as a table.

    PYTHONPATH=projects OMP_NUM_THREADS=1 python tests/faults/try_faults.py [--kills 20]

"Held" means, for a file: refused in one line or read with the right values, within bounds of
memory and time, and without running anything; for a run: resumed, it ends with the weights of the
uninterrupted one, bit by bit. The table is that of docs/reliability.md. Exit code 1: something did
not hold.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "engine")]

from test_trainer import At  # noqa: E402
from toy_training import ToyTrainer, toy_cfg  # noqa: E402

from d2seg.checkpoint import torch_archive  # noqa: E402
from d2seg.checkpoint.files import (  # noqa: E402
    CheckpointFileError,
    WriteError,
    read_checkpoint,
    write_with_checksum,
)
from faults import run_folders  # noqa: E402
from faults.damaged_files import flipped_bits, zeroed_blocks  # noqa: E402
from faults.hostile_files import MADE, all_cases, kind_of, written  # noqa: E402
from faults.reading import outcomes  # noqa: E402

Row = tuple[str, int, int]  # what was tried, how often, how often it held
OPTS = ("SOLVER.MAX_ITER", 24, "SOLVER.CHECKPOINT_PERIOD", 2, "MODEL.MASKFORMER.DROPOUT", 0.5)


def hostile(folder: Path) -> Iterator[Row]:
    os.chdir(folder)
    found = outcomes(read_checkpoint, written(all_cases(), folder))
    assert not list(folder.rglob(MADE)), "a checkpoint ran code"
    tried, held = Counter(map(kind_of, all_cases())), Counter()
    held.update(kind_of(name) for name, what in found.items() if what in ("refused", "loaded"))
    for kind, count in tried.items():
        yield f"hostile checkpoint: {kind}", count, held[kind]


def same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a == b


def damaged(folder: Path) -> Iterator[Row]:
    model = nn.Sequential(nn.Linear(200, 150), nn.BatchNorm1d(150), nn.Linear(150, 200))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(4, 200)).sum().backward()
    optimizer.step()
    content = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "iteration": 3}
    formats: dict[str, Callable[[str], None]] = {
        "pth": lambda path: torch.save(content, path),
        "safetensors": lambda path: write_with_checksum(
            path, lambda file: save_file(dict(content["model"]), file)
        ),
    }
    for ending, write in formats.items():
        path = folder / f"model.{ending}"
        write(str(path))
        whole, good = path.read_bytes(), read_checkpoint(str(path))
        cut = (whole[: len(whole) * i // 50] for i in range(50))
        for name, copies in [
            ("flipped bit", flipped_bits(whole, 200)),
            ("zeroed block of 4 KiB", zeroed_blocks(whole, 100)),
            ("cut off", cut),
        ]:
            tried = held = 0
            for copy in copies:
                path.write_bytes(copy)
                tried, held = tried + 1, held + _notices(path, good)
            yield f"{name} in a .{ending}", tried, held


def _notices(path: Path, good: dict) -> bool:
    try:
        return same(read_checkpoint(str(path)), good)
    except CheckpointFileError:
        return True


def train(folder: Path, resume: bool) -> None:
    trainer = ToyTrainer(toy_cfg(folder, *OPTS))
    trainer.resume_or_load(resume=resume)
    trainer.train()


def kill_later(seconds: float) -> None:
    """SIGKILL to this process, from a child, which a signal's handler could not stop."""
    process = os.getpid()
    if os.fork() == 0:
        try:
            time.sleep(seconds)
            os.kill(process, signal.SIGKILL)
        finally:  # where the run has ended before, too: its error would clear the parent's folder
            os._exit(0)


def kill_in_save(number: int) -> None:
    """SIGKILL to this process in its ``number``-th save, when half the file is written."""
    save, count = torch.save, iter(range(1, 1000))

    def save_half(data: object, path: str) -> None:
        save(data, path)
        if next(count) == number:
            os.truncate(path, os.path.getsize(path) // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = save_half


def killed_runs(folder: Path, kills: int, arm: Callable[[int], None]) -> tuple[int, int]:
    """Runs that are killed once and resumed: how many there were, and how many ended right."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a parent's others are not there in a child, and are waited for
    train(folder / "whole", resume=False)
    expected = torch.load(folder / "whole" / "model_final.pth", weights_only=True)["model"]
    tried = held = 0
    for number in range(kills):
        output = folder / str(number)
        for attempt in range(2):
            child = os.fork()
            if child == 0:
                sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
                try:
                    if attempt == 0:
                        arm(number)
                    train(output, resume=attempt > 0)
                finally:
                    os._exit(0)
            _, status = os.waitpid(child, 0)
            tried += os.WIFSIGNALED(status)
        final = torch.load(output / "model_final.pth", weights_only=True)["model"]
        held += same(final, expected) and not list(output.glob("*.tmp"))
    torch.set_num_threads(threads)
    return tried, held - (kills - tried)


def damaged_folders(folder: Path, every: int = 1) -> Iterator[Row]:
    """Folders of interrupted runs, each damaged in one way, that are resumed; one of ``every``."""

    def trained(output: Path, resume: bool) -> dict:
        trainer = ToyTrainer(toy_cfg(output, *run_folders.OPTS))
        trainer.resume_or_load(resume=resume)
        trainer.train()
        return torch.load(output / "model_final.pth", weights_only=True)["model"]

    expected = trained(folder / "whole", resume=False)
    interrupted = ToyTrainer(toy_cfg(folder / "interrupted", *run_folders.OPTS))
    interrupted.register_hooks([At(6, lambda: interrupted.interrupt(signal.SIGTERM))])
    interrupted.train()
    held = 0
    damages = list(run_folders.DAMAGES.items())[::every]
    for number, (name, damage) in enumerate(damages):
        output = folder / str(number)
        shutil.copytree(folder / "interrupted", output)
        damage(output)
        try:
            right = same(trained(output, resume=True), expected)
        except Exception as error:
            sys.stderr.write(f"{name}: {error!r}\n")
            right = False
        held += right
    yield "damaged folder of a run, resumed", len(damages), held
    yield "disk that is full from some byte of a file on", *full_disks(folder, expected, every)


def full_disks(folder: Path, expected: dict, every: int) -> tuple[int, int]:
    """Runs whose files can grow to some size only, resumed when there is room."""
    size = (folder / "whole" / "model_final.pth").stat().st_size
    sizes = range(1000, size, size // 10)[::every]
    held = 0
    for limit in sizes:
        output = folder / f"full_{limit}"
        shutil.copytree(folder / "interrupted", output)
        before = (output / run_folders.LAST).read_bytes()
        trainer = ToyTrainer(toy_cfg(output, *run_folders.OPTS))
        trainer.resume_or_load(resume=True)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        run_folders.fill_disk_at(limit)
        said = "no word"
        try:
            trainer.train()
        except WriteError as error:
            said = str(error)
        finally:
            run_folders.room_again()
        whole = before == (output / run_folders.LAST).read_bytes()
        again = ToyTrainer(toy_cfg(output, *run_folders.OPTS))
        again.resume_or_load(resume=True)
        again.train()
        final = torch.load(output / "model_final.pth", weights_only=True)["model"]
        right = said != "no word" and "\n" not in said and whole and same(final, expected)
        held += right
        if not right:
            sys.stderr.write(f"{limit} of {size} bytes: {said!r}, {whole}\n")
    return len(sizes), held


def killed(folder: Path, kills: int) -> Iterator[Row]:
    moments = random.Random(0)
    times = [moments.uniform(0.05, 0.3) for _ in range(kills)]
    (folder / "at").mkdir()
    (folder / "in").mkdir()
    yield (
        "SIGKILL at a random moment",
        *killed_runs(folder / "at", kills, lambda number: kill_later(times[number])),
    )
    yield (
        "SIGKILL inside a save",
        *killed_runs(folder / "in", kills, lambda number: kill_in_save(1 + number % 12)),
    )


def time_reading(folder: Path) -> None:
    """Print the CPU time of reading 400 MB, by torch and with the checks, with either checksum."""
    path = folder / "model.pth"
    torch.save({"model": {str(i): torch.randn(1 << 20) for i in range(100)}}, path)
    fast = torch_archive.crc32
    readers = {
        "torch.load": (lambda: torch.load(path, weights_only=True), fast),
        "read_checkpoint, checksums by zlib": (lambda: read_checkpoint(str(path)), zlib.crc32),
        f"read_checkpoint, by {fast.__module__}": (lambda: read_checkpoint(str(path)), fast),
    }
    times: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(9):  # in turns, for the machine may be busy with something else
        for name, (read, torch_archive.crc32) in readers.items():
            start = time.process_time()
            read()
            times[name].append(time.process_time() - start)
    torch_archive.crc32 = fast
    print("| reader | CPU seconds for 400 MB, the best of 9 |\n|---|---|")
    for name, seconds in times.items():
        print(f"| {name} | {min(seconds):.2f} |")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20, help="runs of each kind that are killed")
    parser.add_argument("--time", action="store_true", help="measure the cost of reading instead")
    args = parser.parse_args()
    if args.time:
        with tempfile.TemporaryDirectory() as folder:
            time_reading(Path(folder))
        return 0
    rows: list[Row] = []
    attempts = [hostile, damaged, damaged_folders, lambda f: killed(f, args.kills)]
    for number, attempt in enumerate(attempts):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder, str(number))
            place.mkdir()
            rows += attempt(place)
            os.chdir("/")
    print("| what | tried | held |\n|---|---|---|")
    for what, tried, held in rows:
        print(f"| {what} | {tried} | {held} |")
    return int(any(tried != held for _, tried, held in rows))


if __name__ == "__main__":
    sys.exit(main())
