#!/usr/bin/env python
"""Times this project against transformers, or against the papers' plain formulas, on equal work.

    python tools/benchmark.py --what inference --model mask2former
    python tools/benchmark.py --what training --model maskformer --dtype bf16
    python tools/benchmark.py --what postprocess --model mask2former --against plain
    python tools/benchmark.py --what runtimes --model segformer_b0
    python tools/benchmark.py --all --json new.json --compare old.json
    python tools/benchmark.py --all --dtype fp32 --earlier ../worktree_of_an_earlier_version
    python tools/benchmark.py --all --short

--what runtimes exports the network and times it in eager mode, in ONNX Runtime (fp32) and OpenVINO.
--all is the whole table of docs/benchmarks.md (half an hour and more), --short a few of its rows on
small pictures in this one process: a check that all runs, whose times mean little. --compare says
which rows were faster, or took less memory, in a report that --json wrote; it judges nothing.
--earlier has an earlier version take part as a third side, by turns with the others; with --what
runtimes its network in eager mode.

Both sides hold the same random weights and get the same input; their outputs are compared first.
They run in processes of their own and by turns, A B A B; the figures are medians after a warm-up
and each process's peak memory. The arithmetic floor is the work's multiplications and additions at
the rate that a large matrix product reaches here. Run it on an otherwise idle machine.

--dtype is this project's; the peer's is --peer-dtype (fp32, as it comes).
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarking.comparison import differences, read_report
from benchmarking.earlier import refusal_of, start_earlier
from benchmarking.machine import machine
from benchmarking.serve import make_contender, serve
from benchmarking.works import (
    CLOCKS,
    DTYPES,
    MODELS,
    NETWORKS,
    SHORT,
    SHORT_TABLE,
    TABLE,
    WORKS,
    Work,
)
from tabulate import tabulate
from tqdm import tqdm

TASKS = ["panoptic", "instance", "semantic"]


def main() -> int:
    args = parse_arguments()
    if args.what == "runtimes":
        print(tabulate(measure_runtimes(args), headers="keys", tablefmt="github"))
        print(", ".join(f"{key} {value}" for key, value in machine("cpu").items()))
        return 0
    rows: list[dict[str, Any]] = []
    report = {"machine": machine(args.device), "short": args.short, "rows": rows}
    for what, model, dtype in works_of(args):
        for task in args.task if what == "postprocess" else [""]:
            divisor = SHORT if args.short else 1
            work = Work(what, model, task, args.device, dtype, "", args.clock, divisor)
            rows.append(measure(args, work))
            if args.json:  # after each: the whole table takes long
                Path(args.json).write_text(json.dumps(report, indent=2) + "\n")
    print(tabulate([shown(row) for row in rows], headers="keys", tablefmt="github"))
    print(", ".join(f"{key} {value}" for key, value in report["machine"].items()))
    if args.compare:
        print("\n".join(differences(args.compare, report)))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="the whole table")
    parser.add_argument("--what", choices=WORKS)
    parser.add_argument("--model", choices=list(NETWORKS))
    parser.add_argument(
        "--task", nargs="+", choices=TASKS, default=TASKS, help="of --what postprocess"
    )
    parser.add_argument("--against", choices=["transformers", "plain", "none"])
    parser.add_argument("--dtype", choices=list(DTYPES))
    parser.add_argument("--peer-dtype", choices=list(DTYPES), default="fp32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--short", action="store_true", help="small pictures, one process")
    parser.add_argument("--repeats", type=at_least(1), default=5, help="timed runs of each side")
    parser.add_argument("--warm-up", type=at_least(0), default=2, help="runs before those")
    parser.add_argument(
        "--clock", choices=CLOCKS, default=CLOCKS[0], help="cpu: on a machine with other work"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--compare", metavar="FILE", help="of an earlier --json")
    parser.add_argument(
        "--earlier", type=Path, metavar="TREE", help="a worktree of an earlier version, timed too"
    )
    args = parser.parse_args()
    given = [name for name in ("what", "model", "against") if getattr(args, name)]
    if args.all and given:
        parser.error(f"--all measures every row; leave --{given[0]} out")
    args.what = args.what or ("" if args.all else "inference")
    args.model = args.model or "mask2former"
    if not args.all:
        args.dtype = args.dtype or "fp32"
    if args.against == "plain" and args.what != "postprocess":
        parser.error("the plain formulas are those of --what postprocess")
    if args.what != "runtimes" and args.model not in MODELS:
        parser.error(f"--model {args.model} is for --what runtimes")
    if args.what == "postprocess" and MODELS[args.model].kind != "masks":
        parser.error("--what postprocess is for mask classification")
    if args.what == "runtimes" and (args.short or args.json or args.compare):
        parser.error("--what runtimes has no --short, --json or --compare")
    if args.earlier and args.short:
        parser.error("--earlier has a process of its own: it does not go with --short")
    if args.earlier and args.what == "runtimes" and args.model not in MODELS:
        parser.error(f"--earlier has no network of --model {args.model}; leave it out")
    if args.earlier and (reason := refusal_of(args.earlier)):
        parser.error(f"--earlier {reason}")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; use --device cpu")
    if args.json and not (folder := Path(args.json).resolve().parent).is_dir():
        parser.error(f"--json {args.json}: there is no folder {folder}")
    if args.json and Path(args.json).is_dir():
        parser.error(f"--json {args.json} is a folder; name a file")
    if args.compare:
        try:
            args.compare = read_report(args.compare)
        except ValueError as error:
            parser.error(f"--compare {error}")
    return args


def at_least(bound: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < bound:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least {bound}")
        return int(text)

    return number


def works_of(args: argparse.Namespace) -> Sequence[tuple[str, str, str]]:
    """What, model and dtype of each measurement."""
    if args.all:
        table = SHORT_TABLE if args.short else TABLE
        return [work for work in table if args.dtype in (None, work[2])]
    return [(args.what, args.model, args.dtype)]


class Side:
    """One of them, in a process of its own, or in this one."""

    def __init__(
        self, name: str, work: Work, in_this_process: bool = False, tree: Path | None = None
    ) -> None:
        self.contender = None
        if in_this_process:
            torch.manual_seed(0)
            self.contender = make_contender(name, work)
            return
        if tree is not None:
            program, self.connection = start_earlier(tree, work)
            self.wait = program.wait
            self.ask("prepare")
            return
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, name, work), daemon=True)
        process.start()
        self.wait = process.join
        theirs.close()
        self.ask("prepare")

    def ask(self, request: str) -> Any:
        if self.contender is not None:
            return getattr(self.contender, request)()
        connection: Connection = self.connection
        connection.send(request)
        try:
            answer = connection.recv()
        except EOFError:
            raise SystemExit("error: a side of the benchmark died; see above") from None
        return answer

    def close(self) -> None:
        if self.contender is None:
            self.connection.send("end")
            self.wait()


def measure(args: argparse.Namespace, work: Work) -> dict[str, Any]:
    """Run one work on both sides; times in ms, memory in MiB (``None`` where both share it)."""
    against = args.against or ("plain" if work.what == "postprocess" else "transformers")
    with tempfile.TemporaryDirectory() as folder:
        names = ["ours"]
        if against != "none":
            names.insert(0, against)  # it makes the weights that both use
        sides = {}
        for name in names:
            dtype = work.dtype if name == "ours" else args.peer_dtype
            sides[name] = Side(name, work._replace(dtype=dtype, folder=folder), args.short)
        outputs = [side.ask("outputs") for side in sides.values()]
        difference = relative_difference(*outputs) if len(outputs) == 2 and all(outputs) else None
        if args.earlier:
            sides["earlier"] = Side("ours", work._replace(folder=folder), tree=args.earlier)
        what = f"{work.model} {work.what} {work.dtype} {work.task}"
        times = interleaved(sides, args.warm_up, args.repeats, what)
        row = {"what": work.what, "model": work.model, "task": work.task, "dtype": work.dtype}
        row |= {"device": work.device, "difference": difference}
        for name, side in sides.items():
            median = statistics.median(times[name])
            memory = None if args.short else side.ask("memory")
            row[name] = {"ms": median, "all_ms": times[name], "peak_mib": memory}
        flops, rate = sides["ours"].ask("flops"), sides["ours"].ask("matmul_rate")
        row |= {"gflop": flops / 1e9, "gflop_per_s": rate / 1e9, "floor_ms": flops / rate * 1e3}
        for side in sides.values():
            side.close()
    return row


def measure_runtimes(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each runtime of one network; its file is made and compared with PyTorch first."""
    from benchmarking.runtime_sides import RUNTIMES, export_for

    with tempfile.TemporaryDirectory() as folder:
        work = Work(args.what, args.model, "", "cpu", args.dtype, folder, args.clock)
        names = [name for name in RUNTIMES if args.dtype == "fp32" or name != "onnxruntime"]
        made = {name: export_for(work, name) for name in names[1:]}
        sides = {name: Side(name, work) for name in names}
        expected, *_ = outputs = [side.ask("outputs") for side in sides.values()]
        if args.earlier:  # of weights of its own: nothing to compare
            sides["earlier, eager"] = Side("ours", work, tree=args.earlier)
        times = interleaved(sides, args.warm_up, args.repeats, f"{args.model} runtimes")
        rows = []
        for name, side in sides.items():
            row = {
                "model": args.model,
                "dtype": args.dtype,
                "runtime": name,
                "ms": f"{statistics.median(times[name]):.1f}",
                "peak, MiB": f"{side.ask('memory'):.0f}",
            }
            if name in names:
                found = outputs[names.index(name)]
                row["start, s"] = f"{side.ask('start'):.1f}"
                row["difference"] = f"{relative_difference(expected, found):.1e}"
            if name in made:
                row["file, MB"] = f"{made[name].megabytes:.0f}"
                row["export, s"] = f"{made[name].seconds:.0f}"
            rows.append(row)
            side.close()
        return rows


def interleaved(
    sides: dict[str, Side], warm_up: int, repeats: int, what: str
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in tqdm(range(warm_up + repeats), desc=what, unit="round"):
        for name, side in sides.items():
            milliseconds = side.ask("run")
            if round_ >= warm_up:
                times[name].append(milliseconds)
    return times


def relative_difference(theirs: list[np.ndarray], ours: list[np.ndarray]) -> float:
    """The largest over the outputs: norm of the difference over the norm."""
    return max(
        float(np.linalg.norm((a - b).ravel()) / max(np.linalg.norm(a.ravel()), 1e-12))
        for a, b in zip(theirs, ours, strict=True)
    )


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the printed table."""
    cells = {key: row[key] for key in ("what", "model", "task", "dtype", "device") if row[key]}
    peers = [name for name in ("transformers", "plain") if name in row]
    earlier = ["earlier"] if "earlier" in row else []
    for name in [*peers, *earlier, "ours"]:
        cells[f"{name}, ms"] = f"{row[name]['ms']:.0f}"
        if row[name]["peak_mib"] is not None:
            cells[f"{name}, MiB"] = f"{row[name]['peak_mib']:.0f}"
    if row["gflop"]:
        cells["floor, ms"] = f"{row['floor_ms']:.0f}"
    if peers:
        cells["faster"] = f"{row[peers[0]]['ms'] / row['ours']['ms']:.2f} x"
        known = row["difference"] is not None
        cells["difference"] = f"{row['difference']:.1e}" if known else "-"
    if earlier:
        cells["earlier / ours"] = f"{row['earlier']['ms'] / row['ours']['ms']:.2f} x"
    return cells


if __name__ == "__main__":
    sys.exit(main())
