"""Where a simulated sink puts results: a store that outlives it, behind a recorder that takes its time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from zmqtasks.machines.collection import Record
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId, OutcomeKind
from zmqtasks.peer import Loop
from zmqtasks.wire import payload


class Store:
    """What is stored: it is there after every death of the sink."""

    def __init__(self) -> None:
        self.values: dict[JobId, dict[int, Any]] = {}
        self.failures: dict[JobId, dict[int, int]] = {}
        """By job and index: the attempt that failed."""
        self.twice: list[str] = []
        """Successes that were recorded a second time."""

    def put(self, record: Record) -> None:
        """Store a record."""
        outcome, start, stop = record.outcome, record.start, record.stop
        values = self.values.setdefault(outcome.job, {})
        failures = self.failures.setdefault(outcome.job, {})
        if outcome.kind is not OutcomeKind.OK:
            failures |= dict.fromkeys(range(start, stop), outcome.attempt)
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
    """Put records into a store, in order, each batch after a while.

    Args:
        loop: of the sink; what waits here dies with it.
        store: outlives this.
        delay_s: how long a batch takes; may be changed. 0 stores at once.
        eager: say that it is stored before it is: a defect, for a test that has to find it.
    """

    def __init__(self, loop: Loop, store: Store, delay_s: float = 0.0, *, eager: bool = False) -> None:
        self.delay_s = delay_s
        self._loop = loop
        self._store = store
        self._eager = eager
        self._batches: deque[tuple[Sequence[Record], Callable[[], None]]] = deque()

    def record(self, records: Sequence[Record], on_stored: Callable[[], None]) -> None:
        """Store these; then call `on_stored`."""
        if self._eager:
            on_stored()
            on_stored = _nothing
        if self.delay_s <= 0 and not self._batches:
            self._put(records, on_stored)
            return
        self._batches.append((records, on_stored))
        if len(self._batches) == 1:
            self._loop.call_at(self._loop.time() + self.delay_s, self._store_first)

    def _store_first(self) -> None:
        self._put(*self._batches.popleft())
        if self._batches:
            self._loop.call_at(self._loop.time() + self.delay_s, self._store_first)

    def _put(self, records: Sequence[Record], on_stored: Callable[[], None]) -> None:
        for record in records:
            self._store.put(record)
        on_stored()


def _nothing() -> None:
    pass
