"""100 tasks that leak 50 MB each, and workers that are replaced at 500 MB: how much memory a worker ever held.

The peak of a worker is measured by the kernel (VmHWM), at the end of each of its tasks. What a task allocates comes on
top of the limit, because a worker leaves only after it.
"""

from __future__ import annotations

import os
import time

from bench.cases.case import MESH, Case, Figures, Reach
from bench.peers.peer import WORKERS, Peer

MB = 10**6
SIZE, LIMIT, ALLOWED_ABOVE = 50 * MB, 500 * MB, 64 * MB
TASKS = 100
PEAK = "most_peak_mb"
_leaked: list[bytearray] = []


def leak(nbytes: int) -> tuple[int, int]:
    """Keep memory that is really there; return the process and the most it ever held."""
    _leaked.append(bytearray(b"x") * nbytes)
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    return os.getpid(), peak


def measure(peer: Peer, variant: str, size: int, chunk: int | None) -> Figures:
    """Expect all results, and tell the highest peak."""
    import zmqtasks

    with zmqtasks.Client(workers=WORKERS, recycle_memory=LIMIT) as client:
        started = time.perf_counter()
        results = list(client.map(leak, [SIZE] * size))
        seconds = time.perf_counter() - started
    assert len(results) == size
    processes = {pid for pid, _ in results}
    return {"seconds": seconds, PEAK: max(peak for _, peak in results) / MB, "workers_used": len(processes)}


CASE = Case(
    "W8",
    "leaks",
    "megabytes that a worker ever held, of 100 tasks that leak 50 MB each, recycled at 500 MB",
    measure,
    PEAK,
    less_is_better=True,
    sizes=(TASKS, TASKS),
    demand=None,
    reaches=(
        Reach(
            "highest peak: limit + task + 64 MB",
            lambda at: at(MESH, PEAK),
            most=(LIMIT + SIZE + ALLOWED_ABOVE) / MB,
            unit="MB",
        ),
    ),
)
