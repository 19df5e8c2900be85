"""What a node holds: pieces of chunks, the jobs they are of, the line of each ventilator, the place of each worker.

Owns what each of them is and what follows from it alone. Decides nothing about who gets what; `giving.py` does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain

from zmqtasks.machines.admission import Stopped
from zmqtasks.machines.balance import Burden
from zmqtasks.machines.holding_moves import GiveBack
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import Chunk, Held, Job, JobId, Outcome, OutcomeKind, PeerId, Phase, Range
from zmqtasks.options import HIGH
from zmqtasks.records import Entity, field, replace

AHEAD_S = 0.05
"""A chunk expected to take longer is never sent ahead to a busy worker."""


class Piece(Entity):
    """A part of a chunk that is here: tasks [next, stop) have not been told of yet.

    `unwanted` was cancelled, and of that `doomed` is not to be run to its end.
    """

    ventilator: PeerId
    chunk: Chunk
    job: KnownJob
    next: int
    unwanted: RangeSet = field(default_factory=RangeSet)
    stopped: Stopped | None = None
    """Of one that was stopped for want of memory."""
    alone: bool = False
    """Nothing is started beside it."""
    position: int = 0
    """Of its first task, among all its worker was ever given."""
    cut: bool = False
    """A part of what its worker was given was taken back: that one may be loading the arguments of all of it."""
    doomed: RangeSet = field(default_factory=RangeSet)
    suspect: bool = False
    """It ran beside others when their worker died: it is tried with nothing beside it."""

    @property
    def priority(self) -> int:
        """Return what its ventilator says of it."""
        return self.job.job.options.priority

    @property
    def needs(self) -> tuple[tuple[str, float], ...]:
        """Return what it takes of the resources of the node while it runs."""
        return self.job.job.options.needs

    @property
    def tasks(self) -> int:
        """Return how many tasks have not been told of."""
        return self.chunk.stop - self.next

    def is_short(self) -> bool:
        """Tell whether it is known to take little time."""
        return self.job.task_s is not None and self.job.task_s * self.tasks <= AHEAD_S

    def expected_s(self) -> float:
        """Return how long it will take, as far as anybody can tell."""
        if self.job.task_s is not None:
            return self.job.task_s * self.tasks
        return self.job.job.options.timeout or 0.0

    def overlaps(self, ranges: tuple[Range, ...]) -> RangeSet:
        """Return the parts of what is left that lie in the ranges."""
        parts = ((max(self.next, r.start), min(self.chunk.stop, r.stop)) for r in ranges if r.job == self.chunk.job)
        return RangeSet(parts)

    def may_run_doomed(self) -> bool:
        """Tell whether a worker that has begun this piece may be at something that is to be killed."""
        # Results of at-most-once tasks are told one by one: there, `next` is what runs.
        stop = self.chunk.stop if self.job.job.options.retry else self.next + 1
        return bool(self.doomed and self.doomed.common(self.next, stop))

    def give_back(self, start: int, stop: int, kind: OutcomeKind = OutcomeKind.RETURNED) -> GiveBack:
        """Return the order to hand back a part."""
        return GiveBack(self.job.job, self.chunk.attempt, start, stop, kind)

    def held(self, phase: Phase) -> Held:
        """Return its line of the inventory."""
        return Held(self.chunk.job, self.next, self.chunk.stop, self.chunk.attempt, phase)

    def show(self) -> str:
        """Return what is left of it, for people."""
        return f"{self.chunk.job}[{self.next}..{self.chunk.stop})"


class KnownJob(Entity):
    """A job while it is known: `pieces` counts those that are here, `wanted` is False once its ventilator is gone."""

    job: Job
    task_s: float | None = None
    measured: tuple[float, float] = (0.0, 0.0)
    ended: bool = False
    wanted: bool = True
    pieces: int = 0

    def measure(self, elapsed_s: float, tasks: int) -> None:
        """Take the mean over about the last second of work."""
        spent, number = self.measured[0] + elapsed_s, self.measured[1] + tasks
        self.task_s = spent / number
        self.measured = (spent, number) if spent < 1.0 else (spent / 2, number / 2)


class Line(Entity):
    """What waits for one ventilator, and the jobs it has named."""

    queue: deque[Piece] = field(default_factory=deque)
    aside: deque[Piece] = field(default_factory=deque)
    """What was stopped for want of memory; it comes before the queue."""
    jobs: dict[JobId, KnownJob] = field(default_factory=dict)
    congested: bool = False

    def waiting(self) -> Iterator[Piece]:
        """Go through all that waits, in order."""
        return chain(self.aside, self.queue)

    def take_all(self) -> list[Piece]:
        """Remove and return all that waits."""
        pieces = list(self.waiting())
        self.aside.clear()
        self.queue.clear()
        return pieces

    def put(self, piece: Piece, *, front: bool = False) -> None:
        """Queue a piece, at the end or in front of those of its priority; the latest of HIGH goes first."""
        line = self.queue if piece.stopped is None else self.aside
        priority = piece.priority
        if front or priority >= HIGH:
            place = next((n for n, other in enumerate(line) if other.priority <= priority), len(line))
            line.insert(place, piece)
        elif not line or line[-1].priority >= priority:
            line.append(piece)
        else:
            line.insert(next(n for n, other in enumerate(line) if other.priority < priority), piece)

    def take_alone(self, piece: Piece) -> Piece:
        """Remove a piece that was put aside; nothing is started beside it."""
        self.aside.remove(piece)
        piece.alone = True
        return piece


class Workplace(Entity):
    """What one worker has, and which jobs it knows."""

    pieces: deque[Piece] = field(default_factory=deque)
    knows: set[JobId] = field(default_factory=set)
    forget: list[JobId] = field(default_factory=list)
    serving: bool = True
    doomed: bool = False
    """It is being killed over something nobody wants; whatever else it has is innocent."""
    lends: bool = False
    """Its task waits for others, and another worker serves in its place."""
    sacrificed: Stopped | None = None
    """It is being killed for want of memory."""
    burden: Burden = field(default_factory=Burden)

    @property
    def is_free(self) -> bool:
        """Whether it may be given something at once."""
        return self.serving and not (self.doomed or self.lends or self.pieces)

    def measure_burden(self) -> Burden:
        """Return what it has before it: one task it may have begun, and what is behind that."""
        held = 0
        for piece in self.pieces:
            if piece.job.wanted:
                held += piece.chunk.stop - piece.next
        self.burden.behind = 0 if self.doomed or not held else held - 1
        return self.burden

    def continued_by(self, outcome: Outcome) -> Piece | None:
        """Return the piece an outcome continues; attempts are numbered by each ventilator for itself."""
        for piece in self.pieces:
            told = (piece.chunk.job, piece.chunk.attempt, piece.next) == (outcome.job, outcome.attempt, outcome.start)
            if told and outcome.start < outcome.stop <= piece.chunk.stop:
                return piece
        return None

    def guilty(self, attempt: int | None, index: int | None) -> Piece | None:
        """Return the piece whose task ran when the worker died; one dispatch may have come as several pieces."""
        if index is None:
            return None
        same = [piece for piece in self.pieces if piece.chunk.attempt == attempt]
        exact = [piece for piece in same if piece.chunk.start <= index <= piece.chunk.stop]
        return next(iter(exact + same), None)


def part_of(piece: Piece, start: int, stop: int, *, suspect: bool = False) -> Piece:
    """Return a part of a piece as a piece of its own; nothing is known to be unwanted of it."""
    chunk = replace(piece.chunk, start=start, stop=stop)
    suspect = suspect or piece.suspect
    return Piece(piece.ventilator, chunk, piece.job, start, stopped=piece.stopped, suspect=suspect)
