"""Calls that are handed over one by one, and do nothing: what a task costs."""

from __future__ import annotations

from bench.cases.case import FUTURES, LOCAL, MESH, POOL, Case, Figures, Reach, rate, times
from bench.peers.peer import Runner
from bench.work import nothing

RATE = "tasks_a_second"


def measure(runner: Runner, variant: str, size: int, chunk: int | None) -> Figures:
    """Submit each call by itself and collect all results."""
    return rate(size, lambda: runner.submit(nothing, range(size)))


CASE = Case(
    "W1",
    "submit",
    "calls a second, handed over one by one, all results collected",
    measure,
    RATE,
    peers=tuple(peer for peer in LOCAL if peer != "joblib"),
    sizes=(20, 300_000),
    reaches=(
        Reach("10 x concurrent.futures", lambda at: times(at(MESH, RATE), at(FUTURES, RATE)), least=10),
        Reach("4 x Pool.apply_async", lambda at: times(at(MESH, RATE), at(POOL, RATE)), least=4),
        Reach("aim: 100,000/s", lambda at: at(MESH, RATE), least=100_000, unit="/s"),
    ),
)
