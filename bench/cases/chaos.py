"""The same work with all mishaps mixed, again and again: each time the same answers."""

from __future__ import annotations

from bench.bodies import misbehave, mishap_of
from bench.cases.case import Case, Figures, timed
from bench.peers.peer import Runner, Work

TASKS = 2000
WORK = Work(misbehave, range(TASKS), timeout=1.0)
FAILURES = {"raise": "error", "lock": "error", "die": "crash", "hang": "timeout"}


def measure(runner: Runner, variant: str, size: int, chunk: int | None) -> Figures:
    """Expect the mishap of each task told on that task, and all other results."""
    answers, figures = timed(runner, lambda: runner.outcomes(WORK))
    assert len(answers) == TASKS
    for index, answer in enumerate(answers):
        expected = FAILURES.get(mishap_of(index), "")
        assert answer.failure == expected, (index, answer)
        assert expected or answer.value == index, (index, answer)
    return figures


CASE = Case(
    "W6",
    "chaos",
    "seconds for 2,000 tasks: exceptions, deaths of all kinds, endless loops, unpicklable results, floods of output",
    measure,
    "seconds",
    less_is_better=True,
    peers=("zmqtasks, observed",),
    sizes=(TASKS, TASKS),
    quick=(),
)
