"""How many calls a second: zmqtasks beside concurrent.futures, interleaved in one process tree.

    python -m bench.calls [--repeats 7] [--tasks 200000] [--out bench/results/calls.jsonl]

The function does nothing and is importable; results are collected and checked. Figures are calls a second; quote the
median of the ratios, which compare runs that stood next to each other.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

import zmqtasks

WORKERS = 2
BEST_CHUNKSIZE = 5000
"""Of 1 to 50,000, the fastest for concurrent.futures on the no-op; it has to be found by the user."""
Case = Callable[[int], int]


def nothing(value: int) -> int:
    """Do nothing, in a worker."""
    return value


def cases(client: zmqtasks.Client, pool: concurrent.futures.Executor) -> dict[str, tuple[Case, float]]:
    """Return what is measured, with the share of the tasks that keeps each run about a second."""

    def submit(executor: concurrent.futures.Executor) -> Case:
        def run(tasks: int) -> int:
            return sum(future.result() for future in [executor.submit(nothing, i) for i in range(tasks)])

        return run

    return {
        "map zmqtasks": (lambda n: sum(client.map(nothing, range(n))), 5.0),
        "map concurrent.futures, best chunksize": (
            lambda n: sum(pool.map(nothing, range(n), chunksize=BEST_CHUNKSIZE)),
            5.0,
        ),
        "map concurrent.futures": (lambda n: sum(pool.map(nothing, range(n))), 0.05),
        "submit zmqtasks": (submit(client), 0.25),
        "submit concurrent.futures": (submit(pool), 0.05),
    }


def measure(repeats: int, tasks: int) -> dict[str, list[float]]:
    """Return calls a second of each case, a figure a repeat."""
    rates: dict[str, list[float]] = {}
    with zmqtasks.Client(workers=WORKERS) as client, concurrent.futures.ProcessPoolExecutor(WORKERS) as pool:
        todo = cases(client, pool)
        for run, _ in todo.values():
            run(1000)
        for _ in range(repeats):
            for name, (run, share) in todo.items():
                number = int(tasks * share)
                started = time.perf_counter()
                total = run(number)
                rates.setdefault(name, []).append(number / (time.perf_counter() - started))
                assert total == number * (number - 1) // 2, name
    return rates


def record(rates: dict[str, list[float]]) -> dict[str, object]:
    """Return one record: medians, spread, ratios, and where they were measured."""
    figures = {
        name: {"median": round(statistics.median(r)), "least": round(min(r)), "most": round(max(r))}
        for name, r in rates.items()
    }
    pairs = {
        "map, beside the best chunksize": ("map zmqtasks", "map concurrent.futures, best chunksize"),
        "map, no chunksize": ("map zmqtasks", "map concurrent.futures"),
        "submit": ("submit zmqtasks", "submit concurrent.futures"),
    }
    ratios = {
        name: round(statistics.median(a / b for a, b in zip(rates[ours], rates[theirs], strict=True)), 2)
        for name, (ours, theirs) in pairs.items()
    }
    return {
        "date": time.strftime("%Y-%m-%d"),
        "calls_a_second": figures,
        "ratio_median": ratios,
        "repeats": len(next(iter(rates.values()))),
        "workers": WORKERS,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "zmqtasks": zmqtasks.__version__,
        "pyzmq": version("pyzmq"),
        "system": f"{platform.system()} {platform.machine()}",
    }


def main() -> None:
    """Measure, print, and append the record to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--tasks", type=int, default=200_000)
    parser.add_argument("--out", default=None, help="append the record to this file")
    arguments = parser.parse_args()
    line = json.dumps(record(measure(arguments.repeats, arguments.tasks)))
    if arguments.out:
        with open(arguments.out, "a") as file:
            file.write(line + "\n")
    json.dump(json.loads(line), sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
