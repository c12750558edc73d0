"""Requests of many clients at once to a server that is running:

    d2seg serve --weights model_final.pth --port 7860 &
    python tests/serving/many_clients.py http://127.0.0.1:7860 street.jpg --clients 50 --each 4

Prints how many were answered, the latency, and how far the server's memory grew (Linux).
"""

import argparse
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


def measure(address: str, picture: bytes, num_clients: int, num_each: int) -> Measured:
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
                    answer = session.post(f"{address}/predict", content=picture)
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--each", type=int, default=4)
    parser.add_argument("--process", type=int, help="of the server, whose memory is measured")
    args = parser.parse_args()
    picture = args.picture.read_bytes()
    alone = measure(args.address, picture, 1, 5)
    before = peak_of(args.process) if args.process else 0.0
    started = time.perf_counter()
    many = measure(args.address, picture, args.clients, args.each)
    took = time.perf_counter() - started
    print(f"one client: median {np.median(alone.seconds):.3f} s")
    low, middle, high = np.percentile(many.seconds, (5, 50, 95))
    print(f"{args.clients} clients: {dict(many.statuses)}, {len(many.seconds) / took:.1f} a second")
    print(f"latency: 5 % {low:.2f} s, median {middle:.2f} s, 95 % {high:.2f} s")
    if args.process:
        print(f"memory: {before:.0f} MB with one client, {peak_of(args.process):.0f} MB with all")
    return 0 if set(many.statuses) == {200} else 1


if __name__ == "__main__":
    sys.exit(main())
