"""Tasks that compute: how much of two cores reaches them, and whether all workers end together.

A task burns a fixed amount of processor time. `share` is the ideal time by the time taken. The ideal is what handing
out one task at a time in the given order would take if it cost nothing: nobody knows beforehand which tasks are long.
The bare pipe, which is told, runs the ideal schedule for real, on the machine as it is at that time.
"""

from __future__ import annotations

import random
import time

from bench.cases.case import BEST, FUTURES, LOCAL, MESH, PIPE, Case, Figures, Reach, times
from bench.peers.peer import WORKERS, Demand, Runner
from bench.work import burn

SHARE = "share"
SHORT, LONG, EVEN = 0.001, 0.5, 0.005
MIX = [SHORT] * 400 + [LONG] * 4
ORDERS = {
    "5 ms": [EVEN] * 300,
    "mix, shuffled": random.Random(1).sample(MIX, len(MIX)),
    "mix, long last": MIX,
    "mix, long first": MIX[::-1],
}


def ideal_s(seconds: list[float]) -> float:
    """Return when the last worker ends if each takes the next task at once."""
    free = [0.0] * WORKERS
    for each in seconds:
        first = min(range(WORKERS), key=lambda worker: free[worker])
        free[first] += each
    return max(free)


def measure(runner: Runner, variant: str, size: int, chunk: int | None) -> Figures:
    """Burn processor time, and tell which share of the ideal was reached."""
    order = ORDERS[variant]
    started = time.perf_counter()
    results = list(runner.map(burn, order, chunk))
    seconds = time.perf_counter() - started
    assert sorted(results) == sorted(order)
    return {"seconds": seconds, SHARE: ideal_s(order) / seconds}


def _best(variant: str) -> Reach:
    return Reach(
        f"{variant}: 0.9 x the best static chunk size",
        lambda at: times(at(MESH, SHARE, variant), at(BEST, SHARE, variant)),
        least=0.9,
    )


def _ideal(variant: str) -> Reach:
    return Reach(
        f"{variant}: 0.95 x the ideal schedule, run by two bare processes",
        lambda at: times(at(MESH, SHARE, variant), at(PIPE, SHARE, variant)),
        least=0.95,
    )


CASE = Case(
    "W5",
    "balance",
    "share of the ideal time that tasks of 5 ms, and a mix of 400 of 1 ms and 4 of 500 ms, are computed in",
    measure,
    SHARE,
    peers=(*(peer for peer in LOCAL if peer != "bare pyzmq"), BEST),
    variants=tuple(ORDERS),
    chunks=(1, 5, 20, 100),
    demand=Demand(short=False),
    reaches=(
        Reach(
            "5 ms: 0.97 x two bare processes",
            lambda at: times(at(MESH, SHARE, "5 ms"), at(PIPE, SHARE, "5 ms")),
            least=0.97,
        ),
        Reach("5 ms, for comparison: concurrent.futures", lambda at: at(FUTURES, SHARE, "5 ms"), unit=""),
        *(_ideal(variant) for variant in ORDERS if variant != "5 ms"),
        *(_best(variant) for variant in ORDERS),
    ),
    quick=("5 ms",),
)
