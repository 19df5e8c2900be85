"""1,000 tasks of 1 ms, each 50th of which kills its process with SIGKILL."""

from __future__ import annotations

from bench.bodies import kill_each_50th
from bench.cases.case import MESH, Case, Figures, Reach, check_failures, timed, times
from bench.peers.peer import Runner, Work

TASKS = 1000
WORK = Work(kill_each_50th, range(TASKS))


def measure(runner: Runner, variant: str, size: int, chunk: int | None) -> Figures:
    """Expect 980 right results and 20 deaths by SIGKILL."""
    answers, figures = timed(runner, lambda: runner.outcomes(WORK))
    check_failures(answers, set(range(49, TASKS, 50)), "crash", ("SIGKILL", "-9"))
    return figures


CASE = Case(
    "W6",
    "kills",
    "seconds for 1,000 tasks of 1 ms, each 50th SIGKILLs its process",
    measure,
    "seconds",
    less_is_better=True,
    peers=(MESH, "zmqtasks, crash_limit=1", "pebble"),
    sizes=(TASKS, TASKS),
    reaches=(Reach("half of pebble", lambda at: times(at(MESH, "seconds"), at("pebble", "seconds")), most=0.5),),
)
