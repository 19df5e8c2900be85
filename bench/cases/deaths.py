"""20,000 tasks, 1,000 of which die, of all kinds: nothing lost, no innocent blamed, the next worker soon there."""

from __future__ import annotations

from bench.bodies import death_of, die_each_20th
from bench.cases.case import Case, Figures, Reach, timed
from bench.peers.peer import Answer, Runner, Work

TASKS = 20_000
WORK = Work(die_each_20th, range(TASKS))
PEER = "zmqtasks, observed"
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


def measure(runner: Runner, variant: str, size: int, chunk: int | None) -> Figures:
    """Run the tasks, and tell how long workers were missing."""
    answers, figures = timed(runner, lambda: runner.outcomes(WORK))
    check(answers)
    return figures


def check(answers: list[Answer]) -> None:
    """Expect each death told on its own task, with its signal or exit code, and all other results."""
    import zmqtasks

    assert len(answers) == TASKS
    for index, answer in enumerate(answers):
        death = death_of(index, EACH)
        if death is None:
            assert (answer.failure, answer.value) == ("", index), (index, answer)
        else:
            assert isinstance(answer.error, zmqtasks.WorkerCrashed), (index, answer)
            assert (answer.error.signal, answer.error.exit_code) == ENDS[death.__name__], (index, answer)


CASE = Case(
    "W6",
    "deaths",
    "seconds for 20,000 tasks, 1,000 of which die, of all kinds; milliseconds until a worker serves again",
    measure,
    "seconds",
    less_is_better=True,
    peers=(PEER,),
    sizes=(TASKS, TASKS),
    repeats=3,
    reaches=(
        Reach("a new worker is ready: median 10 ms", lambda at: at(PEER, "ready_ms_p50"), most=10, unit="ms"),
        Reach("a new worker is ready: p99 50 ms", lambda at: at(PEER, "ready_ms_p99"), most=50, unit="ms"),
        Reach("for comparison: a standby serves, median", lambda at: at(PEER, "served_ms_p50"), unit="ms"),
    ),
    quick=(),
)
