#!/usr/bin/env python
"""Pictures a second of ``d2seg predict``, beside those of the bare model, and of two shards.

    python tools/benchmarking/folders.py --pictures datasets/shapes/images_train \
        --weights output/demo/model_final.pth

Seconds of a picture are those by which a run over many takes longer than one over few, so that
imports, the model's building and what comes once are left out. The bare model gets the same
pictures decoded, in the same batches, and its results are dropped. Two shards run at the same time,
each with one thread, and are merged. By turns, medians of --rounds; on an idle machine.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

FILE = Path(__file__).resolve()
PART_SIZE = 200  # the default of large folders
TASKS = {"panoptic": "panoptic", "masks": "semantic"}  # by format


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="mask2former/shapes_panoptic_small")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--pictures", type=Path, required=True, help="a folder of them")
    parser.add_argument("--format", choices=list(TASKS), default="panoptic")
    parser.add_argument("--few", type=int, default=2 * PART_SIZE)
    parser.add_argument("--many", type=int, default=4 * PART_SIZE)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = sorted(str(path.resolve()) for path in args.pictures.iterdir())[: args.many]
    if not 0 < args.few < args.many or len(names) < args.many:
        parser.error(f"{args.pictures} has {len(names)} files; --few and --many must be fewer")
    if args.bare:
        print(bare_seconds(args, names[args.few :]))
        return 0
    found: dict[str, list[float]] = {}
    for _ in range(args.rounds):
        for threads in (1, 2):
            found.setdefault(f"bare model, {threads} threads", []).append(ask_bare(args, threads))
            found.setdefault(f"d2seg predict, {threads} threads", []).append(
                (
                    command_seconds(args, names, threads)
                    - command_seconds(args, names[: args.few], threads)
                )
                / (args.many - args.few)
            )
        found.setdefault("two shards, 1 thread each", []).append(
            (command_seconds(args, names, 1, 2) - command_seconds(args, names[: args.few], 1, 2))
            / (args.many - args.few)
        )
        for name, seconds in found.items():
            print(f"{name}: {1 / statistics.median(seconds):.2f} pictures/s", flush=True)
    rate = {name: 1 / statistics.median(seconds) for name, seconds in found.items()}
    for threads in (1, 2):
        share = rate[f"d2seg predict, {threads} threads"] / rate[f"bare model, {threads} threads"]
        print(f"{threads} threads: {share:.3f} of the bare model's pictures/s")
    gain = rate["two shards, 1 thread each"] / rate["d2seg predict, 1 threads"]
    print(f"two shards of one thread against one: {gain:.2f} x")
    return 0


def environment(threads: int) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}


def command_seconds(
    args: argparse.Namespace, names: list[str], threads: int, shards: int = 1
) -> float:
    """Wall-clock seconds of the command, or of so many shards of it at the same time."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "list.txt")
        listed.write_text("\n".join(names) + "\n")
        command = [sys.executable, "-m", "d2seg", "predict", "--config", args.config]
        command += ["--weights", args.weights, "--input", str(listed), "--format", args.format]
        command += ["--output", str(Path(folder, "out")), "--part-size", str(PART_SIZE)]
        options = ["--opts", "MODEL.DEVICE", "cpu"]
        start = time.perf_counter()
        processes = [
            subprocess.Popen(
                [*command, "--shard", f"{shard}/{shards}", *options],
                env=environment(threads),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for shard in range(shards)
        ]
        codes = [process.wait() for process in processes]
        if shards > 1:  # one alone merges by itself
            merging = [*command[:4], "--merge", str(Path(folder, "out"))]
            codes.append(subprocess.run(merging, env=environment(threads), check=False).returncode)
        seconds = time.perf_counter() - start
    if any(codes):
        raise SystemExit(f"error: {' '.join(command)} ended with {codes}")
    return seconds


def ask_bare(args: argparse.Namespace, threads: int) -> float:
    """Seconds of a picture, from a process of its own with so many threads."""
    command = [sys.executable, str(FILE), "--bare", *sys.argv[1:]]
    done = subprocess.run(
        command, env=environment(threads), stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1])


def bare_seconds(args: argparse.Namespace, names: list[str]) -> float:
    from d2seg.config.loading import load_config
    from d2seg.pictures import read_image
    from d2seg.prediction.batch import BatchPredictor
    from d2seg.prediction.inputs import Picture

    options = ["MODEL.WEIGHTS", args.weights, "MODEL.DEVICE", "cpu"]
    batches = BatchPredictor(load_config(args.config, options, labels=True), TASKS[args.format])
    predictor = batches.predictor
    examples = [
        predictor.make_example(Picture(read_image(name, "RGB"), None), []) for name in names
    ]
    size = batches._batch_of(examples[0]["image"].shape)
    for _ in range(3):
        predictor.run_model(examples[:size])
    start = time.perf_counter()
    for first in range(0, len(examples), size):
        predictor.run_model(examples[first : first + size])
    return (time.perf_counter() - start) / len(examples)


if __name__ == "__main__":
    sys.exit(main())
