"""The same work with all mishaps mixed, again and again: each time the same answers."""

from __future__ import annotations

from bench.bodies import misbehave, mishap_of
from bench.cases.case import Case
from bench.peers import mesh
from bench.peers.peer import Answer, Work

TASKS = 2000
FAILURES = {"raise": "error", "lock": "error", "die": "crash", "hang": "timeout"}


def check(answers: list[Answer]) -> None:
    """Expect the mishap of each task told on that task, and all other results."""
    assert len(answers) == TASKS
    for index, answer in enumerate(answers):
        expected = FAILURES.get(mishap_of(index), "")
        assert answer.failure == expected, (index, answer)
        assert expected or answer.value == index, (index, answer)


CASE = Case(
    "chaos",
    "2,000 tasks: exceptions, deaths of all kinds, endless loops, unpicklable results, floods of output, grandchildren",
    Work(misbehave, range(TASKS), timeout=1.0),
    (mesh.OBSERVED,),
    check,
)
