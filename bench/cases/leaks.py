"""Tasks that leak, and workers that are replaced before it hurts: how much memory a worker ever held.

    python -m bench.cases.leaks [--tasks 100] [--size-mb 50] [--limit-mb 500] [--out bench/results/leaks.jsonl]

Each task keeps so much memory for good. All have to succeed; the peak of a worker is measured by the kernel (VmHWM), at
the end of each of its tasks. What a task allocates comes on top of the limit, because a worker leaves only after it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence

import zmqtasks

MB = 10**6
ALLOWED_ABOVE = 64 * MB
_leaked: list[bytearray] = []


def leak(size: int) -> tuple[int, int]:
    """Keep memory that is really there; return the process and the most it ever held."""
    _leaked.append(bytearray(b"x") * size)
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    return os.getpid(), peak


def summary(results: Sequence[tuple[int, int]], size: int, limit: int) -> dict[str, object]:
    """Return what is to be told of a run."""
    peaks: dict[int, int] = {}
    for pid, peak in results:
        peaks[pid] = max(peak, peaks.get(pid, 0))
    highest = max(peaks.values())
    return {
        "succeeded": len(results),
        "workers_used": len(peaks),
        "highest_peak_mb": round(highest / MB, 1),
        "above_limit_and_task_mb": round((highest - limit - size) / MB, 1),
        "within_reach": highest <= limit + size + ALLOWED_ABOVE,
    }


def main() -> None:
    """Measure, print, and append the record to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--size-mb", type=int, default=50)
    parser.add_argument("--limit-mb", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", default=None, help="append the record to this file")
    given = parser.parse_args()
    size, limit = given.size_mb * MB, given.limit_mb * MB
    with zmqtasks.Client(workers=given.workers, recycle_memory=limit) as client:
        started = time.perf_counter()
        results = list(client.map(leak, [size] * given.tasks))
        took_s = time.perf_counter() - started
    record = {
        "case": "leaks",
        "date": time.strftime("%Y-%m-%d"),
        **summary(results, size, limit),
        "seconds": round(took_s, 2),
        "tasks": given.tasks,
        "size_mb": given.size_mb,
        "limit_mb": given.limit_mb,
        "workers": given.workers,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "zmqtasks": zmqtasks.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }
    if given.out:
        with open(given.out, "a") as file:
            file.write(json.dumps(record) + "\n")
    json.dump(record, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
