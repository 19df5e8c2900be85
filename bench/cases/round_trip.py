"""One call, and waiting for its result before the next: what a thread wakes, and how late."""

from __future__ import annotations

import time

from bench.cases.case import FUTURES, LOCAL, MESH, PIPE, POOL, ZMQ, Case, Figures, Reach, centile, times
from bench.peers.peer import Runner
from bench.work import nothing

P50, P99 = "p50_us", "p99_us"


def measure(runner: Runner, variant: str, size: int, chunk: int | None) -> Figures:
    """Make calls one after the other, and time each."""
    took_us = []
    clock = time.perf_counter
    for number in range(size):
        started = clock()
        result = runner.call(nothing, number)
        took_us.append(1e6 * (clock() - started))
        assert result == number
    return {"seconds": sum(took_us) / 1e6, P50: centile(took_us, 0.5), P99: centile(took_us, 0.99)}


CASE = Case(
    "W3",
    "round_trip",
    "microseconds from a call to its result, one after the other",
    measure,
    P50,
    less_is_better=True,
    peers=LOCAL,
    sizes=(5, 2000),
    reaches=(
        Reach("p50: concurrent.futures", lambda at: times(at(MESH, P50), at(FUTURES, P50)), most=1),
        Reach(
            "p50: 2 x (bare pyzmq + bare pipe)",
            lambda at: times(at(MESH, P50), [a + b for a, b in zip(at(ZMQ, P50), at(PIPE, P50), strict=False)]),
            most=2,
        ),
        Reach("aim, p50: Pool", lambda at: times(at(MESH, P50), at(POOL, P50)), most=1),
        Reach("p99: 2.5 x p50", lambda at: times(at(MESH, P99), at(MESH, P50)), most=2.5),
    ),
)
