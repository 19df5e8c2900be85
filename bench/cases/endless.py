"""200 tasks of 10 ms, 5 of which never end, with a timeout of 1 s."""

from __future__ import annotations

from bench.bodies import endless_each_40th
from bench.cases.case import MESH, Case, Figures, Reach, check_failures, timed, times
from bench.peers.peer import Runner, Work

TASKS = 200
WORK = Work(endless_each_40th, range(TASKS), timeout=1.0)


def measure(runner: Runner, variant: str, size: int, chunk: int | None) -> Figures:
    """Expect 195 right results and 5 timeouts."""
    answers, figures = timed(runner, lambda: runner.outcomes(WORK))
    check_failures(answers, set(range(39, TASKS, 40)), "timeout", ("",))
    return figures


CASE = Case(
    "W7",
    "endless",
    "seconds for 200 tasks of 10 ms, 5 of them endless, with a timeout of 1 s",
    measure,
    "seconds",
    less_is_better=True,
    peers=(MESH, "pebble"),
    sizes=(TASKS, TASKS),
    reaches=(Reach("pebble", lambda at: times(at(MESH, "seconds"), at("pebble", "seconds")), most=1),),
    quick=(),
)
