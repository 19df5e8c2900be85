"""What a node holds: the line of each ventilator, whose turn it is, and what each worker has.

Owns where each piece is. Moves pieces, keeps the counts of their jobs in step, and says what is here. Decides nothing:
`holding.py` does, and `giving.py`, `remains.py` and `unwanted.py` for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from zmqtasks.machines.holding_moves import Command
from zmqtasks.machines.pieces import KnownJob, Line, Piece, Workplace, part_of
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import Held, Job, JobId, PeerId, Phase


class Stock:
    """Keep pieces in lines and at workers; see the module."""

    def __init__(self) -> None:
        self.lines: dict[PeerId, Line] = {}
        self.turns: deque[PeerId] = deque()
        """All that have a line; the first one is next."""
        self.workers: dict[int, Workplace] = {}
        self.spared: dict[int, Workplace] = {}
        """Those that wait until their places are theirs again."""
        self.draining = False

    # Lines and their jobs

    def open_line(self, ventilator: PeerId) -> Line:
        """Return the line of a ventilator, which may be new."""
        line = self.lines.get(ventilator)
        if line is None:
            line = self.lines[ventilator] = Line()
            self.turns.append(ventilator)
        return line

    def close_line(self, ventilator: PeerId) -> None:
        """Forget a ventilator; what runs of its jobs is wanted by nobody any more."""
        line = self.lines.pop(ventilator)
        self.turns.remove(ventilator)
        for held in line.jobs.values():
            held.wanted = False
            self._forget(held)

    def clear(self, line: Line) -> list[Piece]:
        """Remove and return all that waits in a line."""
        pieces = line.take_all()
        for piece in pieces:
            self.done_with(piece)
        return pieces

    def clear_all(self) -> Iterator[Piece]:
        """Remove and return all that waits."""
        return (piece for line in self.lines.values() for piece in self.clear(line))

    def end_job(self, line: Line, held: KnownJob) -> None:
        """Forget a job as soon as nothing of it is here."""
        held.ended = True
        self._forget_if_ended(line, held)

    def done_with(self, piece: Piece) -> None:
        """Take note that a piece is neither in its line nor at a worker."""
        piece.job.pieces -= 1
        if piece.job.wanted:
            self._forget_if_ended(self.lines[piece.ventilator], piece.job)

    def _forget_if_ended(self, line: Line, held: KnownJob) -> None:
        if held.ended and not held.pieces:
            del line.jobs[held.job.id]
            self._forget(held)

    def _forget(self, held: KnownJob) -> None:
        """Let the workers forget a job, each with the next chunk it is given."""
        for worker in (*self.workers.values(), *self.spared.values()):
            if held.job.id in worker.knows:
                worker.knows.discard(held.job.id)
                worker.forget.append(held.job.id)

    # Pieces

    def enqueue(self, piece: Piece, *, front: bool = False) -> None:
        """Put a piece that is new here into its line."""
        piece.job.pieces += 1
        self.lines[piece.ventilator].put(piece, front=front)

    def requeue(self, piece: Piece, start: int, stop: int, *, suspect: bool = False) -> list[Command]:
        """Queue a part of a piece in front; give back what was cancelled, and all where the node drains."""
        back = RangeSet([(start, stop)] if self.draining else piece.unwanted.common(start, stop))
        for a, b in reversed(back.missing(start, stop)):
            self.enqueue(part_of(piece, a, b, suspect=suspect), front=True)
        return [piece.give_back(a, b) for a, b in back]

    def is_queued(self) -> bool:
        """Tell whether something waits for a worker, and not for room."""
        for line in self.lines.values():  # noqa: SIM110  # each event comes here, and a generator costs more
            if line.queue:
                return True
        return False

    def waiting(self) -> Iterator[Piece]:
        """Go through all that waits in lines."""
        return (piece for line in self.lines.values() for piece in line.waiting())

    def begun(self) -> Iterator[Piece]:
        """Go through all that workers have, but for those that wait for others."""
        return (piece for worker in self.workers.values() if not worker.lends for piece in worker.pieces)

    # What is here

    def knows(self, ventilator: PeerId, job: JobId) -> bool:
        """Tell whether chunks of this job can be taken: its ventilator has named it."""
        return ventilator in self.lines and job in self.lines[ventilator].jobs

    def job(self, ventilator: PeerId, job: JobId) -> Job | None:
        """Return a job that its ventilator has named."""
        return self.lines[ventilator].jobs[job].job if self.knows(ventilator, job) else None

    def inventory(self, ventilator: PeerId) -> tuple[Held, ...]:
        """Return what is here of a ventilator, queued or running."""
        line = self.lines.get(ventilator)
        queued = [piece.held(Phase.QUEUED) for piece in (line.waiting() if line else ())]
        at_workers = (p for w in self.workers.values() for p in w.pieces if p.ventilator == ventilator)
        return (*[piece.held(Phase.RUNNING) for piece in at_workers if piece.job.wanted], *queued)

    def occupants(self) -> set[PeerId]:
        """Return the ventilators that have something here, queued or running."""
        return {id_ for id_, line in self.lines.items() if any(job.pieces for job in line.jobs.values())}

    def running(self, slot: int) -> Job | None:
        """Return the job of the chunk a worker has begun, or None where it is idle or nobody wants it."""
        worker = self.workers.get(slot)
        held = worker.pieces[0].job if worker and worker.pieces else None
        return held.job if held and held.wanted else None

    def busy(self) -> int:
        """Return how many workers have something to do."""
        return sum(1 for worker in self.workers.values() if worker.pieces)

    def queued(self) -> int:
        """Return how many tasks wait here."""
        return sum(piece.tasks for piece in self.waiting())

    def believed(self) -> dict[int, str]:
        """Return what each worker that is not idle has, for people."""
        return {slot: str([p.show() for p in w.pieces]) for slot, w in self.workers.items() if w.pieces}

    def waits_for_room(self) -> bool:
        """Tell whether a task that was stopped for want of memory waits to be run again."""
        return any(line.aside for line in self.lines.values())

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        pieces = [*self.waiting(), *(piece for worker in self.workers.values() for piece in worker.pieces)]
        for piece in pieces:
            assert piece.chunk.start <= piece.next < piece.chunk.stop, repr(self)
            if piece.job.wanted:
                assert self.lines[piece.ventilator].jobs[piece.chunk.job] is piece.job, repr(self)
                assert piece.job.pieces == sum(1 for p in pieces if p.job is piece.job), repr(self)
        for line in self.lines.values():
            assert all(held.pieces or not held.ended for held in line.jobs.values()), repr(self)
            assert all(piece.stopped for piece in line.aside), repr(self)
        assert set(self.turns) == set(self.lines), repr(self)
        assert not self.spared.keys() & self.workers.keys(), repr(self)
        assert not any(worker.pieces for worker in self.spared.values()), repr(self)
        for worker in self.workers.values():
            places = [place for p in worker.pieces for place in (p.position, p.position + p.chunk.stop - p.chunk.start)]
            assert [*places, worker.burden.given] == sorted([*places, worker.burden.given]), repr(self)

    def __repr__(self) -> str:
        queues = ", ".join(f"{id_[:6]} {len(v.aside) + len(v.queue)} queued" for id_, v in self.lines.items())
        workers = ", ".join(f"{s}: {[p.show() for p in w.pieces]}" for s, w in self.workers.items())
        return f"[{queues}] workers=[{workers}]"
