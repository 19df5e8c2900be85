"""500 tasks, each in a process of its own."""

from __future__ import annotations

from bench.bodies import pid_of
from bench.cases.case import Bar, Case
from bench.peers import mesh, pebble_pool, std_pool
from bench.peers.peer import Answer, Work

TASKS = 500


def check(answers: list[Answer]) -> None:
    """Expect as many processes as tasks."""
    assert not [answer for answer in answers if answer.failure]
    assert len({answer.value for answer in answers}) == TASKS


CASE = Case(
    "fresh",
    "500 tasks, a fresh process each",
    Work(pid_of, range(TASKS), fresh=True),
    (mesh.PEER, std_pool.PEER, pebble_pool.PEER),
    check,
    Bar("zmqtasks", "multiprocessing.Pool", 1.0),
)
