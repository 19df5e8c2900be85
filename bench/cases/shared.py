"""One array of 100 MB that 1,000 tasks look at: how often it is sent.

Each peer shares it in its own way. `once_s` is a plain call with the array as its argument, right before.
"""

from __future__ import annotations

import time

from bench.cases.case import LOCAL, MESH, Case, Figures, Reach
from bench.peers.peer import Cannot, Runner
from bench.work import add_first, first_of

TASKS = 1000
NBYTES = 100_000_000
TIMES = "times_once"


def measure(runner: Runner, variant: str, size: int, chunk: int | None) -> Figures:
    """Send the array once as an argument; then let many tasks look at it."""
    import numpy as np

    big = np.full(NBYTES // 8, 7.0)
    started = time.perf_counter()
    try:
        assert runner.call(first_of, big) == 7
        once_s = time.perf_counter() - started
    except Cannot:
        once_s = float("nan")
    big = np.full(NBYTES // 8, 9.0)
    started = time.perf_counter()
    results = list(runner.share(add_first, big, range(size)))
    seconds = time.perf_counter() - started
    assert results == list(range(9, size + 9))
    return {"seconds": seconds, "once_s": once_s, TIMES: seconds / once_s}


CASE = Case(
    "W11",
    "shared",
    "seconds for 1,000 tasks that share an argument of 100 MB",
    measure,
    "seconds",
    less_is_better=True,
    peers=LOCAL,
    sizes=(TASKS, TASKS),
    reaches=(Reach("2 x sending it once", lambda at: at(MESH, TIMES), most=2),),
)
