"""What becomes of the pieces of a worker that will not end them: it died, it left, its task waits, or others are idle.

What it had not begun is queued in front, unpunished. Where it died, the task that ran is blamed; where nobody can tell
which one that was, what it may have been is halved, until the guilty one is alone. Owns nothing: the pieces are the
`Stock`'s. Called by `holding.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from zmqtasks.machines.holding_moves import Blame, Command, TasksNotBegun, WorkerLost
from zmqtasks.machines.pieces import Piece, Workplace
from zmqtasks.machines.stock import Stock
from zmqtasks.messages import OutcomeKind
from zmqtasks.records import replace


class Remains:
    """Say what becomes of what workers have not ended; see the module."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock
        self._requeue = stock.requeue

    def queue_again(self, last_first: Iterable[Piece]) -> list[Command]:
        """Queue pieces in front that a worker had, and nobody need be blamed for."""
        commands: list[Command] = []
        for piece in last_first:
            if piece.job.wanted:
                commands = self._requeue(piece, piece.next, piece.chunk.stop) + commands
            self._stock.done_with(piece)
        return commands

    def part_with(self, worker: Workplace, event: TasksNotBegun, parts: int) -> list[Command]:
        """Queue in front what a worker will not begin, each piece in so many parts."""
        commands: list[Command] = []
        for piece in [piece for piece in reversed(worker.pieces) if piece.position < event.until]:
            start = max(piece.next, piece.chunk.start + event.position - piece.position)
            if start >= piece.chunk.stop:
                break
            if piece.job.wanted:
                commands = self._requeue_parts(piece, start, parts) + commands
            if start > piece.next:
                piece.chunk, piece.cut = replace(piece.chunk, stop=start), True
            else:
                worker.pieces.remove(piece)
                self._stock.done_with(piece)
        return commands

    def _requeue_parts(self, piece: Piece, start: int, parts: int) -> list[Command]:
        commands: list[Command] = []
        stop, parts = piece.chunk.stop, min(parts, piece.chunk.stop - start)
        cuts = [start + (stop - start) * number // parts for number in range(parts + 1)]
        for first, last in reversed(list(pairwise(cuts))):
            commands = self._requeue(piece, first, last) + commands
        return commands

    def lose(self, worker: Workplace, event: WorkerLost) -> list[Command]:
        """Blame the task that ran, keep what was told, and queue the rest in front, unpunished."""
        guilty = worker.guilty(event.attempt, event.index)
        begun = worker.pieces.index(guilty) if guilty else len(worker.pieces) if event.unaccounted else 0
        commands: list[Command] = []
        for place, piece in reversed(list(enumerate(worker.pieces))):
            if not piece.job.wanted:
                ended: list[Command] = []
            elif piece is guilty:
                ended = self._end_at(piece, event, worker)
            elif place < begun:  # the worker was past it, and what it told was lost
                ended = self._requeue_run(piece, piece.next, piece.chunk.stop)
            else:
                ended = self._requeue(piece, piece.next, piece.chunk.stop)
            commands = ended + commands
            self._stock.done_with(piece)
        return commands

    def _end_at(self, piece: Piece, event: WorkerLost, worker: Workplace) -> list[Command]:
        """Settle a piece whose worker died at a task of it."""
        assert event.index is not None
        blameless = worker.doomed or event.blameless
        if event.loading or event.importing:
            return self._end_unrun(piece, event, blameless=blameless)
        last = piece.chunk.stop if event.packing else piece.chunk.stop - 1
        index = min(max(event.index, piece.next), last)
        if blameless:
            begun = index if event.packing else index + 1
            rest = self._requeue(piece, begun, piece.chunk.stop)
            piece.stopped = worker.sacrificed or piece.stopped
            return self._requeue_run(piece, piece.next, begun, suspect=event.suspect) + rest
        if not event.packing:
            return self._blame(piece, index, event.kind)
        if index == piece.next:  # all that had run was told
            return self._requeue(piece, piece.next, piece.chunk.stop)
        if not piece.job.job.options.retry:  # what ran must not run again, so there is nothing to find out
            return self._blame(piece, index - 1, event.kind)
        return self._doubt(piece, index, event.kind)

    def _end_unrun(self, piece: Piece, event: WorkerLost, *, blameless: bool) -> list[Command]:
        """Settle a piece whose worker died while it loaded arguments or the function: none of it has run."""
        stop = piece.chunk.stop
        if blameless:
            return self._requeue(piece, piece.next, stop, suspect=event.suspect)
        if event.importing and event.kind is OutcomeKind.TIMEOUT:  # so will it be for each of them
            job, attempt = piece.job.job, piece.chunk.attempt
            return [Blame(job, attempt, index, event.kind) for index in range(piece.next, stop)]
        if piece.cut:  # the guilty one may be in the part that has gone elsewhere
            return self._requeue(piece, piece.next, stop)
        return self._doubt(piece, stop, event.kind)

    def _blame(self, piece: Piece, index: int, kind: OutcomeKind) -> list[Command]:
        """Blame one task of a piece, and nothing else of it."""
        rest = self._requeue(piece, index + 1, piece.chunk.stop)
        earlier = self._requeue_run(piece, piece.next, index)
        return [*earlier, Blame(piece.job.job, piece.chunk.attempt, index, kind), *rest]

    def _doubt(self, piece: Piece, stop: int, kind: OutcomeKind) -> list[Command]:
        """Blame the one task that is left before `stop`, or halve what it may have been, and punish nobody yet.

        So the guilty argument or result is soon alone.
        """
        if stop == piece.next + 1:
            return self._blame(piece, piece.next, kind)
        middle = (piece.next + stop) // 2
        rest = self._requeue(piece, stop, piece.chunk.stop)
        rest = self._requeue(piece, middle, stop) + rest
        return self._requeue(piece, piece.next, middle) + rest

    def _requeue_run(self, piece: Piece, start: int, stop: int, *, suspect: bool = False) -> list[Command]:
        """Queue tasks again that may have run, and whose results died with the worker, if that is allowed."""
        if piece.job.job.options.retry:
            return self._requeue(piece, start, stop, suspect=suspect)
        return [piece.give_back(start, stop, OutcomeKind.LOST)] if start < stop else []
