"""20,000 tasks, 1,000 of which die, of all kinds: nothing lost, no innocent blamed, the next worker soon there."""

from __future__ import annotations

import zmqtasks
from bench.bodies import death_of, die_each_20th
from bench.cases.case import Case
from bench.peers import mesh
from bench.peers.peer import Answer, Work

TASKS = 20_000
EACH = 20
ENDS = {
    "segfault": (11, None),
    "kill": (9, None),
    "abort": (6, None),
    "exit_hard": (None, 3),
    "overflow_the_stack": (11, None),
    "exit_softly": (None, 4),
    "DiesWhenSent": (9, None),
}


def check(answers: list[Answer]) -> None:
    """Expect each death told on its own task, with its signal or exit code, and all other results."""
    assert len(answers) == TASKS
    for index, answer in enumerate(answers):
        death = death_of(index, EACH)
        if death is None:
            assert (answer.failure, answer.value) == ("", index), (index, answer)
        else:
            assert isinstance(answer.error, zmqtasks.WorkerCrashed), (index, answer)
            assert (answer.error.signal, answer.error.exit_code) == ENDS[death.__name__], (index, answer)


CASE = Case(
    "deaths",
    "20,000 tasks, 1,000 of which die, of all kinds",
    Work(die_each_20th, range(TASKS)),
    (mesh.OBSERVED,),
    check,
)
