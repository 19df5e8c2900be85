"""Results of one job, from the mesh to the store: successes as they come, failures once they are final.

Owns failures that the ventilator has not judged yet. Everything here happens in the loop's thread. It is the collector
of the `Embedded` that `job.py` opens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from zmqtasks.cli.children import Children
from zmqtasks.cli.exits import brief, shortened
from zmqtasks.cli.tally import Tally
from zmqtasks.embedded.thread import Embedded
from zmqtasks.errors import ZmqtasksError
from zmqtasks.machines.collection import Record
from zmqtasks.machines.dispatch_moves import Finish
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId, Outcome, OutcomeKind
from zmqtasks.options import Limits
from zmqtasks.records import replace
from zmqtasks.ventilator.jobs import recorded_kind
from zmqtasks.ventilator.resuming import Resuming
from zmqtasks.wire import payload


class Keeper(Protocol):
    """What a job does with its store."""

    def record(self, records: Sequence[Record], on_stored: Callable[[], None]) -> None:
        """Store these; then call `on_stored`."""

    def note_job(self, job: JobId, name: str, total: int | None = None) -> None:
        """Remember a job's name and, once it is known, how many tasks it has."""

    def remember_inputs(self, job: JobId, start: int, inputs: Sequence[str]) -> None:
        """Keep the texts of the inputs of tasks for their rows."""

    def close(self, timeout_s: float) -> None:
        """Store what was handed over, then close the file."""


class Results:
    """Store and count what becomes of the tasks of one job.

    Args:
        tally: kept up to date.
        on_ended: called with each range of tasks that has ended and, but for the last failures, is stored.
        on_broken: called when nothing more can be done; the error stands in `error`.
        children: takes what becomes of calls that tasks have spawned.
    """

    def __init__(
        self,
        tally: Tally,
        on_ended: Callable[[int, int], None],
        on_broken: Callable[[], None],
        children: Children,
    ) -> None:
        self.store: Keeper | None = None
        """Where results go; None where a standalone sink has them."""
        self.earlier_failures: set[int] = set()
        """Tasks that the store has as failed, from an earlier life."""
        self.error: Exception | None = None
        """What ended the job early."""
        self._tally = tally
        self._on_ended, self._on_broken = on_ended, on_broken
        self._children = children
        self._unjudged: dict[int, Record] = {}
        self._draining = False
        self._embedded: Embedded | None = None
        self._resuming: Resuming | None = None

    def begin(self, embedded: Embedded) -> None:
        """Hear where all is, and of the journal, where what has ended is marked."""
        self._embedded = embedded
        self._resuming = embedded.resuming
        self._children.begin(embedded)

    def opened(self) -> None:
        """Go on with what an earlier life has left."""
        self._children.go_on()

    def deliver(self, callback: Callable[[], None]) -> None:
        """Call back in the loop's thread: results of an earlier life come as soon as a node has answered."""
        if self._embedded:
            self._embedded.call_soon(callback)

    def drain(self) -> None:
        """From now on nothing is run again: whatever a task ends with is final."""
        self._draining = True
        self._children.drain()

    # From the mesh

    def record(self, records: Sequence[Record], on_stored: Callable[[], None]) -> None:
        """Store successes, and hear what the ventilator says of failures before they are stored."""
        spawned, records = self._children.parted(records)
        if spawned:
            hand_on = partial(self._children.hand_on, spawned, on_stored)
            self._children.keep(spawned, partial(self._record, records, hand_on))
        else:
            self._record(records, on_stored)

    def _record(self, records: Sequence[Record], on_stored: Callable[[], None]) -> None:
        """Store results; what there was before is acknowledged before, so all passes through here."""
        if self.store is None:  # they are where the sink is
            on_stored()
            return
        final = [r for r in records if self._is_final(r)]
        unjudged = {r.start: r for r in records if r.outcome.kind is not OutcomeKind.OK and not self._draining}
        self.store.record(final, partial(self._stored, final, unjudged, on_stored))

    def _is_final(self, record: Record) -> bool:
        if record.outcome.kind is OutcomeKind.OK or self._draining:
            return True
        return self._resuming is not None and self._resuming.is_early_end(record)

    def _stored(self, final: list[Record], unjudged: dict[int, Record], on_stored: Callable[[], None]) -> None:
        self._unjudged = unjudged
        on_stored()  # `finish` is called from within
        if self._draining:
            # These tasks had begun when they were given up: the ventilator has nothing to say of them any more.
            for record in self._unjudged.values():
                self._keep(record)
            for record in (*final, *self._unjudged.values()):
                self._count(record)
        self._unjudged = {}

    def finish(self, finish: Finish, error: BaseException | None) -> None:
        """Take the ventilator's word that tasks have ended; `error` where it decided how."""
        finish = replace(finish, kind=recorded_kind(finish.kind))
        if finish.kind is OutcomeKind.OK:
            self._tally.done += finish.stop - finish.start
        elif self.store is None:
            reason = brief(error) if error else f"{finish.kind.name.lower()}, as the sink has it"
            self._tally.fail(finish.start, finish.stop, reason)
        elif error is not None:
            self._conclude(finish, error)
        else:
            record = self._unjudged.pop(finish.start)
            self._keep(record)
            self._count(record)
        if self._resuming:
            self._mark(self._resuming, finish)
        self._on_ended(finish.start, finish.stop)

    @staticmethod
    def _mark(resuming: Resuming, finish: Finish) -> None:
        """Note in the journal that tasks have ended; how is known where results are."""
        done = Outcome(finish.job, finish.attempt, finish.node, finish.start, finish.stop, finish.kind, 0.0)
        resuming.journal.write(lambda: (Record(done, done.start, done.stop),))

    def restored(self, job: JobId, start: int, stop: int) -> None:
        """Count what an earlier life has done."""
        failed = self._failed_before(job, start, stop)
        self._tally.done += stop - start - sum(b - a for a, b in failed)
        for a, b in failed:
            self._tally.fail(a, b, "as an earlier run of this command has recorded")
        self._on_ended(start, stop)

    def _failed_before(self, job: JobId, start: int, stop: int) -> RangeSet:
        """Return what has failed: as the journal or our store has it, and as a sink or nodes have told since."""
        assert self._resuming is not None
        told = self._resuming.failed(job, start, stop)
        if self.store is not None:
            told += [task for task in self.earlier_failures if start <= task < stop]
            return RangeSet((task, task + 1) for task in told)
        records = self._resuming.journal.records(job, start, stop)
        marked = [(r.start, r.stop) for r in records if r.outcome.kind is not OutcomeKind.OK]
        return RangeSet([*marked, *((task, task + 1) for task in told)])

    def _conclude(self, finish: Finish, error: BaseException) -> None:
        body = payload.pack_failure(error)
        outcome = Outcome(finish.job, finish.attempt, finish.node, finish.start, finish.stop, finish.kind, 0.0, body)
        self._keep(Record(outcome, finish.start, finish.stop))
        self._tally.fail(finish.start, finish.stop, brief(error))

    def _keep(self, record: Record) -> None:
        assert self.store is not None
        self.store.record([record], lambda: None)

    def _count(self, record: Record) -> None:
        if record.outcome.kind is OutcomeKind.OK:
            self._tally.done += record.stop - record.start
        else:
            self._tally.fail(record.start, record.stop, _reason(record.outcome))

    def broken(self, error: ZmqtasksError) -> None:
        """No node is left, and none will come."""
        self._break(error)

    def store_failed(self, error: Exception) -> None:
        """Take note that results could not be written: for now (OSError), or for good."""
        if isinstance(error, BrokenPipeError) or not isinstance(error, OSError):
            self._break(error)

    def _break(self, error: Exception) -> None:
        self.error = self.error or error
        self._on_broken()


def _reason(outcome: Outcome) -> str:
    """Say in a line how a task failed."""
    try:
        told = payload.describe_failure(outcome.body, Limits())
    except ZmqtasksError as error:
        return brief(error)
    return shortened(f"{told.type_name}: {told.message}")
