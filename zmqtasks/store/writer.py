"""A store: one thread that writes what the sink hands it, in groups, and says when it is safe.

Owns what is kept for outcomes until they are stored. Thread, groups and patience are those of `writing.py`, the format
is the backend's. Never drops an outcome and never reports one as stored that is not. Called by the sink shell and by
`zmqtasks run`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol, Self

from zmqtasks.machines.collection import Record
from zmqtasks.messages import JobId
from zmqtasks.store.rows import NO_END, STATUS, Failed, Opener, Recorded, Row, StoredJob, rows, storable
from zmqtasks.writing import Deliver, GroupWriter, Words

logger = logging.getLogger(__name__)

GATHER_S = 0.005
"""How long the first outcome of a group waits for company: a commit costs about as much for 1,000 rows as for one."""
GROUP_TASKS = 50_000
"""No further outcome joins a group that has this many tasks, so that acknowledgements keep flowing."""


WORDS = Words("the store", "results cannot be stored, and are not acknowledged", "results can be stored again")


class Backend(Protocol):
    """One file in one format; used by the writer thread alone, but for `recorded`, `jobs` and `failures`."""

    def write(self, jobs: Sequence[StoredJob], new: Iterable[Row]) -> None:
        """Write all of it, or nothing and raise OSError."""

    def recorded(self, job: JobId) -> Recorded:
        """Return what the file has of `job`; any thread."""

    def jobs(self) -> list[StoredJob]:
        """Return the jobs in the file; any thread."""

    def failures(self) -> Iterator[Failed]:
        """Yield each task that failed last and not succeeded, once; any thread."""

    def close(self) -> None:
        """Close the file."""


class Handed(NamedTuple):
    """What one call of `record` brought."""

    records: Sequence[Record]
    size_bytes: int


class Store:
    """Results in a file: what was recorded is kept once, and acknowledged only after it is written.

    Outcomes are written in the order they came. A success is never replaced; a failure is replaced by a success, and by
    a failure of a later attempt. What is acknowledged survives the death of this process, not a power cut.

    Args:
        backend: the file.
        opener: how bodies are opened.
        on_failure: called, by way of `deliver`, each time a group could not be written. The group is tried again
            every second, until it is stored or the store is closed; but for a BrokenPipeError, after which nothing is
            written or acknowledged any more.
        deliver: how the writer thread calls back: at once, or in the loop's thread (`loop.call_soon_threadsafe`).
    """

    def __init__(
        self,
        backend: Backend,
        *,
        opener: Opener,
        on_failure: Callable[[Exception], None],
        deliver: Deliver = lambda callback: callback(),
    ) -> None:
        self._backend = backend
        self._opener = opener
        self._deliver = deliver
        self._on_failure = on_failure
        self._lock = threading.Lock()  # guards the two below
        self._inputs: dict[JobId, dict[int, str]] = {}
        self._unstored_bytes = 0
        self._writer: GroupWriter[Handed | StoredJob] = GroupWriter(
            "zmqtasks-store",
            WORDS,
            self._write,
            backend.close,
            gather_s=GATHER_S,
            most_weight=GROUP_TASKS,
            on_failure=on_failure,
            deliver=deliver,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def unstored_bytes(self) -> int:
        """Bytes of bodies handed over and not yet stored: what a sink's window has to shrink by."""
        return self._unstored_bytes

    def record(self, records: Sequence[Record], on_stored: Callable[[], None]) -> None:
        """Hand over what is new; returns at once. Once the writer has given up, they are not stored, nor acknowledged.

        Args:
            records: what became of tasks; bodies are opened later, in the writer thread. May be empty: `on_stored` is
                then called once all that came before is stored.
            on_stored: called, by way of `deliver`, once they are stored; must not raise.

        Raises:
            ValueError: the store is closed, or an outcome is no end (RETURNED, RETRY).
        """
        if any(record.outcome.kind in NO_END for record in records):
            raise ValueError(f"RETURNED and RETRY are no ends; a store takes {', '.join(STATUS.values())}")
        size_bytes = sum(len(record.outcome.body) for record in records)
        tasks = sum(record.stop - record.start for record in records)
        with self._lock:
            self._unstored_bytes += size_bytes
        if not self._writer.hand(Handed(records, size_bytes), tasks, on_stored):
            self._stored(size_bytes)

    def note_job(self, job: JobId, name: str, total: int | None = None) -> None:
        """Remember a job's name and, once it is known, how many tasks it has; returns at once.

        Raises:
            ValueError: the store is closed.
        """
        self._writer.hand(StoredJob(job, storable(name), total), 0)

    def remember_inputs(self, job: JobId, start: int, inputs: Sequence[str]) -> None:
        """Keep the texts of the inputs of tasks `start`, `start + 1`, ... for their rows, until these are stored.

        Call it before the tasks are submitted, and again for what is run again after its failure was stored.
        """
        with self._lock:
            texts = self._inputs.setdefault(job, {})
            texts.update(enumerate(map(storable, inputs), start))

    def recorded(self, job: JobId) -> Recorded:
        """Return which tasks of `job` the file has: those that succeeded, and those that failed.

        Raises:
            OSError: the file cannot be read.
        """
        return self._backend.recorded(job)

    def jobs(self) -> list[StoredJob]:
        """Return the jobs the file has.

        Raises:
            OSError: the file cannot be read.
        """
        return self._backend.jobs()

    def failures(self) -> Iterator[Failed]:
        """Yield each task that failed last, once; what is stored meanwhile may be among them or not.

        Raises:
            OSError: the file cannot be read.
        """
        return self._backend.failures()

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until all that was handed over is stored.

        Raises:
            TimeoutError: it was not within `timeout_s` seconds; the cause is the last failure, if any.
            Exception: what made the writer give up.
        """
        self._writer.flush(timeout_s)

    def close(self, timeout_s: float = 60.0) -> None:
        """Store what was handed over, then close the file; a second call does nothing.

        A pipe whose reader has gone is no error here.

        Raises:
            TimeoutError: the rest could not be stored within `timeout_s` seconds; it was never acknowledged.
            Exception: what made the writer give up before.
        """
        try:
            self._writer.close(timeout_s)
        except BrokenPipeError:
            logger.debug("the reader of the results has gone")

    def _stored(self, size_bytes: int) -> None:
        with self._lock:
            self._unstored_bytes -= size_bytes

    # --- the writer thread

    def _write(self, entries: list[Handed | StoredJob]) -> None:
        """Write one group, and let go of what was kept for it."""
        group = [entry for entry in entries if isinstance(entry, Handed)]
        self._backend.write([entry for entry in entries if isinstance(entry, StoredJob)], self._rows(group))
        for handed in group:
            self._forget_inputs(handed.records)
            self._stored(handed.size_bytes)

    def _rows(self, group: list[Handed]) -> Iterator[Row]:
        """Open the bodies one record at a time, so that only one is in memory as values."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        for handed in group:
            for record in handed.records:
                yield from rows(record, self._inputs.get(record.outcome.job, {}), self._opener, now)

    def _forget_inputs(self, records: Sequence[Record]) -> None:
        with self._lock:
            for record in records:
                texts = self._inputs.get(record.outcome.job)
                if texts:
                    for task in range(record.start, record.stop):
                        texts.pop(task, None)
