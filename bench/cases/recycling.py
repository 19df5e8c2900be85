"""What it costs to replace each worker after 100 tasks of 1 ms: throughput with and without, interleaved.

Tasks are once asleep and once computing: a new process takes some milliseconds of processor time, which shows where
tasks compute and there are as many workers as cores, and not where a core is free.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from bench.cases.case import MESH, Case, Figures, Reach, median
from bench.peers.peer import WORKERS, Peer

TASK_S = 0.001
LIFE = 100
TASKS, WARM_UP = 1500, 300
PAIRS = 2
RATIO = "with_by_without"


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


def rate(client: Any, function: Callable[[int], tuple[int, int]], tasks: int) -> tuple[float, int]:
    """Return tasks a second, and how many processes ran them."""
    started = time.perf_counter()
    results = list(client.map(function, range(tasks)))
    seconds = time.perf_counter() - started
    assert [value for value, _ in results] == list(range(tasks))
    return tasks / seconds, len({pid for _, pid in results})


def measure(peer: Peer, variant: str, size: int, chunk: int | None) -> Figures:
    """Run both clients in turn, in an order that changes, and return the ratio of their rates."""
    import zmqtasks

    function, started = KINDS[variant], time.perf_counter()
    ratios, lives = [], []
    with (
        zmqtasks.Client(workers=WORKERS) as steady,
        zmqtasks.Client(workers=WORKERS, max_tasks_per_worker=LIFE) as fresh,
    ):
        for client in (steady, fresh):
            rate(client, function, WARM_UP)
        for pair in range(PAIRS):
            order = (fresh, steady) if pair % 2 else (steady, fresh)
            found = {client: rate(client, function, size) for client in order}
            ratios.append(found[fresh][0] / found[steady][0])
            lives.append(size / found[fresh][1])
    return {"seconds": time.perf_counter() - started, RATIO: median(ratios), "tasks_a_process": median(lives)}


CASE = Case(
    "W9",
    "recycling",
    "throughput with max_tasks_per_worker=100 by throughput without, on tasks of 1 ms",
    measure,
    RATIO,
    variants=tuple(KINDS),
    sizes=(TASKS, TASKS),
    demand=None,
    reaches=tuple(
        Reach(f"{kind}: costs less than 2 %", lambda at, kind=kind: at(MESH, RATIO, kind), least=0.98)  # type: ignore[misc]
        for kind in KINDS
    ),
    quick=(),
)
