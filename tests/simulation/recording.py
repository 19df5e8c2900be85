"""Where a simulated sink puts results: a store that outlives it, behind a recorder that takes its time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from zmqtasks.machines.collection import Record
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId, OutcomeKind
from zmqtasks.peer import Loop
from zmqtasks.wire import payload

TRY_AGAIN_S = 0.5
"""A full disk is tried again after so long."""
_Batch = tuple[Sequence[Record], Callable[[], None]]


class Store:
    """What is stored: it is there after every death of the sink."""

    def __init__(self) -> None:
        self.values: dict[JobId, dict[int, Any]] = {}
        self.failures: dict[JobId, dict[int, tuple[int, OutcomeKind]]] = {}
        """By job and index: the attempt that failed, and how."""
        self.twice: list[str] = []
        """Successes that were recorded a second time."""
        self.full = False
        """Whether the disk takes nothing: commits fail, and are tried again."""
        self.refused = 0
        """Commits that failed."""

    def put(self, record: Record) -> None:
        """Store a record."""
        outcome, start, stop = record.outcome, record.start, record.stop
        values = self.values.setdefault(outcome.job, {})
        failures = self.failures.setdefault(outcome.job, {})
        if outcome.kind is not OutcomeKind.OK:
            failures |= dict.fromkeys(range(start, stop), (outcome.attempt, outcome.kind))
            return
        run = payload.unpack(outcome.body, first=start - outcome.start, last=stop - outcome.start).values
        for index, value in zip(range(start, stop), run, strict=True):
            if index in values:
                self.twice.append(f"{outcome.job}[{index}]")
            values[index] = value
            failures.pop(index, None)

    def succeeded(self, job: JobId) -> RangeSet:
        """Return the tasks whose value is stored."""
        return RangeSet((index, index + 1) for index in sorted(self.values.get(job, ())))

    def jobs(self) -> list[JobId]:
        """Return the jobs something is stored of."""
        return sorted(self.values.keys() | self.failures.keys())


class SlowRecorder:
    """Put records into a store, in order; what comes while it commits is in the next commit.

    Args:
        loop: of the sink; what waits here dies with it.
        store: outlives this.
        delay_s: how long a commit takes; may be changed. 0 stores at once.
        eager: say that it is stored before it is: a defect, for a test that has to find it.
    """

    def __init__(self, loop: Loop, store: Store, delay_s: float = 0.0, *, eager: bool = False) -> None:
        self.delay_s = delay_s
        self.commits = 0
        """That took their time."""
        self._loop = loop
        self._store = store
        self._eager = eager
        self._waiting: list[_Batch] = []
        self._under_way: list[_Batch] = []
        self._committing = False

    def record(self, records: Sequence[Record], on_stored: Callable[[], None]) -> None:
        """Store these; then call `on_stored`."""
        if self._eager:
            on_stored()
            on_stored = _nothing
        self._waiting.append((records, on_stored))
        if not self._committing:
            self._commit()

    def waiting_bytes(self) -> int:
        """Return the bytes of all that waits to be stored."""
        batches = (*self._waiting, *self._under_way)
        return sum(len(record.outcome.body) for records, _ in batches for record in records)

    def _commit(self) -> None:
        batches, self._waiting = self._waiting, []
        self._under_way = batches
        self._committing = bool(batches) and (self.delay_s > 0 or self._store.full)
        if self._committing:
            self._loop.call_at(self._loop.time() + self.delay_s, self._committed, batches)
        else:
            self._put(batches)

    def _committed(self, batches: list[_Batch]) -> None:
        if self._store.full:
            self._store.refused += 1
            self._loop.call_at(self._loop.time() + TRY_AGAIN_S, self._committed, batches)
            return
        self.commits += 1
        self._put(batches)
        self._commit()

    def _put(self, batches: list[_Batch]) -> None:
        for records, _ in batches:
            for record in records:
                self._store.put(record)
        self._under_way = []
        for _, on_stored in batches:
            on_stored()


def _nothing() -> None:
    pass
