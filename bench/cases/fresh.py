"""500 tasks, each in a process of its own."""

from __future__ import annotations

from bench.bodies import pid_of
from bench.cases.case import FUTURES, MESH, POOL, Case, Figures, Reach, timed, times
from bench.peers.peer import Demand, Runner, Work

TASKS = 500
WORK = Work(pid_of, range(TASKS))
RATE = "tasks_a_second"


def measure(runner: Runner, variant: str, size: int, chunk: int | None) -> Figures:
    """Expect as many processes as tasks."""
    answers, figures = timed(runner, lambda: runner.outcomes(WORK))
    assert not [answer for answer in answers if answer.failure]
    assert len({answer.value for answer in answers}) == TASKS
    return {**figures, RATE: TASKS / figures["seconds"]}


CASE = Case(
    "W9",
    "fresh",
    "tasks a second, a fresh process each",
    measure,
    RATE,
    peers=(MESH, FUTURES, POOL, "pebble"),
    sizes=(TASKS, TASKS),
    demand=Demand(fresh=True),
    reaches=(Reach("Pool(maxtasksperchild=1)", lambda at: times(at(MESH, RATE), at(POOL, RATE)), least=1),),
    quick=(),
)
