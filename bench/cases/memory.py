"""Tasks that allocate without end, beside good ones: who survives.

    python -m bench.cases.memory [--rounds 20] [--out bench/results/memory.jsonl]

Each round sends four tasks that allocate until they are stopped and two hundred of 5 ms to a node with two workers and
512 MiB of memory; every other round limits each task to 200 MiB instead. Supervisor and good tasks have to survive, the
bad ones to end as MemoryLimitExceeded. A line a round, and a summary.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from typing import Any

import zmqtasks
from zmqtasks.errors import MemoryLimitExceeded
from zmqtasks.options import MIB

BAD, GOOD = 4, 200
MOST_MIB = 2048
"""A bad task that nobody stops ends itself: the machine shall survive the bench."""


def devour(step_mib: int) -> None:
    """Allocate without end."""
    held: list[bytearray] = []
    while len(held) * step_mib < MOST_MIB:
        held.append(bytearray(b"x") * (step_mib * MIB))
    raise AssertionError("nobody stopped it")


def square(value: int) -> int:
    """Work for 5 ms."""
    time.sleep(0.005)
    return value * value


def play(client: zmqtasks.Client, node: int, a_task: int | None) -> dict[str, Any]:
    """Play one round and return its record."""
    started = time.monotonic()
    bad = [client.options(max_memory=a_task).submit(devour, 4 + 4 * (n % 2)) for n in range(BAD)]
    good = [client.submit(square, n) for n in range(GOOD)]
    right = sum(future.result(120) == n * n for n, future in enumerate(good))
    ends = [future.exception(120) for future in bad]
    peaks = [end.peak_bytes for end in ends if isinstance(end, MemoryLimitExceeded)]
    return {
        "limit": "task" if a_task else "node",
        "good_right": right,
        "bad_ended_so": len(peaks),
        "most_peak_mib": round(max(peaks, default=0) / MIB),
        "node_survived": client.submit(os.getppid).result(60) == node,
        "seconds": round(time.monotonic() - started, 2),
    }


def main() -> None:
    """Play all rounds, print a line each and a summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", default=None, help="append the summary to this file")
    arguments = parser.parse_args()
    rounds = []
    with zmqtasks.Client(workers=2, memory="512 MiB") as client:
        node = client.submit(os.getppid).result(60)
        for n in range(arguments.rounds):
            rounds.append(play(client, node, 200 * MIB if n % 2 else None))
            print(json.dumps(rounds[-1]), flush=True)
    survived = [r for r in rounds if r["node_survived"] and r["good_right"] == GOOD and r["bad_ended_so"] == BAD]
    summary = {
        "date": time.strftime("%Y-%m-%d"),
        "case": "memory",
        "rounds": len(rounds),
        "survived": len(survived),
        "most_peak_mib": max(r["most_peak_mib"] for r in rounds),
        "seconds_median": statistics.median(r["seconds"] for r in rounds),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "zmqtasks": zmqtasks.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }
    print(json.dumps(summary))
    if arguments.out:
        with open(arguments.out, "a") as file:
            file.write(json.dumps(summary) + "\n")


if __name__ == "__main__":
    main()
