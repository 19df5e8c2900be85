"""Results of a client in its journal: written before anybody is told of them, and given back in a later life.

Owns that order, and which failures are an end. Everything here happens in the loop's thread. Called by `reception.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zmqtasks.machines.collection import Record
from zmqtasks.machines.dispatch_moves import Finish
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId, Outcome, OutcomeKind
from zmqtasks.records import replace
from zmqtasks.ventilator.resuming import Resuming
from zmqtasks.wire import payload


class Kept:
    """What a client keeps of its results.

    Args:
        resuming: the jobs, and the journal behind them.
        waits: until results are written, before anybody is told; else what is lost with us is run again.
    """

    def __init__(self, resuming: Resuming, *, waits: bool = True) -> None:
        self._resuming = resuming
        self._waits = waits
        self._journal = resuming.journal
        self._unwritten = 0
        """Groups of results that somebody waits for to be written."""

    def record(self, records: Sequence[Record], on_stored: Callable[[], None]) -> None:
        """Write successes, and failures that nobody will judge: their tasks are not with the ventilator yet."""
        final = [r for r in records if r.outcome.kind is OutcomeKind.OK or self._resuming.is_early_end(r)]
        # What comes before its job is open here is read again when it is; and what is told stays in order.
        if not (self._waits or self._unwritten or any(self._is_early(r) for r in records)):
            self._journal.write(lambda: [self._wanted(r) for r in final])
            on_stored()
            return
        self._unwritten += 1

        def written() -> None:
            self._unwritten -= 1
            on_stored()

        self._journal.write(lambda: [self._wanted(r) for r in final], written)

    def _is_early(self, record: Record) -> bool:
        return record.stop > self._resuming.boundary(record.outcome.job)

    def _wanted(self, record: Record) -> Record:
        """Return what a later life needs: of a call that a task has spawned, not what it returned."""
        if record.outcome.kind is OutcomeKind.OK and self._resuming.is_spawned(record.outcome.job):
            return replace(record, outcome=replace(record.outcome, body=b""))
        return record

    def known(self, records: Sequence[Record]) -> list[Record]:
        """Return the parts whose tasks are with the ventilator; the rest is given back when they are."""
        parts = [(r, min(r.stop, self._resuming.boundary(r.outcome.job))) for r in records]
        return [Record(r.outcome, r.start, stop) for r, stop in parts if r.start < stop]

    def fail(
        self, finish: Finish, error: BaseException | None, failures: Sequence[Outcome | None], then: Callable[[], None]
    ) -> None:
        """Write that tasks have failed for good; then go on."""
        if error is None and failures and failures[0] is not None:
            records = [Record(failures[0], finish.start, finish.stop)]
        else:
            body = b"" if error is None else payload.pack_failure(error)
            start, stop = finish.start, finish.stop
            outcome = Outcome(finish.job, finish.attempt, finish.node, start, stop, finish.kind, 0.0, body)
            records = [Record(outcome, index, index + 1) for index in range(start, stop)]
        self._journal.write(lambda: records, then)

    def after(self, callback: Callable[[], None]) -> None:
        """Call back once all that was recorded before is written."""
        self._resuming.after(callback)

    def ended(self, job: JobId) -> RangeSet:
        """Return which tasks of an earlier life have ended."""
        return self._resuming.ended(job).copy()

    def records(self, job: JobId, start: int, stop: int) -> list[Record]:
        """Return how tasks of an earlier life have ended."""
        return self._journal.records(job, start, stop)
