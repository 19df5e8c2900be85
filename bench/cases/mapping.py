"""Many calls at once that do nothing: what a task costs where its neighbours travel with it."""

from __future__ import annotations

from bench.cases.case import BEST, FUTURES, LOCAL, MESH, POOL, Case, Figures, Reach, rate, times
from bench.peers.peer import Runner
from bench.work import nothing

RATE = "tasks_a_second"


def measure(runner: Runner, variant: str, size: int, chunk: int | None) -> Figures:
    """Map over a range and collect all results."""
    return rate(size, lambda: runner.map(nothing, range(size), chunk))


CASE = Case(
    "W2",
    "mapping",
    "calls a second, by map; zmqtasks is given no chunk size, others the best one found by search",
    measure,
    RATE,
    peers=(*LOCAL, BEST),
    sizes=(20, 2_000_000),
    chunks=(20, 200, 1000, 5000, 20_000, 100_000),
    reaches=(
        Reach("concurrent.futures' best", lambda at: times(at(MESH, RATE), at(FUTURES, RATE)), least=1),
        Reach("aim: Pool.map's best", lambda at: times(at(MESH, RATE), at(POOL, RATE)), least=1),
        Reach("0.9 x the best static chunk size", lambda at: times(at(MESH, RATE), at(BEST, RATE)), least=0.9),
    ),
)
