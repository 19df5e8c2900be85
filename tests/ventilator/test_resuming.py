"""A ventilator resumes from a journal: which job it is, whether its tasks are the same, what comes too early."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from zmqtasks.errors import JournalMismatch
from zmqtasks.machines import dispatch_moves as moves
from zmqtasks.machines.collection import Record
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId, Outcome, OutcomeKind, Settled
from zmqtasks.options import TaskOptions
from zmqtasks.testing import FakeClock
from zmqtasks.testing.journal import MemoryJournal, Pages
from zmqtasks.ventilator.resuming import Kin, Resuming
from zmqtasks.wire.fingerprint import fingerprint
from zmqtasks.wire.payload import Form

PLAIN = TaskOptions()
MAP = Kin("map", "code")


class Programs:
    """One life after the other on the same pages."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.pages = Pages("peer")
        self.released: list[tuple[int, int]] = []

    def live(self) -> Resuming:
        self.released = []
        self.journal = MemoryJournal(self.pages, self.clock)
        return Resuming(self.journal)

    def add(self, life: Resuming, job: JobId, items: Sequence[Any], form: Form = Form.ONE) -> None:
        life.add(job, items, form, (), lambda a, b: self.released.append((a, b)))

    def write(self) -> None:
        self.clock.advance(1.0)

    def begin(self, items: Sequence[Any], options: TaskOptions = PLAIN, *ended: tuple[int, int]) -> JobId:
        """Live once: a job with these tasks, some of which have ended."""
        life = self.live()
        job = life.open("work", options, MAP)
        self.add(life, job, items)
        done = [Record(Outcome(job, 1, "n", a, b, OutcomeKind.OK, 1.0), a, b) for a, b in ended]
        life.journal.write(lambda: done)
        self.write()
        self.journal.die()
        return job


@pytest.fixture
def programs() -> Programs:
    return Programs()


def test_a_task_is_released_when_it_is_written_and_not_before(programs: Programs) -> None:
    life = programs.live()
    job = life.open("work", PLAIN, MAP)
    programs.add(life, job, range(10))
    programs.add(life, job, range(5))
    assert programs.released == []
    programs.write()
    assert programs.released == [(0, 10), (10, 15)]
    assert [(b.start, b.stop) for b in programs.pages.blocks[job]] == [(0, 10), (10, 15)]


def test_a_later_life_goes_on_and_knows_what_is_done(programs: Programs) -> None:
    job = programs.begin(range(10), PLAIN, (2, 4))
    life = programs.live()
    assert life.open("work", TaskOptions(timeout=9), MAP) == job
    assert life.totals(job) == (10, 2)
    programs.add(life, job, range(12))
    assert programs.released == [(0, 10)]
    events = life.released(job, 0, 10)
    assert events == [moves.TasksRecorded(job, 2, 4), moves.TasksDoubted(job, 0, 10), moves.TasksAdded(job, 10)]
    programs.write()
    assert programs.released[1:] == [(10, 12)]
    assert life.released(job, 10, 12) == [moves.TasksAdded(job, 2)]


def test_who_has_results_elsewhere_says_what_is_done(programs: Programs) -> None:
    job = programs.begin(range(10), PLAIN, (2, 4))
    life = programs.live()
    life.open("work", PLAIN, Kin("map", "code", lambda job: RangeSet([(0, 9)])))
    assert life.totals(job) == (10, 9)


def test_at_most_once_only_what_was_perhaps_sent_is_in_doubt(programs: Programs) -> None:
    once = TaskOptions(retry=False)
    life = programs.live()
    job = life.open("work", once, MAP)
    programs.add(life, job, range(10))
    assert life.is_at_most_once(job)
    life.write_sent([(job, 3), (job, 6)], lambda: programs.released.append((-1, -1)))
    programs.write()
    assert programs.released == [(0, 10), (-1, -1)]
    life = programs.live()
    life.open("work", once, MAP)
    programs.add(life, job, range(10))
    assert moves.TasksDoubted(job, 0, 6) in life.released(job, 0, 10)


UNEQUAL = object()
PIECES: list[Callable[[], list[Any]]] = [
    lambda: list(range(40)),
    lambda: [float("nan"), 1.5] * 20,
    lambda: [{"a": [number, "x"], "b": None} for number in range(40)],
    lambda: [{f"{letter}", "b"} for letter in "abcdefgh" * 5],
    lambda: [lambda: 1] * 3 + [threading.Lock()] + [2] * 36,
]


@pytest.mark.parametrize("make", PIECES)
@pytest.mark.parametrize("step", [1, 7, 40])
def test_the_same_tasks_may_come_in_other_pieces(programs: Programs, make: Callable[[], list[Any]], step: int) -> None:
    job = programs.begin(make())
    life = programs.live()
    life.open("work", PLAIN, MAP)
    again = make()
    for start in range(0, 40, step):
        programs.add(life, job, again[start : start + step])
    assert RangeSet(programs.released) == RangeSet([(0, 40)])


@pytest.mark.parametrize("step", [1, 7, 40])
@pytest.mark.parametrize("other", [99, 5.0, True, "5", None, (5,)])
def test_other_tasks_are_refused_and_named(programs: Programs, step: int, other: object) -> None:
    job = programs.begin(list(range(40)))
    life = programs.live()
    life.open("work", PLAIN, MAP)
    again = [*range(5), other, *range(6, 40)]
    add = functools.partial(programs.add, life, job)
    with pytest.raises(JournalMismatch, match="of work had other arguments"):
        [add(again[start : start + step]) for start in range(0, 40, step)]


def test_tasks_in_another_form_are_refused(programs: Programs) -> None:
    job = programs.begin([(1, 2)])
    life = programs.live()
    life.open("work", PLAIN, MAP)
    with pytest.raises(JournalMismatch):
        programs.add(life, job, [(1, 2)], Form.MANY)


@pytest.mark.parametrize(
    ("name", "options", "kin", "complaint"),
    [
        ("other", PLAIN, MAP, "begun with work, and not with other"),
        ("work", PLAIN, Kin("map", "changed"), "function work has changed"),
        ("work", TaskOptions(retry=False), MAP, "retry was True"),
        ("work", TaskOptions(serializer="msgpack"), MAP, "serializer was 'pickle'"),
        ("work", PLAIN, Kin("submit", "code"), "begun with work"),
    ],
)
def test_another_job_is_refused(programs: Programs, name: str, options: TaskOptions, kin: Kin, complaint: str) -> None:
    programs.begin([1])
    with pytest.raises(JournalMismatch, match=complaint):
        programs.live().open(name, options, kin)


def test_jobs_of_one_function_are_told_by_their_order_and_a_program_may_grow(programs: Programs) -> None:
    life = programs.live()
    first = [life.open("work", options, MAP) for options in (PLAIN, TaskOptions(timeout=5), PLAIN)]
    programs.write()
    life = programs.live()
    again = [life.open("work", options, MAP) for options in (TaskOptions(timeout=5), PLAIN, TaskOptions(timeout=7))]
    assert again == [first[1], first[0], first[2]]
    assert life.open("work", PLAIN, MAP) not in first
    assert life.open("new", PLAIN, MAP) not in first


def test_a_program_may_go_on_to_new_jobs_when_all_it_resumed_have_ended(programs: Programs) -> None:
    job = programs.begin([1], PLAIN, (0, 1))
    life = programs.live()
    assert life.open("work", PLAIN, MAP) == job
    life.forget(job)
    assert life.open("new", PLAIN, MAP) != job


def settled(job: JobId, start: int, stop: int, kind: OutcomeKind = OutcomeKind.OK) -> Settled:
    return Settled(job, 3, "n", start, stop, kind, 1.0)


def test_an_outcome_that_comes_before_its_task_is_kept_for_it(programs: Programs) -> None:
    job = programs.begin(range(10))
    life = programs.live()
    early = settled(job, 6, 9)
    assert life.settle(early) == [moves.OutcomeMissed(early)]  # even before the job is opened
    life.open("work", PLAIN, MAP)
    programs.add(life, job, range(4))
    life.released(job, 0, 4)
    across = life.settle(settled(job, 2, 6))
    assert across == [moves.OutcomeMissed(settled(job, 4, 6)), moves.OutcomeSettled(settled(job, 2, 4))]
    assert life.settle(settled(job, 0, 2)) == [moves.OutcomeSettled(settled(job, 0, 2))]
    assert moves.TasksRecorded(job, 4, 9) in life.released(job, 4, 10)
    life.forget(job)  # what ran when it was given up is still aboard
    assert life.settle(settled(job, 0, 2)) == [moves.OutcomeSettled(settled(job, 0, 2))]


@pytest.mark.parametrize(
    ("kind", "options", "ends"),
    [
        (OutcomeKind.ERROR, PLAIN, True),
        (OutcomeKind.ERROR, TaskOptions(retries=1), False),
        (OutcomeKind.ERROR, TaskOptions(retries=1, retry=False), True),
        (OutcomeKind.CRASHED, PLAIN, False),
        (OutcomeKind.CRASHED, TaskOptions(retry=False), True),
        (OutcomeKind.RETURNED, TaskOptions(retry=False), False),
    ],
)
def test_an_early_failure_ends_a_task_only_where_nobody_would_try_again(
    programs: Programs, kind: OutcomeKind, options: TaskOptions, ends: bool
) -> None:
    job = programs.begin(range(3), options)
    life = programs.live()
    life.settle(settled(job, 1, 2, kind))
    life.open("work", options, MAP)
    recorded = [event for event in life.released(job, 0, 3) if isinstance(event, moves.TasksRecorded)]
    assert bool(recorded) is ends
    assert life.failed(job, 0, 3) == ([1] if ends else [])
    life.settle(settled(job, 0, 2))
    assert life.failed(job, 0, 3) == ([1] if ends else [])  # 0 and 1 are released: not heard too early
    life.forget(job)
    assert life.failed(job, 0, 3) == []


def test_a_failure_that_was_heard_early_is_forgiven_by_a_success(programs: Programs) -> None:
    job = programs.begin(range(3))
    life = programs.live()
    for task in range(3):
        life.settle(settled(job, task, task + 1, OutcomeKind.ERROR))
    life.settle(settled(job, 0, 2))
    assert life.failed(job, 0, 3) == [2]


# Functions


def _function(source: str, name: str = "f") -> Callable[..., Any]:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, "a.py", "exec"), space)
    found: Callable[..., Any] = space[name]
    return found


BASE = "def f(x, y=1):\n    return [x + 1 for _ in (1, 2)]"
SAME = [BASE, f"\n\n# moved\n{BASE}"]
CHANGED = [
    BASE.replace("+ 1", "+ 2"), BASE.replace("y=1", "y=2"), BASE.replace("f(x", "f(z, x"),
    BASE.replace("(1, 2)", "(1, 3)"),
    "def f(x, y=1):\n    return [abs(x) for _ in (1, 2)]",
]  # fmt: skip


def test_a_function_is_known_by_what_it_does() -> None:
    assert len({fingerprint(_function(source)) for source in SAME}) == 1
    assert len({fingerprint(_function(source)) for source in (BASE, *CHANGED)}) == 1 + len(CHANGED)


def test_what_a_function_encloses_counts() -> None:
    made = "def make(n):\n    def f(x):\n        return x + n\n    return f\nf = make({})\ng = make(make(1))"
    assert fingerprint(_function(made.format(1))) == fingerprint(_function(made.format(1)))
    assert fingerprint(_function(made.format(1))) != fingerprint(_function(made.format(2)))
    assert fingerprint(_function(made.format(1), "g")) == fingerprint(_function(made.format(2), "g"))
    assert fingerprint(functools.partial(pow, 2)) != fingerprint(functools.partial(pow, 3))
    assert fingerprint([].append) == fingerprint([1].append)
    assert fingerprint(Programs.begin) != fingerprint(Programs.add)
    assert fingerprint(Programs().begin) == fingerprint(Programs().begin)
    assert fingerprint(Programs) != fingerprint(Resuming)


def test_a_function_that_encloses_itself_or_nothing_yet_ends() -> None:
    def unset() -> Any:
        return later

    assert fingerprint(unset)

    def itself() -> Any:
        return itself

    assert fingerprint(itself)
    later = 1
