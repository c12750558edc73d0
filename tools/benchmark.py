#!/usr/bin/env python
"""Times this project against transformers, or against the papers' plain formulas, on equal work.

    python tools/benchmark.py --what inference --model mask2former
    python tools/benchmark.py --what training --model maskformer --dtype bf16
    python tools/benchmark.py --what postprocess --model mask2former --against plain
    python tools/benchmark.py --what runtimes --model segformer_b0

The last one exports the network and times it in eager mode, in ONNX Runtime (fp32) and OpenVINO.

Both sides hold the same random weights and get the same input; their outputs are compared first.
They run in processes of their own and by turns, A B A B; the figures are medians after a warm-up
and each process's peak memory. The arithmetic floor is the work's multiplications and additions at
the rate that a large matrix product reaches here. Run it on an otherwise idle machine.

--dtype is this project's; the peer's is --peer-dtype (fp32, as it comes).
"""

import argparse
import json
import multiprocessing
import platform
import statistics
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarking.serve import serve
from benchmarking.works import CLOCKS, MODELS, NETWORKS, WORKS, Work
from tabulate import tabulate
from tqdm import tqdm

REPO = Path(__file__).resolve().parents[1]
TASKS = ["panoptic", "instance", "semantic"]


def main() -> int:
    args = parse_arguments()
    if args.what == "runtimes":
        print(tabulate(measure_runtimes(args), headers="keys", tablefmt="github"))
        print(", ".join(f"{key} {value}" for key, value in machine("cpu").items()))
        return 0
    rows = [measure(args, task) for task in (args.task if args.what == "postprocess" else [""])]
    print(tabulate([shown(row) for row in rows], headers="keys", tablefmt="github"))
    report = {"machine": machine(args.device), "rows": rows}
    print(", ".join(f"{key} {value}" for key, value in report["machine"].items()))
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=2) + "\n")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--what", choices=WORKS, default="inference")
    parser.add_argument("--model", choices=list(NETWORKS), default="mask2former")
    parser.add_argument(
        "--task", nargs="+", choices=TASKS, default=TASKS, help="of --what postprocess"
    )
    parser.add_argument("--against", choices=["transformers", "plain", "none"])
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--peer-dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each side")
    parser.add_argument("--warm-up", type=int, default=2, help="runs before those")
    parser.add_argument(
        "--clock", choices=CLOCKS, default=CLOCKS[0], help="cpu: on a machine with other work"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    args.against = args.against or ("plain" if args.what == "postprocess" else "transformers")
    if args.against == "plain" and args.what != "postprocess":
        parser.error("the plain formulas are those of --what postprocess")
    if args.what != "runtimes" and args.model not in MODELS:
        parser.error(f"--model {args.model} is for --what runtimes")
    if args.what == "postprocess" and MODELS[args.model].kind != "masks":
        parser.error("--what postprocess is for mask classification")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; use --device cpu")
    return args


class Side:
    """One of the two, in a process of its own."""

    def __init__(self, name: str, work: Work) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, name, work), daemon=True)
        self.process.start()
        theirs.close()
        self.ask("prepare")

    def ask(self, request: str) -> Any:
        connection: Connection = self.connection
        connection.send(request)
        try:
            answer = connection.recv()
        except EOFError:
            raise SystemExit("error: a side of the benchmark died; see above") from None
        return answer

    def close(self) -> None:
        self.connection.send("end")
        self.process.join()


def measure(args: argparse.Namespace, task: str) -> dict[str, Any]:
    """Run one work on both sides; times in ms, memory in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        work = Work(args.what, args.model, task, args.device, args.dtype, folder, args.clock)
        names = ["ours"]
        if args.against != "none":
            names.insert(0, args.against)  # it makes the weights that both use
        sides = {}
        for name in names:
            dtype = args.dtype if name == "ours" else args.peer_dtype
            sides[name] = Side(name, work._replace(dtype=dtype))
        outputs = [side.ask("outputs") for side in sides.values()]
        difference = relative_difference(*outputs) if len(outputs) == 2 and all(outputs) else None
        times = interleaved(sides, args.warm_up, args.repeats, f"{args.model} {args.what} {task}")
        row = {"what": args.what, "model": args.model, "task": task, "dtype": args.dtype}
        row |= {"device": args.device, "difference": difference}
        for name, side in sides.items():
            median = statistics.median(times[name])
            row[name] = {"ms": median, "all_ms": times[name], "peak_mib": side.ask("memory")}
        flops, rate = sides["ours"].ask("flops"), sides["ours"].ask("matmul_rate")
        row |= {"gflop": flops / 1e9, "gflop_per_s": rate / 1e9, "floor_ms": flops / rate * 1e3}
        for side in sides.values():
            side.close()
    return row


def measure_runtimes(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each runtime of one network; the file is made and compared with PyTorch first."""
    from benchmarking.runtime_sides import RUNTIMES, export_for

    with tempfile.TemporaryDirectory() as folder:
        work = Work(args.what, args.model, "", "cpu", args.dtype, folder, args.clock)
        made = export_for(work)
        names = [name for name in RUNTIMES if args.dtype == "fp32" or name != "onnxruntime"]
        sides = {name: Side(name, work) for name in names}
        expected, *_ = outputs = [side.ask("outputs") for side in sides.values()]
        times = interleaved(sides, args.warm_up, args.repeats, f"{args.model} runtimes")
        rows = []
        for (name, side), found in zip(sides.items(), outputs, strict=True):
            rows.append(
                {
                    "model": args.model,
                    "dtype": args.dtype,
                    "runtime": name,
                    "ms": f"{statistics.median(times[name]):.1f}",
                    "start, s": f"{side.ask('start'):.1f}",
                    "peak, MiB": f"{side.ask('memory'):.0f}",
                    "difference": f"{relative_difference(expected, found):.1e}",
                    "file, MB": "" if name == "eager" else f"{made.megabytes:.0f}",
                    "export, s": "" if name == "eager" else f"{made.seconds:.0f}",
                }
            )
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
    for name in [*peers, "ours"]:
        cells[f"{name}, ms"] = f"{row[name]['ms']:.0f}"
        cells[f"{name}, MiB"] = f"{row[name]['peak_mib']:.0f}"
    if row["gflop"]:
        cells["floor, ms"] = f"{row['floor_ms']:.0f}"
    if peers:
        cells["faster"] = f"{row[peers[0]]['ms'] / row['ours']['ms']:.2f} x"
        known = row["difference"] is not None
        cells["difference"] = f"{row['difference']:.1e}" if known else "-"
    return cells


def machine(device: str) -> dict[str, str]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=REPO, capture_output=True, text=True
    )
    facts = {
        "cpu": cpu_name(),
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit.stdout.strip() or "unknown",
    }
    if device == "cuda":
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
