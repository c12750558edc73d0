#!/usr/bin/env python
"""Compare the time of saving, loading and training with that of an earlier version.

    git worktree add /tmp/earlier 1812e9a
    OMP_NUM_THREADS=1 python tests/faults/compare_speed.py /tmp/earlier --rounds 9

Both versions run in a process each, in turns, and do the same: save a SegFormer-B0 with the state
of its optimizer, load it, and train it for some steps on made-up pictures. What counts is the user
CPU time of each turn, which other programs on the machine change least: the median over rounds of
the ratio of neighbouring turns, and its quartiles.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

WORK = ("save", "load", "train")
REPEATS = {"save": 5, "load": 10, "train": 3}  # of each in a turn


def worker(folder: str) -> None:
    """Do what standard input asks for, and answer with seconds."""
    import torch
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model
    from detectron2.utils.events import EventStorage

    from d2seg import add_d2seg_config
    from d2seg.checkpoint import Checkpointer
    from d2seg.engine.train_step import TrainStep

    cfg = get_cfg()
    add_d2seg_config(cfg)
    levels = ["res2", "res3", "res4", "res5"]
    cfg.merge_from_list(
        [
            *("MODEL.META_ARCHITECTURE", "SegFormer", "MODEL.BACKBONE.NAME", "build_mit_backbone"),
            *("MODEL.DEVICE", "cpu", "MODEL.SEM_SEG_HEAD.IN_FEATURES", levels),
            *("MODEL.SEM_SEG_HEAD.NORM", "BN", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 20),
            *("MODEL.PER_PIXEL.SIZE_DIVISIBILITY", 32),
        ]
    )
    torch.manual_seed(0)
    model = build_model(cfg).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    size = (96, 96)
    sample = {
        "image": torch.randint(0, 256, (3, *size), dtype=torch.uint8),
        "sem_seg": torch.randint(0, 20, size),
        "height": size[0],
        "width": size[1],
        "file_name": "none",
    }
    step = TrainStep(model, [[sample] * 2] * 10_000, optimizer)
    checkpointer = Checkpointer(model, folder, optimizer=optimizer)
    path = str(Path(folder, "model.pth"))

    def train() -> None:
        with EventStorage(0):
            step.run_step()

    step.iter = 0
    actions = {
        "save": lambda: checkpointer.save("model"),
        "load": lambda: checkpointer.load(path),
        "train": train,
    }
    for name in sorted(WORK, reverse=True):  # the optimizer has its state by then
        actions[name]()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        start = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        for _ in range(REPEATS[line.strip()]):
            actions[line.strip()]()
        spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - start
        print(spent, file=answers, flush=True)


def start(tree: Path, folder: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", __file__, "--worker", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tree / "projects")},
    )
    while (line := process.stdout.readline()) != "ready\n":
        if not line:
            sys.exit(f"error: {tree} cannot do what is compared")
    return process


def ask(process: subprocess.Popen, what: str) -> float:
    process.stdin.write(f"{what}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tree", type=Path, nargs="?", help="checkout of the earlier version")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args.worker)
        return 0
    if args.tree is None or not (args.tree / "projects" / "d2seg").is_dir():
        parser.error("give the checkout of an earlier version")
    here = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory() as old, tempfile.TemporaryDirectory() as new:
        processes = [start(args.tree, old), start(here, new)]
        times: dict[str, list[tuple[float, ...]]] = {what: [] for what in WORK}
        for number in range(args.rounds):
            for what in WORK:
                order = processes if number % 2 else processes[::-1]
                spent = [ask(process, what) for process in order]
                times[what].append(tuple(spent if number % 2 else spent[::-1]))
        for process in processes:
            process.stdin.close()
            process.wait()
    print("| what | earlier, s | now, s | ratio (quartiles) |\n|---|---|---|---|")
    for what, pairs in times.items():
        before, now = (
            statistics.median(column) / REPEATS[what] for column in zip(*pairs, strict=True)
        )
        low, middle, high = statistics.quantiles([b / a for a, b in pairs], n=4)
        print(f"| {what} | {before:.3f} | {now:.3f} | {middle:.2f} ({low:.2f} to {high:.2f}) |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
