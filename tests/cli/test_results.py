"""What a command that goes on counts and stores: failures of which its journal knows nothing are failures, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from zmqtasks.cli.children import Children
from zmqtasks.cli.results import Results
from zmqtasks.cli.tally import Tally
from zmqtasks.embedded.thread import Embedded
from zmqtasks.machines import dispatch_moves as moves
from zmqtasks.machines.collection import Collection, OutcomeReceived, Record
from zmqtasks.messages import JobId, Outcome, OutcomeKind, Settled
from zmqtasks.options import TaskOptions
from zmqtasks.testing import FakeClock
from zmqtasks.testing.journal import MemoryJournal, Pages
from zmqtasks.ventilator.resuming import Kin, Resuming
from zmqtasks.wire import payload

KIN = Kin("input", "code")


class Shelf:
    """A store that has all at once."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def record(self, records: Sequence[Record], on_stored: Callable[[], None]) -> None:
        self.records += records
        on_stored()

    def note_job(self, job: JobId, name: str, total: int | None = None) -> None:
        """Nothing to do."""

    def remember_inputs(self, job: JobId, start: int, inputs: Sequence[str]) -> None:
        """Nothing to do."""

    def close(self, timeout_s: float) -> None:
        """Nothing to do."""


class Childless(Children):
    """Calls of tasks, of which there are none."""

    def begin(self, embedded: Any) -> None:
        """Nothing to do."""


class Second:
    """The second life of a command of ten tasks; the marks of what had ended were lost with the first."""

    def __init__(self) -> None:
        clock = FakeClock()
        pages = Pages("peer")
        for _ in range(2):
            self.resuming = Resuming(MemoryJournal(pages, clock))
            self.job = self.resuming.open("work", TaskOptions(), KIN)
            self.resuming.add(self.job, range(10), payload.Form.ONE, (), lambda start, stop: None)
            clock.advance(1.0)
        self.tally = Tally()
        self.ended: list[tuple[int, int]] = []
        children = Childless(self.tally, TaskOptions(), lambda: None)
        self.results = Results(self.tally, lambda a, b: self.ended.append((a, b)), lambda: None, children)
        self.results.begin(cast("Embedded", SimpleNamespace(resuming=self.resuming)))

    def release(self) -> None:
        for event in self.resuming.released(self.job, 0, 10):
            if isinstance(event, moves.TasksRecorded):
                self.results.restored(event.job, event.start, event.stop)

    def outcome(self, start: int, stop: int, kind: OutcomeKind) -> Outcome:
        body = b"" if kind is OutcomeKind.OK else payload.pack_failure(ValueError("no"))
        return Outcome(self.job, 1, "n", start, stop, kind, 1.0, body)


@pytest.fixture
def second() -> Second:
    return Second()


def test_a_failure_that_only_the_sink_has_recorded_is_counted_as_one(second: Second) -> None:
    for start, stop, kind in ((0, 4, OutcomeKind.OK), (4, 5, OutcomeKind.ERROR), (5, 6, OutcomeKind.ERROR)):
        second.resuming.settle(Settled(second.job, 1, "sink", start, stop, kind, 0.0))
    second.release()
    assert (second.tally.done, second.tally.failed) == (4, 2)
    assert second.tally.first_failure == "task 4: as an earlier run of this command has recorded"
    assert second.ended == [(0, 6)]


def test_a_failure_that_a_node_tells_before_its_task_was_read_is_stored_and_counted(second: Second) -> None:
    store = second.results.store = Shelf()
    collection = Collection()
    given = [second.outcome(0, 2, OutcomeKind.OK), second.outcome(2, 3, OutcomeKind.ERROR)]
    records = [c for o in given for c in collection.handle(OutcomeReceived(o), 0.0) if isinstance(c, Record)]

    def settle() -> None:
        for o in given:
            second.resuming.settle(Settled(o.job, o.attempt, o.node, o.start, o.stop, o.kind, 0.0))

    second.results.record(records, settle)
    assert [record.start for record in store.records] == [0, 2]
    second.release()
    assert (second.tally.done, second.tally.failed) == (2, 1)


def test_a_failure_whose_task_is_read_while_it_is_stored_is_judged(second: Second) -> None:
    store = second.results.store = Shelf()
    record = Record(second.outcome(2, 3, OutcomeKind.ERROR), 2, 3)

    def settle() -> None:
        second.release()
        second.results.finish(moves.Finish(second.job, 2, 3, OutcomeKind.ERROR, 1, "n"), None)

    second.results.record([record], settle)
    assert {(r.start, r.outcome.attempt) for r in store.records} == {(2, 1)}
    assert (second.tally.done, second.tally.failed) == (0, 1)


def test_what_is_stored_before_the_first_node_has_answered_is_acknowledged() -> None:
    """Nodes tell an earlier life's results at once, while the program still waits for the others."""
    told: list[str] = []
    called = SimpleNamespace(resuming=None, call_soon=lambda callback: callback())
    children = Childless(Tally(), TaskOptions(), lambda: None)
    results = Results(Tally(), lambda a, b: None, lambda: None, children)
    results.begin(cast("Embedded", called))
    results.deliver(lambda: told.append("stored"))
    assert told == ["stored"]
