"""How late a task is stopped that passed its limit, and whether it is told where it was.

Counted from the moment in which the task itself noted that it began, or that it held more than its `max_memory`, to the
death of the worker. One worker, one task after the other.
"""

from __future__ import annotations

import os
import select
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.cases.case import MESH, Case, Figures, Reach, centile
from bench.peers.peer import Peer
from bench.stuck import STUCK, note_start

LIMIT_S = 0.5
MEMORY_LIMIT = 200 * 2**20
PIECE = 2 * 2**20
ANSWER_S = 30.0
P50, P99, NAMED = "late_p50_s", "late_p99_s", "stack_names_the_function"
STUCK_TASKS, MEMORY = "stuck", "memory"


def allocate_on(path: str) -> None:
    """Allocate without end; the start that is noted is the moment in which the limit was passed."""
    pieces: list[bytes] = []
    page = os.sysconf("SC_PAGE_SIZE")
    while True:
        pieces.append(b"x" * PIECE)
        with open("/proc/self/statm") as file:
            resident = int(file.read().split()[1]) * page
        if resident > MEMORY_LIMIT and not os.path.exists(path):
            note_start(path)
        time.sleep(0.005)  # 400 MB/s: faster, and a small machine is full before the kill


def once(calls: Any, function: Callable[[str], Any], folder: Path) -> tuple[float, BaseException]:
    """Run one task that never ends; return how long it lived from the start it noted, and how it ended."""
    path = folder / f"{function.__name__}-{time.monotonic_ns()}"
    future = calls.submit(function, str(path))
    while not path.exists():
        time.sleep(0.001)
    pid, begun = path.read_text().split()
    pidfd = os.pidfd_open(int(pid))
    try:
        select.select([pidfd], [], [])
        seconds = time.monotonic() - float(begun)
    finally:
        os.close(pidfd)
    error = future.exception(ANSWER_S)
    assert error is not None
    return seconds, error


def measure(peer: Peer, variant: str, size: int, chunk: int | None) -> Figures:
    """Overrun so many times in each way, and return how late they were stopped."""
    import zmqtasks

    late, named, started = [], [], time.perf_counter()
    with zmqtasks.Client(workers=1) as client, tempfile.TemporaryDirectory() as folder:
        hasty, small = client.options(timeout=LIMIT_S), client.options(max_memory=MEMORY_LIMIT)
        for function in size * (STUCK if variant == STUCK_TASKS else (allocate_on,)):
            if variant == MEMORY:
                seconds, error = once(small, function, Path(folder))
                assert isinstance(error, zmqtasks.MemoryLimitExceeded), error
                late.append(seconds)
            else:
                seconds, error = once(hasty, function, Path(folder))
                assert isinstance(error, zmqtasks.TaskTimeout), error
                late.append(seconds - LIMIT_S)
                named.append(f"in {function.__name__}" in error.stack)
    figures = {"seconds": time.perf_counter() - started, P50: centile(late, 0.5), P99: centile(late, 0.99)}
    return {**figures, NAMED: sum(named) / len(named)} if named else figures


CASE = Case(
    "W7",
    "overruns",
    "seconds by which tasks that are stuck in six ways, and tasks that allocate, are stopped too late",
    measure,
    P99,
    less_is_better=True,
    variants=(STUCK_TASKS, MEMORY),
    sizes={STUCK_TASKS: (2, 2), MEMORY: (4, 4)},
    demand=None,
    reaches=(
        Reach("killed at the limit + 0.25 s", lambda at: at(MESH, P99, STUCK_TASKS), most=0.25, unit="s"),
        Reach("the stack names the function", lambda at: at(MESH, NAMED, STUCK_TASKS), least=0.99, unit=""),
        Reach("stopped at max_memory + 0.5 s", lambda at: at(MESH, P99, MEMORY), most=0.5, unit="s"),
    ),
    quick=(),
)
