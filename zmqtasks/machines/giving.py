"""Which worker of a node gets which piece, and when none gets any.

Ventilators take turns, a chunk at a time. A busy worker is sent one chunk ahead where both are expected to be short, so
that it never waits for the supervisor; never a long or an unknown one, for another worker may be idle first.

Short of memory, a node starts less: what was stopped for want of it is kept aside, in front of the queue, until
`admission` says that there is room. Where a worker that waited for others would go on, idle ones are spared for it, and
get nothing. Who would not end before the node does is not begun.

Owns how much room is wanted, and when the node ends; the pieces are the `Stock`'s. Called by `holding.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from zmqtasks.machines.admission import Admission
from zmqtasks.machines.holding_moves import Command, Give, RoomTold, Spare, TellLate
from zmqtasks.machines.pieces import Line, Piece, Workplace, part_of
from zmqtasks.machines.resources import Resources
from zmqtasks.machines.stock import Stock

INFINITY = float("inf")


class Giving:
    """Give pieces to workers; see the module, and `Holding` for the other arguments."""

    def __init__(self, stock: Stock, *, one_task: bool, in_lanes: bool, resources: Iterable[tuple[str, float]]) -> None:
        self._stock = stock
        self._workers = stock.workers
        self._one_task = one_task
        self._one_at_a_time = one_task or in_lanes
        self._resources = Resources(resources)
        self._admission = Admission()
        self._was_short = False
        self._is_late = False
        self._now = 0.0
        self.ends_at = INFINITY
        """When the node ends."""
        self.room_wanted = 0
        """So many idle workers are to be spared."""

    def told_room(self, event: RoomTold) -> None:
        """Take note of how much memory there is."""
        self._was_short = True
        self._admission.told(event.paused, event.room_bytes, event.most_bytes)

    def stopped_one(self) -> None:
        """Take note that a task is stopped for want of memory, which will be put aside."""
        self._was_short = True

    def idle(self) -> int:
        """Return how many workers could take over something, as nothing waits for them."""
        if self._one_at_a_time or self._stock.is_queued():
            return 0
        if self._was_short and self._is_short():
            return 0
        return len([worker for worker in self._workers.values() if worker.is_free])

    def assign(self, now: float) -> list[Command]:
        """Give out what can be, after any event."""
        self._now = now
        commands = self._spare_idle() if self.room_wanted else []
        if not self.room_wanted:
            commands += self._give_out()
        if self._is_late and not self._stock.draining:
            self._is_late = False
            commands.append(TellLate())
        return commands

    def _spare_idle(self) -> list[Command]:
        """Spare idle workers, as far as their places are wanted."""
        idle = [slot for slot, worker in self._workers.items() if worker.is_free][: self.room_wanted]
        for slot in idle:
            self._stock.spared[slot] = self._workers.pop(slot)
        self.room_wanted -= len(idle)
        return [Spare(slot) for slot in idle]

    def _give_out(self) -> list[Command]:
        if self._was_short and self._is_short():
            return self._give_out_carefully()
        commands: list[Command] = []
        for ahead in (0,) if self._one_at_a_time else (0, 1):
            if not self._stock.is_queued():
                return commands
            for slot, worker in self._workers.items():
                free = worker.serving and not (worker.doomed or worker.lends) and len(worker.pieces) == ahead
                if free and not (ahead and worker.burden.is_silent(self._now)) and (piece := self._next_piece(worker)):
                    commands.append(self._give(slot, worker, piece))
        return commands

    def _next_piece(self, worker: Workplace) -> Piece | None:
        """Return the next piece for this worker: ventilators in turn; ahead only short after short.

        Where it is the turn of one that cannot go ahead, nothing goes ahead of it: it would wait for ever.
        """
        lines, turns = self._stock.lines, self._stock.turns
        for _ in range(len(turns)):
            line = lines[turns[0]]
            if piece := self._startable(line, worker):
                if worker.pieces and not (worker.pieces[0].is_short() and piece.is_short()):
                    return None
                if not self._in_time(piece):
                    return None
                turns.rotate(-1)
                line.queue.remove(piece)
                return piece
            turns.rotate(-1)
        return None

    def _startable(self, line: Line, worker: Workplace) -> Piece | None:
        """Return the first piece of a line that there is enough for here, as far as tasks say what they need."""
        if line.congested or not line.queue:
            return None
        if not line.queue[0].needs:
            return line.queue[0]
        return self._resources.first_startable(line.queue, worker, self._workers.values())

    def _in_time(self, piece: Piece) -> bool:
        """Tell whether a piece can be expected to end before this node does; remember it where one cannot."""
        if self.ends_at == INFINITY or self._now + piece.expected_s() <= self.ends_at:
            return True
        self._is_late = True
        return False

    # Short of memory

    def _is_short(self) -> bool:
        """Tell whether memory was short and still matters."""
        if self._admission.paused or self._stock.waits_for_room():
            return True
        return any(piece.alone for worker in self._workers.values() for piece in worker.pieces)

    def _give_out_carefully(self) -> list[Command]:
        """Give what there is memory for; nothing ahead, and nothing beside what has to be alone."""
        commands: list[Command] = []
        for slot, worker in self._workers.items():
            free = worker.serving and not worker.doomed and not worker.pieces
            if free and (piece := self._careful_piece(worker)):
                commands.append(self._give(slot, worker, piece))
        return commands

    def _careful_piece(self, worker: Workplace) -> Piece | None:
        # What waits for others counts as nothing: it would wait for ever for what has to be alone.
        begun = list(self._stock.begun())
        turns = [(id_, self._stock.lines[id_]) for id_ in self._stock.turns if not self._stock.lines[id_].congested]
        for _, line in turns:
            for piece in line.aside:
                if piece.stopped and self._admission.has_to_be_alone(piece.stopped, self._now):
                    return None if begun else line.take_alone(piece)
        if begun and (self._admission.paused or any(piece.alone for piece in begun)):
            return None
        for id_, line in turns:
            fitting = (p for p in line.aside if p.stopped and (not begun or self._admission.has_room(p.stopped)))
            chosen = next(fitting, None)
            if chosen is not None:
                line.aside.remove(chosen)
            elif (chosen := self._startable(line, worker)) is not None and self._in_time(chosen):
                line.queue.remove(chosen)
            else:
                continue
            self._stock.turns.remove(id_)
            self._stock.turns.append(id_)
            return chosen
        return None

    # To one worker

    def _give(self, slot: int, worker: Workplace, piece: Piece) -> Give:
        if self._one_task:
            piece, worker.serving = self._first_task(piece), False
        self._burden(worker, piece)
        worker.pieces.append(piece)
        job = piece.job.job
        jobs = () if job.id in worker.knows else (job,)
        worker.knows.add(job.id)
        # A job that was forgotten and is back is named anew, and not forgotten in the same breath.
        ended = tuple(id_ for id_ in worker.forget if id_ != job.id)
        worker.forget.clear()
        return Give(slot, jobs, piece.chunk, ended, piece.suspect)

    def _burden(self, worker: Workplace, piece: Piece) -> None:
        burden = worker.burden
        piece.position = burden.given
        burden.given += piece.tasks
        if not worker.pieces:
            burden.heard_at = self._now

    def _first_task(self, piece: Piece) -> Piece:
        """Return the first task of a piece; the rest stays in front."""
        if piece.tasks == 1:
            return piece
        self._stock.enqueue(part_of(piece, piece.next + 1, piece.chunk.stop), front=True)
        return part_of(piece, piece.next, piece.next + 1)

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        assert not self.room_wanted or not any(worker.is_free for worker in self._workers.values()), repr(self._stock)
        begun = list(self._stock.begun())
        assert len(begun) == 1 or not any(piece.alone for piece in begun), repr(self._stock)
