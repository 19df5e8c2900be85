"""A store: one thread that writes what the sink hands it, in groups, and says when it is safe.

Owns the queue, the thread, the grouping and the patience with a full disk. Knows no format: a backend does. Never drops
an outcome and never reports one as stored that is not. Called by the sink shell and by `zmqtasks run`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, Protocol, Self

from zmqtasks.machines.collection import Record
from zmqtasks.messages import JobId
from zmqtasks.store.rows import NO_END, STATUS, Failed, Opener, Recorded, Row, StoredJob, rows, storable

logger = logging.getLogger(__name__)

Deliver = Callable[[Callable[[], None]], object]

GATHER_S = 0.005
"""How long the first outcome of a group waits for company: a commit costs about as much for 1,000 rows as for one."""
GROUP_TASKS = 50_000
"""No further outcome joins a group that has this many tasks, so that acknowledgements keep flowing."""
RETRY_S = 1.0
"""How long to wait before a group is tried again that could not be written."""

COMPLAIN_S = 60.0
"""How often it is logged that this still goes on."""


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
    on_stored: Callable[[], None]
    size_bytes: int
    tasks: int
    at: float
    """When, in monotonic seconds."""


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
        self._changed = threading.Condition()  # guards all below
        self._queue: deque[Handed] = deque()
        self._notes: list[StoredJob] = []
        self._inputs: dict[JobId, dict[int, str]] = {}
        self._unstored_bytes = 0
        self._handed = self._done = 0  # calls of `record` and `note_job`, and how many of them are stored
        self._failure: Exception | None = None  # the last one, while it lasts
        self._complained_at = 0.0
        self._given_up = self._closing = self._stopped = False
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._work, name="zmqtasks-store", daemon=True)
        self._thread.start()

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
        with self._changed:
            self._check_open()
            if self._given_up:
                return
            self._unstored_bytes += size_bytes
            self._handed += 1
            self._queue.append(Handed(records, on_stored, size_bytes, tasks, time.monotonic()))
            self._changed.notify_all()

    def note_job(self, job: JobId, name: str, total: int | None = None) -> None:
        """Remember a job's name and, once it is known, how many tasks it has; returns at once.

        Raises:
            ValueError: the store is closed.
        """
        with self._changed:
            self._check_open()
            if self._given_up:
                return
            self._handed += 1
            self._notes.append(StoredJob(job, storable(name), total))
            self._changed.notify_all()

    def remember_inputs(self, job: JobId, start: int, inputs: Sequence[str]) -> None:
        """Keep the texts of the inputs of tasks `start`, `start + 1`, ... for their rows, until these are stored.

        Call it before the tasks are submitted, and again for what is run again after its failure was stored.
        """
        with self._changed:
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
        with self._changed:
            wanted = self._handed
            self._hurry.set()
            self._changed.wait_for(lambda: self._done >= wanted or self._given_up, timeout_s)
            if self._done >= wanted:
                return
            if self._given_up and self._failure is not None:
                raise self._failure
            missing = wanted - self._done
            raise TimeoutError(f"{missing} hand-overs were not stored within {timeout_s} s") from self._failure

    def close(self, timeout_s: float = 60.0) -> None:
        """Store what was handed over, then close the file; a second call does nothing.

        A pipe whose reader has gone is no error here.

        Raises:
            TimeoutError: the rest could not be stored within `timeout_s` seconds; it was never acknowledged.
            Exception: what made the writer give up before.
        """
        with self._changed:
            if self._closing:
                return
            self._closing = True
        try:
            self.flush(timeout_s)
        except BrokenPipeError:
            logger.debug("the reader of the results has gone")
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()
            self._hurry.set()
            self._thread.join(timeout_s)  # a reader that does not read may hold it longer

    def _check_open(self) -> None:
        if self._closing:
            raise ValueError("the store is closed")

    # --- the writer thread

    def _work(self) -> None:
        try:
            while (group := self._next_group()) is not None:
                self._store(*group)
        except BrokenPipeError as error:
            self._give_up(error)
        except Exception as error:
            logger.exception("the store gives up")
            self._give_up(error)
        finally:
            self._backend.close()

    def _next_group(self) -> tuple[list[StoredJob], list[Handed]] | None:
        """Wait for something to write and take it; None when the store is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._notes or self._stopped)
            gathered = time.monotonic() - self._queue[0].at if self._queue else 0.0
        self._hurry.wait(max(0.0, GATHER_S - gathered))
        with self._changed:
            if self._stopped:
                return None
            notes, self._notes = self._notes, []
            group, tasks = [], 0
            while self._queue and tasks < GROUP_TASKS:
                group.append(self._queue.popleft())
                tasks += group[-1].tasks
            if not self._queue:
                self._hurry.clear()
        return notes, group

    def _store(self, notes: list[StoredJob], group: list[Handed]) -> None:
        """Write one group, however long it takes, and report it."""
        while not self._written(notes, group):
            with self._changed:
                if self._changed.wait_for(lambda: self._stopped, RETRY_S):
                    return
        for handed in group:
            self._forget_inputs(handed.records)
            self._deliver(handed.on_stored)
        if self._failure is not None:
            logger.warning("results can be stored again")
        with self._changed:
            self._failure = None
            self._done += len(notes) + len(group)
            self._unstored_bytes -= sum(handed.size_bytes for handed in group)
            self._changed.notify_all()

    def _written(self, notes: list[StoredJob], group: list[Handed]) -> bool:
        try:
            self._backend.write(notes, self._rows(group))
        except BrokenPipeError:
            raise
        except OSError as error:
            self._complain(error)
            with self._changed:
                self._failure = error
            self._deliver(partial(self._on_failure, error))
            return False
        return True

    def _complain(self, error: OSError) -> None:
        """Log that results cannot be stored: at first, when the reason changes, and each minute."""
        now = time.monotonic()
        if str(error) != str(self._failure) or now >= self._complained_at + COMPLAIN_S:
            self._complained_at = now
            text = "results cannot be stored, and are not acknowledged; trying again each %g s: %s"
            logger.warning(text, RETRY_S, error)

    def _rows(self, group: list[Handed]) -> Iterator[Row]:
        """Open the bodies one record at a time, so that only one is in memory as values."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        for handed in group:
            for record in handed.records:
                yield from rows(record, self._inputs.get(record.outcome.job, {}), self._opener, now)

    def _forget_inputs(self, records: Sequence[Record]) -> None:
        with self._changed:
            for record in records:
                texts = self._inputs.get(record.outcome.job)
                if texts:
                    for task in range(record.start, record.stop):
                        texts.pop(task, None)

    def _give_up(self, error: Exception) -> None:
        with self._changed:
            self._failure = error
            self._given_up = True
            self._queue.clear()
            self._changed.notify_all()
        self._deliver(partial(self._on_failure, error))
