"""A journal in memory, which outlives the simulated process that writes it.

Owns what was written, and the time that takes. It passes the tests of the real one (tests/test_journal.py). What was
handed over and not written yet is lost with the process: `MemoryJournal.die`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zmqtasks.journal import Batch, Block, BlockNote, JobNote, JobState, Sent, last_words
from zmqtasks.machines.collection import Record
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId, PeerId
from zmqtasks.sessions import Loop

LIFE_ATTEMPTS = 1 << 40


class Pages:
    """What is written: the disk, as it were. Give it to one `MemoryJournal` after the other."""

    def __init__(self, peer: PeerId) -> None:
        self.peer = peer
        self.lives = 0
        self.jobs: dict[JobId, JobNote] = {}
        self.blocks: dict[JobId, list[Block]] = {}
        self.sent: dict[JobId, int] = {}
        self.outcomes: dict[JobId, list[Record]] = {}

    def write(self, batch: Batch) -> None:
        """Write what a batch makes."""
        for entry in batch():
            if isinstance(entry, JobNote):
                self.jobs[entry.id] = entry
            elif isinstance(entry, Block):
                self.blocks.setdefault(entry.job, []).append(entry)
            elif isinstance(entry, Sent):
                self.sent[entry.job] = max(self.sent.get(entry.job, 0), entry.stop)
            else:
                self.outcomes.setdefault(entry.outcome.job, []).append(entry)


class MemoryJournal:
    """One life of a journal in memory; see `zmqtasks.journal.Journal`.

    Args:
        pages: what earlier lives have written, and this one will.
        loop: calls back when something is written.
        delay_s: how long that takes.
    """

    place = "memory"

    def __init__(self, pages: Pages, loop: Loop, delay_s: float = 0.001) -> None:
        self.peer = pages.peer
        self.first_attempt = 1 + pages.lives * LIFE_ATTEMPTS
        self.delay_s = delay_s
        pages.lives += 1
        self._pages = pages
        self._loop = loop
        self._free_at = 0.0
        self._alive = True

    def jobs(self) -> Sequence[JobState]:
        """Return the jobs of earlier lives."""
        return [self._state(note) for note in self._pages.jobs.values()]

    def _state(self, note: JobNote) -> JobState:
        blocks = tuple(BlockNote(b.start, b.stop, b.form, b.digest) for b in self._pages.blocks.get(note.id, ()))
        ended = RangeSet((record.start, record.stop) for record in self._pages.outcomes.get(note.id, ()))
        return JobState(note, blocks, self._pages.sent.get(note.id, 0), ended)

    def body(self, job: JobId, start: int) -> bytes:
        """Return the arguments of the block that begins at `start`."""
        return next(block.body for block in self._pages.blocks[job] if block.start == start)

    def records(self, job: JobId, start: int, stop: int) -> list[Record]:
        """Return how tasks of [start, stop) ended."""
        written = self._pages.outcomes.get(job, ())
        return last_words([record for record in written if record.start < stop and record.stop > start], start, stop)

    def write(self, batch: Batch, on_written: Callable[[], None] | None = None) -> None:
        """Write entries after all that came before, in their time; then call back."""
        self._free_at = max(self._free_at, self._loop.time() + self.delay_s)
        self._loop.call_at(self._free_at, self._written, batch, on_written)

    def _written(self, batch: Batch, on_written: Callable[[], None] | None) -> None:
        if not self._alive:
            return
        self._pages.write(batch)
        if on_written is not None:
            on_written()

    def die(self) -> None:
        """Lose what is not written yet: the process is gone."""
        self._alive = False
