"""200 tasks of 10 ms, 5 of which never end, with a timeout of 1 s."""

from __future__ import annotations

from bench.bodies import endless_each_40th
from bench.cases.case import Bar, Case, check_failures
from bench.peers import mesh, pebble_pool
from bench.peers.peer import Answer, Work

TASKS = 200


def check(answers: list[Answer]) -> None:
    """Expect 195 right results and 5 timeouts."""
    check_failures(answers, set(range(39, TASKS, 40)), "timeout", ("",))


CASE = Case(
    "endless",
    "200 tasks of 10 ms, 5 endless, timeout 1 s",
    Work(endless_each_40th, range(TASKS), timeout=1.0),
    (mesh.PEER, pebble_pool.PEER),
    check,
    Bar("zmqtasks", "pebble", 1.0),
)
