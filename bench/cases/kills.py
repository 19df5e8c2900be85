"""1,000 tasks of 1 ms, each 50th of which kills its process with SIGKILL."""

from __future__ import annotations

from bench.bodies import kill_each_50th
from bench.cases.case import Bar, Case, check_failures
from bench.peers import mesh, pebble_pool
from bench.peers.peer import Answer, Work

TASKS = 1000


def check(answers: list[Answer]) -> None:
    """Expect 980 right results and 20 deaths by SIGKILL."""
    check_failures(answers, set(range(49, TASKS, 50)), "crash", ("SIGKILL", "-9"))


CASE = Case(
    "kills",
    "1,000 tasks of 1 ms, each 50th SIGKILLs its process",
    Work(kill_each_50th, range(TASKS)),
    (mesh.PEER, mesh.NO_SECOND_TRY, pebble_pool.PEER),
    check,
    Bar("zmqtasks", "pebble", 0.5),
)
