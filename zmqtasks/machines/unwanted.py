"""What nobody wants any more of what a node holds: a ventilator is gone, or has cancelled it.

What waits is given back at once. A worker is killed over what it runs now, and where its ventilator asks for that; what
was only sent ahead to it may get its turn. Owns nothing: the pieces are the `Stock`'s. Called by `holding.py`.
"""

from __future__ import annotations

from zmqtasks.machines.holding_moves import Command, KillWorker, RangesCancelled
from zmqtasks.machines.pieces import Line, part_of
from zmqtasks.machines.stock import Stock
from zmqtasks.messages import PeerId


class Unwanted:
    """Give back and kill; see the module."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock

    def ventilator_gone(self, ventilator: PeerId) -> list[Command]:
        """Drop what waits for a ventilator, and kill what it runs."""
        if ventilator not in self._stock.lines:
            return []
        self._stock.close_line(ventilator)
        return [command for slot in self._stock.workers for command in self.kill_if_unwanted(slot)]

    def cancel(self, event: RangesCancelled) -> list[Command]:
        """Give back what waits, and kill what runs where that is asked."""
        line = self._stock.lines.get(event.ventilator)
        if line is None:
            return []
        commands = self._take_out(line, event)
        for slot in self._stock.workers:
            self._note_begun(slot, event)
            commands += self.kill_if_unwanted(slot)
        return commands

    def _take_out(self, line: Line, event: RangesCancelled) -> list[Command]:
        commands: list[Command] = []
        for piece in reversed(line.take_all()):
            unwanted = piece.overlaps(event.ranges)
            if not unwanted:
                line.put(piece, front=True)
                continue
            commands = [*(piece.give_back(a, b) for a, b in unwanted), *commands]
            for a, b in reversed(unwanted.missing(piece.next, piece.chunk.stop)):
                self._stock.enqueue(part_of(piece, a, b), front=True)
            self._stock.done_with(piece)
        return commands

    def _note_begun(self, slot: int, event: RangesCancelled) -> None:
        """Note what is unwanted of the pieces a worker has."""
        own = (piece for piece in self._stock.workers[slot].pieces if piece.ventilator == event.ventilator)
        for piece in own:
            for start, stop in piece.overlaps(event.ranges):
                piece.unwanted.add(start, stop)
                if event.kill:
                    piece.doomed.add(start, stop)

    def kill_if_unwanted(self, slot: int) -> list[Command]:
        """Kill a worker over what it runs now, if nobody wants that."""
        pieces = self._stock.workers[slot].pieces
        return self.kill(slot) if pieces and (not pieces[0].job.wanted or pieces[0].may_run_doomed()) else []

    def kill(self, slot: int) -> list[Command]:
        """Kill a worker, once."""
        worker = self._stock.workers[slot]
        earlier, worker.doomed = worker.doomed, True
        return [] if earlier else [KillWorker(slot)]
