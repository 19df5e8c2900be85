"""A journal in a file: the lock, the database and the thread that writes it.

Owns that thread, and the order in which all of it is opened and closed. Decides nothing about tasks. Called by
`embedded`, used by the ventilator and by who keeps results in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Self

from zmqtasks.journal.entries import Batch, JobState
from zmqtasks.journal.lock import Lock
from zmqtasks.journal.sqlite import JournalFile
from zmqtasks.machines.collection import Record
from zmqtasks.messages import JobId, PeerId
from zmqtasks.writing import Deliver, GroupWriter, Words

GROUP_BATCHES = 1000
"""No further batch joins a commit of so many, so that those who wait for theirs are told."""


class FileJournal:
    """A journal in a file; see `Journal`.

    Args:
        path: of the file; created where it is missing.
        deliver: how the writer calls back: at once, or in the loop's thread.
        on_failure: called, by way of `deliver`, whenever something could not be written. An OSError passes, and is
            tried again each second; after anything else nothing is written any more.

    Raises:
        JournalInUse: another program has it open.
        JournalError: it cannot be opened, is no journal, of a newer format, or destroyed.
    """

    def __init__(
        self,
        path: str,
        *,
        deliver: Deliver = lambda callback: callback(),
        on_failure: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self.place = os.fspath(path)
        self.deliver = deliver
        self.on_failure = on_failure
        self._lock = Lock(self.place)
        try:
            self._file = JournalFile(self.place, os.urandom(8).hex())
        except BaseException:
            self._lock.release()
            raise
        self.peer: PeerId = self._file.peer
        self.first_attempt = self._file.first_attempt
        self._writer: GroupWriter[Batch] = GroupWriter(
            "zmqtasks-journal",
            _words(self.place),
            self._write,
            self._file.close_writing,
            most_weight=GROUP_BATCHES,
            on_failure=lambda error: self.on_failure(error),
            deliver=lambda callback: self.deliver(callback),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def jobs(self) -> Sequence[JobState]:
        """Return the jobs of earlier lives; see `Journal`."""
        return self._file.jobs()

    def body(self, job: JobId, start: int) -> bytes:
        """Return the arguments of a block; see `Journal`."""
        return self._file.body(job, start)

    def records(self, job: JobId, start: int, stop: int) -> list[Record]:
        """Return how tasks ended; see `Journal`."""
        return self._file.records(job, start, stop)

    def write(self, batch: Batch, on_written: Callable[[], None] | None = None) -> None:
        """Write entries after all that came before; see `Journal`."""
        self._writer.hand(batch, on_written=on_written)

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until all is written; see `GroupWriter.flush`."""
        self._writer.flush(timeout_s)

    def close(self, timeout_s: float = 60.0) -> None:
        """Write what is left, close the file and let others have it; idempotent.

        Raises:
            TimeoutError: the rest could not be written within `timeout_s` seconds.
            Exception: what ended the writing before.
        """
        try:
            self._writer.close(timeout_s)
        finally:
            self._file.close_reading()
            self._lock.release()

    # In the writer's thread

    def _write(self, batches: list[Batch]) -> None:
        self._file.write(entry for batch in batches for entry in batch())


def _words(place: str) -> Words:
    journal = f"the journal {place}"
    return Words(journal, f"{journal} cannot be written, and no new task begins", f"{journal} can be written again")
