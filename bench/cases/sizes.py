"""From a thousand tasks to ten million: does a task cost more where there are many, and what does the client keep?"""

from __future__ import annotations

from pathlib import Path

from bench.cases.case import FUTURES, MESH, POOL, Case, Figures, Reach, rate, times
from bench.peers.peer import Runner
from bench.work import nothing

SIZES = {f"10^{power}": 10**power for power in range(3, 8)}
COST = "ns_a_task"
CHUNK = 5000
"""The best for those that want one, by the search of W2."""


def measure(runner: Runner, variant: str, size: int, chunk: int | None) -> Figures:
    """Map over a range, and note how much the memory of the client rose above what it was."""
    sum(runner.map(nothing, range(1000), None))
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = _status("VmRSS:")
    figures = rate(size, lambda: runner.map(nothing, range(size), CHUNK if runner.takes_chunks else None))
    return {**figures, COST: 1e9 * figures["seconds"] / size, "client_grew_mb": (_status("VmHWM:") - before) / 1e6}


def _status(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))


CASE = Case(
    "W13",
    "sizes",
    "nanoseconds a task, by map of a function that does nothing",
    measure,
    COST,
    less_is_better=True,
    peers=(MESH, FUTURES, POOL),
    variants=tuple(SIZES),
    sizes={variant: (size, size) for variant, size in SIZES.items()},
    reaches=(
        Reach("10^7: 1.2 x 10^5", lambda at: times(at(MESH, COST, "10^7"), at(MESH, COST, "10^5")), most=1.2),
        Reach("client grew at 10^7", lambda at: at(MESH, "client_grew_mb", "10^7"), unit="MB"),
    ),
    quick=("10^3", "10^5"),
)
