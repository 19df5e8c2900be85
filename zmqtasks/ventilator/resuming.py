"""A ventilator that goes on where an earlier life of it has ended.

Owns which job of the journal an opened job is, the comparison of its tasks with those of the journal, and the order
"written, then dispatched". Decides nothing about nodes (`machines/dispatch.py` does). Called by `ventilator.py`, and by
who keeps results in the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any

from zmqtasks.errors import JournalMismatch
from zmqtasks.journal import Block, BlockNote, JobNote, JobState, Journal, Sent
from zmqtasks.journal.blocks import blocks_of, digest_of, encoded, is_equal
from zmqtasks.machines import dispatch_moves as moves
from zmqtasks.machines.collection import Record
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import Body, JobId, OutcomeKind, Settled
from zmqtasks.options import TaskOptions
from zmqtasks.records import Entity, Value, field
from zmqtasks.wire import payload

MEANING = ("serializer", "retry")
"""Options that have to be the same for a job to go on; others may be changed: a longer timeout, say."""
ALL_TASKS = 1 << 63
SPAWN = "spawn"
"""The kind of jobs that tasks have asked for: the program does not ask for them again."""
FINAL_WITHOUT_RETRIES = frozenset({OutcomeKind.ERROR, OutcomeKind.TIMEOUT, OutcomeKind.OUT_OF_MEMORY})


class Kin(Value):
    """What tells a job from others, beside its tasks.

    Args:
        kind: how its tasks are given: "submit", "map", "input" or "spawn".
        code: of its function; see `wire.fingerprint`.
        recorded: asked which tasks have ended, where the journal does not know it best.
        earlier: id of a job that tasks have asked for in an earlier life.
        function: of a job that tasks ask for, encoded.
    """

    kind: str = ""
    code: str = ""
    recorded: Callable[[JobId], RangeSet] | None = None
    earlier: JobId = ""
    function: bytes = b""


class _Kept(Entity):
    """A job with a journal."""

    note: JobNote
    blocks: tuple[BlockNote, ...] = ()
    total: int = 0
    """Tasks that an earlier life has written."""
    doubted: int = 0
    """Tasks below may be aboard nodes since then."""
    ended: RangeSet = field(default_factory=RangeSet)
    added: int = 0
    released: int = 0
    """Tasks below are with the machine."""
    block: int = 0
    """Place in `blocks` of the next to be compared."""
    values: tuple[int, Sequence[Any]] | None = None
    """Of the block that was opened last: its place, and its arguments."""


class Resuming:
    """The jobs of one ventilator, as its journal has them.

    Args:
        journal: of this life.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._earlier = list(journal.jobs())
        self._number = max((int(s.note.id.rpartition(":")[2]) for s in self._earlier), default=0)
        self._jobs: dict[JobId, _Kept] = {}
        self._failed: dict[JobId, set[int]] = {}
        """Tasks of which only somebody else could tell that they have failed for good."""
        self._is_resumed = any(state.note.kind != SPAWN for state in self._earlier)
        self._is_matched = False
        """Whether a job was one of the journal: then it is the same program, and may open others."""

    # Jobs

    def open(self, name: str, options: TaskOptions, kin: Kin) -> JobId:
        """Return the id of the job that an earlier life has opened, or of a new one.

        Raises:
            JournalMismatch: it is not what the journal has.
        """
        state = self._match(name, options, kin)
        if state is None:
            self._number += 1
            # A moment is of this life; delays are those of the program that gives its calls again.
            lasting = options.replace(not_before=None)
            note = JobNote(f"{self.journal.peer}:{self._number}", kin.kind, name, kin.code, lasting, kin.function)
            self._jobs[note.id] = _Kept(note)
            self.journal.write(lambda: (note,))
            return note.id
        self._earlier.remove(state)
        self._is_matched |= kin.kind != SPAWN
        doubted = state.total if options.retry else state.sent
        ended = kin.recorded(state.note.id) if kin.recorded else state.ended
        self._jobs[state.note.id] = _Kept(state.note, state.blocks, state.total, doubted, ended)
        return state.note.id

    def _match(self, name: str, options: TaskOptions, kin: Kin) -> JobState | None:
        if kin.kind == SPAWN:
            return next((s for s in self._earlier if s.note.id == kin.earlier), None)
        alike = [s for s in self._earlier if (s.note.kind, s.note.name) == (kin.kind, name)]
        same = [s for s in alike if s.note.code == kin.code and not _differences(s.note.options, options)]
        exact = [s for s in same if s.note.options == options]
        if found := exact or same:
            return found[0]
        if alike:
            raise self._mismatch(_what_differs(alike[0].note, options, kin))
        if self._is_resumed and not self._is_matched:
            known = ", ".join(dict.fromkeys(s.note.name for s in self._earlier if s.note.kind != SPAWN))
            raise self._mismatch(f"it was begun with {known}, and not with {name}")
        return None

    def _mismatch(self, what: str) -> JournalMismatch:
        return JournalMismatch(
            f"the journal {self.journal.place} is of something else: {what}; give a new journal, or do again what was "
            "done before"
        )

    def totals(self, job: JobId) -> tuple[int, int]:
        """Return how many tasks of a job an earlier life has written, and how many of them have ended."""
        kept = self._jobs[job]
        return kept.total, sum(b - a for a, b in kept.ended.common(0, kept.total))

    def forget(self, job: JobId) -> None:
        """Let go of a job that has ended."""
        self._jobs.pop(job, None)
        self._failed.pop(job, None)

    def is_at_most_once(self, job: JobId) -> bool:
        """Tell whether it has to be written what is about to be sent."""
        kept = self._jobs.get(job)
        return kept is not None and not kept.note.options.retry

    def write_sent(self, stops: Iterable[tuple[JobId, int]], on_written: Callable[[], None]) -> None:
        """Write that tasks of at-most-once jobs are about to be sent; then call back."""
        marks = [Sent(job, stop) for job, stop in stops]
        self.journal.write(lambda: marks, on_written)

    # Tasks

    def add(
        self,
        job: JobId,
        items: Sequence[Any],
        form: payload.Form,
        known: Container[str],
        release: Callable[[int, int], None],
    ) -> None:
        """Compare tasks with those of the journal, or write them; then release them, in order.

        Args:
            job: to which they belong.
            items: their arguments, not changed until they are released.
            form: what an item is to the function.
            known: objects that arguments may refer to.
            release: called with each range once it may be dispatched.

        Raises:
            JournalMismatch: they are not those of the journal.
        """
        kept = self._jobs[job]
        start, kept.added = kept.added, kept.added + len(items)
        old = min(kept.added, kept.total)
        if start < old:
            self._compare(kept, items[: old - start], start, form, known)
            release(start, old)
        first = max(start, old)
        if first < kept.added:
            fresh, stop, options = items[first - start :], kept.added, kept.note.options
            self.journal.write(lambda: blocks_of(job, fresh, first, form, options, known), lambda: release(first, stop))

    def adopt(self, job: JobId, body: Body, count: int, release: Callable[[int, int], None]) -> None:
        """Write tasks that a task has asked for, as it has encoded them; then release them."""
        kept = self._jobs[job]
        start, kept.added = kept.added, kept.added + count
        block = Block(job, start, kept.added, 0, b"", bytes(payload.in_memory(body)))
        self.journal.write(lambda: (block,), lambda: release(block.start, block.stop))

    def unfinished_spawned(self) -> list[tuple[JobNote, int]]:
        """Return the jobs that tasks of an earlier life have asked for, and that were not done, with their tasks."""
        spawned = [state for state in self._earlier if state.note.kind == SPAWN]
        return [(state.note, state.total) for state in spawned if state.ended.missing(0, state.total)]

    def adopted(self, job: JobId) -> Iterator[tuple[Body, int]]:
        """Yield what tasks of an earlier life have asked for: arguments, where they are needed, and how many."""
        kept = self._jobs[job]
        kept.added = kept.total
        for start, stop, _, _ in kept.blocks:
            yield self.journal.body(job, start) if kept.ended.missing(start, stop) else b"", stop - start

    def ended(self, job: JobId) -> RangeSet:
        """Return which tasks of an open job have ended."""
        return self._jobs[job].ended

    def is_spawned(self, job: JobId) -> bool:
        """Tell whether a job is one that tasks have asked for."""
        note = self._note(job)
        return note is not None and note.kind == SPAWN

    def after(self, callback: Callable[[], None]) -> None:
        """Call back once all that was added has been released."""
        self.journal.write(tuple, callback)

    def released(self, job: JobId, start: int, stop: int) -> list[moves.Event]:
        """Note that tasks go to the machine now; return what it has to know of them, the adding itself last."""
        kept = self._jobs.get(job)
        if kept is None:
            return []
        kept.released = stop
        events: list[moves.Event] = [moves.TasksRecorded(job, *part) for part in kept.ended.common(start, stop)]
        if start < kept.doubted:
            events.append(moves.TasksDoubted(job, start, min(stop, kept.doubted)))
        return [*events, moves.TasksAdded(job, stop - start)]

    # Outcomes of tasks that were not released yet

    def boundary(self, job: JobId) -> int:
        """Return the task from which on the tasks of a job are not with the machine yet; one that has ended has all."""
        if kept := self._jobs.get(job):
            return kept.released
        return 0 if any(state.note.id == job for state in self._earlier) else ALL_TASKS

    def is_end(self, job: JobId, kind: OutcomeKind) -> bool:
        """Tell whether an outcome of a task that is not released ends it, whatever was before."""
        note = self._note(job)
        if kind is OutcomeKind.OK or note is None:
            return kind is OutcomeKind.OK
        if kind in (OutcomeKind.RETURNED, OutcomeKind.RETRY):
            return False
        return not note.options.retry or (note.options.retries == 0 and kind in FINAL_WITHOUT_RETRIES)

    def is_early_end(self, record: Record) -> bool:
        """Tell whether this ends a task that is not released, so that nobody will judge it."""
        job = record.outcome.job
        return record.start >= self.boundary(job) and self.is_end(job, record.outcome.kind)

    def failed(self, job: JobId, start: int, stop: int) -> list[int]:
        """Return the tasks of which was heard, before they were released, that they have failed for good."""
        failed = self._failed.get(job)
        return sorted(failed.intersection(range(start, stop))) if failed else []

    def settle(self, settled: Settled) -> list[moves.Event]:
        """Return what the machine has to know of an outcome, and keep what it is to know later."""
        boundary = self.boundary(settled.job)
        if settled.stop <= boundary:
            return [moves.OutcomeSettled(settled)]
        early = settled._replace(start=max(settled.start, boundary))
        ended = self._ended(settled.job)
        if ended is not None and self.is_end(settled.job, settled.kind):
            ended.add(early.start, early.stop)
            self._hear(early)
        events: list[moves.Event] = [moves.OutcomeMissed(early)]
        if settled.start < boundary:
            events.append(moves.OutcomeSettled(settled._replace(stop=boundary)))
        return events

    def _hear(self, end: Settled) -> None:
        tasks = range(end.start, end.stop)
        if end.kind is not OutcomeKind.OK:
            self._failed.setdefault(end.job, set()).update(tasks)
        elif failed := self._failed.get(end.job):
            failed.difference_update(tasks)

    def _note(self, job: JobId) -> JobNote | None:
        if kept := self._jobs.get(job):
            return kept.note
        return next((state.note for state in self._earlier if state.note.id == job), None)

    def _ended(self, job: JobId) -> RangeSet | None:
        if kept := self._jobs.get(job):
            return kept.ended
        return next((state.ended for state in self._earlier if state.note.id == job), None)

    # Comparing

    def _compare(
        self, kept: _Kept, items: Sequence[Any], start: int, form: payload.Form, known: Container[str]
    ) -> None:
        """Raise JournalMismatch where tasks from `start` on are not those of the journal."""
        stop = start + len(items)
        while kept.block < len(kept.blocks) and (block := kept.blocks[kept.block]).start < stop:
            first, last = max(start, block.start), min(stop, block.stop)
            part = items[first - start : last - start]
            if block.form != form or not self._is_same(kept, block, part, first, known):
                where = f"task {first}" if last - first == 1 else f"tasks {first} to {last - 1}"
                raise self._mismatch(f"{where} of {kept.note.name} had other arguments")
            if block.stop > stop:
                return
            kept.block += 1
            kept.values = None

    def _is_same(self, kept: _Kept, block: BlockNote, items: Sequence[Any], first: int, known: Container[str]) -> bool:
        options = kept.note.options
        if (
            len(items) == block.stop - block.start
            and digest_of(encoded(items, block.form, options, known)) == block.digest
        ):
            return True
        if not block.digest:
            return False
        if kept.values is None:
            body = self.journal.body(kept.note.id, block.start)
            opened = payload.unpack(body, serializer=options.serializer)
            if opened.errors:  # objects that were put, say, are known by name only
                return len(items) < block.stop - block.start
            kept.values = kept.block, opened.values
        old = kept.values[1][first - block.start : first - block.start + len(items)]
        return all(is_equal(*pair, options) for pair in zip(old, items, strict=True))


def _differences(old: TaskOptions, new: TaskOptions) -> list[str]:
    return [name for name in MEANING if getattr(old, name) != getattr(new, name)]


def _what_differs(note: JobNote, options: TaskOptions, kin: Kin) -> str:
    if note.code != kin.code:
        return f"the function {note.name} has changed, or the version of Python"
    names = _differences(note.options, options)
    return ", ".join(f"{name} was {getattr(note.options, name)!r} for {note.name}" for name in names)
