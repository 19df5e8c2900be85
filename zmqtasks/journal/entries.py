"""What a journal holds, what its records say of a task, and the face it has to a ventilator.

Owns these values; writes nothing. `Journal` is kept by the file of this package, and by the memory
of `zmqtasks.testing` for simulations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from zmqtasks.machines.collection import Record
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId, OutcomeKind, PeerId
from zmqtasks.options import TaskOptions
from zmqtasks.records import Value


class JobNote(Value):
    """A job that was opened.

    Args:
        id: of the job, the same in each life of its ventilator.
        kind: how its tasks are given: "submit", "map", "input" or "spawn".
        name: of the function, for people.
        code: what tells the function from another, or from itself after a change.
        options: of each task.
        function: encoded, where no program gives it again: that of calls that tasks have spawned.
    """

    id: JobId
    kind: str
    name: str
    code: str
    options: TaskOptions
    function: bytes = b""


class Block(Value):
    """Tasks [start, stop) of a job with their arguments.

    Args:
        job: whose tasks they are.
        start: the first.
        stop: one past the last.
        form: what an argument is to the function, `wire.payload.Form` as a number.
        digest: of `body`.
        body: the arguments, encoded; nothing for a single task whose argument cannot be.
    """

    job: JobId
    start: int
    stop: int
    form: int
    digest: bytes
    body: bytes


class Sent(Value):
    """Tasks of a job below `stop` were perhaps sent; kept of jobs whose tasks may not run twice."""

    job: JobId
    stop: int


Entry = JobNote | Block | Sent | Record
"""What is written. A `Record` says how tasks have ended, with a body where the journal is to give the results back."""
Batch = Callable[[], Iterable[Entry]]
"""Entries that are made where they are written, outside of the loop's thread: arguments take time to encode."""


class BlockNote(NamedTuple):
    """A block without its body."""

    start: int
    stop: int
    form: int
    digest: bytes


class JobState(Value):
    """What a journal has of a job of an earlier life.

    Args:
        note: what was opened.
        blocks: its tasks, in order and without a gap.
        sent: tasks below were perhaps sent, where that is kept.
        ended: tasks that have ended, and were recorded.
    """

    note: JobNote
    blocks: tuple[BlockNote, ...]
    sent: int
    ended: RangeSet

    @property
    def total(self) -> int:
        """Return how many tasks there are."""
        return self.blocks[-1].stop if self.blocks else 0


class Journal(Protocol):
    """The memory of a ventilator beyond its life. All is called in the loop's thread."""

    peer: PeerId
    """The id that the ventilator has in each of its lives."""
    first_attempt: int
    """Attempts of this life are numbered from here: beyond all of earlier ones."""
    place: str
    """For people: where it is."""

    def jobs(self) -> Sequence[JobState]:
        """Return the jobs of earlier lives, in the order they were opened."""

    def body(self, job: JobId, start: int) -> bytes:
        """Return the arguments of the block that begins at `start`."""

    def records(self, job: JobId, start: int, stop: int) -> list[Record]:
        """Return how tasks of [start, stop) ended, in order, as far as that is written."""

    def write(self, batch: Batch, on_written: Callable[[], None] | None = None) -> None:
        """Write entries after all that came before; then call `on_written`, in the loop's thread."""


def last_words(records: Sequence[Record], start: int, stop: int) -> list[Record]:
    """Return how tasks of [start, stop) ended, in order, each task once: its success, or else its last failure.

    Args:
        records: that overlap the range, in the order in which they were written.
        start: the first task.
        stop: one past the last.
    """
    told, found = RangeSet(), []
    successes = [record for record in records if record.outcome.kind is OutcomeKind.OK]
    failures = [record for record in records if record.outcome.kind is not OutcomeKind.OK]
    for record in (*successes, *reversed(failures)):
        first, last = max(record.start, start), min(record.stop, stop)
        found += [Record(record.outcome, *part) for part in told.missing(first, last)]
        told.add(first, last)
    return sorted(found, key=lambda record: record.start)
