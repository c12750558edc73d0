"""Requests of many clients at once to a server that is running:

    d2seg serve --weights model_final.pth --port 7860 &
    python tests/serving/many_clients.py http://127.0.0.1:7860 street.jpg --process PID

Prints how many were answered, the latency, and what the server took of memory and of its processor
(Linux).
"""

import argparse
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx2 as httpx
import numpy as np

TIMEOUT = 600


@dataclass
class Measured:
    """statuses: of HTTP, "lost" for requests without an answer; seconds: of each answer."""

    statuses: Counter = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    num_segments: int = 0


def measure(
    address: str, picture: bytes, num_clients: int, num_each: int, fields: str = ""
) -> Measured:
    """Let ``num_clients`` threads send ``num_each`` requests each, one after the other, all
    beginning together."""
    measured, lock = Measured(), threading.Lock()
    barrier = threading.Barrier(num_clients)

    def client() -> None:
        with httpx.Client(timeout=TIMEOUT, verify=False) as session:  # without reading certificates
            barrier.wait()
            for _ in range(num_each):
                started = time.perf_counter()
                try:
                    answer = session.post(f"{address}/predict?{fields}", content=picture)
                    status, found = answer.status_code, answer.json().get("segments", [])
                except httpx.HTTPError:
                    status, found = "lost", []
                with lock:
                    measured.statuses[status] += 1
                    measured.seconds.append(time.perf_counter() - started)
                    measured.num_segments += len(found)

    threads = [threading.Thread(target=client) for _ in range(num_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return measured


def peak_of(process: int) -> float:
    """MB of memory that a process has had at most."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def processor_seconds_of(process: int) -> float:
    """What a process has had of the processor, user and system."""
    numbers = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--fields", default="", help="as task=instance&confidence=0")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--each", type=int, default=4)
    parser.add_argument("--process", type=int, required=True, help="of the server")
    args = parser.parse_args()
    picture = args.picture.read_bytes()
    is_whole = True
    for number in (1, args.clients):
        memory, busy = peak_of(args.process), processor_seconds_of(args.process)
        measured = measure(args.address, picture, number, args.each, args.fields)
        busy = processor_seconds_of(args.process) - busy
        low, middle, high = np.percentile(measured.seconds, (5, 50, 95))
        count = len(measured.seconds)
        print(f"{number} clients with {args.each} requests each: {dict(measured.statuses)}")
        print(f"  latency: 5 % {low:.3f} s, median {middle:.3f} s, 95 % {high:.3f} s")
        print(f"  processor: {busy / count:.3f} s a request")
        print(f"  most memory: {memory:.0f} MB before, {peak_of(args.process):.0f} MB after")
        is_whole = is_whole and set(measured.statuses) == {200}
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
