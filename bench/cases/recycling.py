"""What it costs to replace each worker after a number of tasks: throughput with and without, interleaved.

    python -m bench.cases.recycling [--repeats 9] [--tasks 4000] [--life 100] [--workers 2]
        [--out bench/results/recycling.jsonl]

Tasks take 1 ms, once asleep and once computing. A new process takes some milliseconds of processor time; that shows
where tasks compute and there are as many workers as cores, and not where a core is free. Each repeat runs both clients,
one after the other, in an order that changes; quote the median of the ratios, and their spread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable

import zmqtasks

TASK_S = 0.001


def asleep(value: int) -> tuple[int, int]:
    """Sleep for a millisecond; return the value and the process."""
    time.sleep(TASK_S)
    return value, os.getpid()


def computing(value: int) -> tuple[int, int]:
    """Compute for a millisecond; return the value and the process."""
    end = time.perf_counter() + TASK_S
    while time.perf_counter() < end:
        pass
    return value, os.getpid()


KINDS: dict[str, Callable[[int], tuple[int, int]]] = {"asleep": asleep, "computing": computing}


def rate(client: zmqtasks.Client, function: Callable[[int], tuple[int, int]], tasks: int) -> tuple[float, int]:
    """Return tasks a second, and how many processes ran them."""
    started = time.perf_counter()
    results = list(client.map(function, range(tasks)))
    took_s = time.perf_counter() - started
    assert [value for value, _ in results] == list(range(tasks))
    return tasks / took_s, len({pid for _, pid in results})


def measure(repeats: int, tasks: int, life: int, workers: int) -> dict[str, dict[str, object]]:
    """Return for each kind of task the rates and the ratio with / without."""
    found: dict[str, dict[str, object]] = {}
    with (
        zmqtasks.Client(workers=workers) as steady,
        zmqtasks.Client(workers=workers, max_tasks_per_worker=life) as fresh,
    ):
        for kind, function in KINDS.items():
            clients = {"without": steady, "with": fresh}
            rates: dict[str, list[float]] = {name: [] for name in clients}
            lives: list[float] = []
            for client in clients.values():
                rate(client, function, 500)
            for repeat in range(repeats):
                for name in sorted(clients, reverse=bool(repeat % 2)):
                    speed, processes = rate(clients[name], function, tasks)
                    rates[name].append(speed)
                    if name == "with":
                        lives.append(tasks / processes)
            ratios = [a / b for a, b in zip(rates["with"], rates["without"], strict=True)]
            found[kind] = {
                "tasks_a_second": {name: _spread(values, 0) for name, values in rates.items()},
                "with_by_without": _spread(ratios, 4),
                "tasks_a_process": round(statistics.mean(lives), 1),
            }
    return found


def _spread(values: list[float], digits: int) -> dict[str, float]:
    quartiles = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    names = ("least", "quartile_1", "median", "quartile_3", "most")
    figures = (min(values), quartiles[0], statistics.median(values), quartiles[2], max(values))
    return {name: round(figure, digits) for name, figure in zip(names, figures, strict=True)}


def main() -> None:
    """Measure, print, and append the record to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--tasks", type=int, default=4000)
    parser.add_argument("--life", type=int, default=100, help="max_tasks_per_worker")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", default=None, help="append the record to this file")
    given = parser.parse_args()
    record = {
        "case": "recycling",
        "date": time.strftime("%Y-%m-%d"),
        **measure(given.repeats, given.tasks, given.life, given.workers),
        "repeats": given.repeats,
        "tasks": given.tasks,
        "max_tasks_per_worker": given.life,
        "task_s": TASK_S,
        "workers": given.workers,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 1),
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
