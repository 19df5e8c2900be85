"""Which tasks a fault met: what a worker had when it died, what was aboard a node that died or was given up.

Owns the excuse of every task that ends as crashed, as the killer of its nodes or as lost: with fewer deaths than the
rules of blame ask for, it was misjudged, and so was one that is lost and was never in doubt. Read by `oracle.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from zmqtasks.machines.dispatch import Dispatch
from zmqtasks.machines.pieces import Piece
from zmqtasks.messages import JobId, PeerId
from zmqtasks.node.shell import Node


class Mourned:
    """The deaths of a run."""

    def __init__(self) -> None:
        self._met: dict[JobId, list[tuple[int, int]]] = {}
        """The tasks of each death, [start, stop)."""
        self._doubted: dict[JobId, list[tuple[int, int]]] = {}
        """Of which somebody could not tell whether they were begun."""

    def worker(self, node: Node, slot: int) -> None:
        """A worker is about to die, by a fault."""
        workplace = node._holding._stock.workers.get(slot)
        self._note(workplace.pieces if workplace else ())

    def ended(self, node: Node, slot: int) -> None:
        """A worker ends by force, for whatever reason: what it had begun, and not told, may be lost."""
        workplace = node._holding._stock.workers.get(slot)
        for piece in workplace.pieces if workplace else ():
            self.doubt(piece.chunk.job, piece.next, piece.chunk.stop)

    def aboard(self, dispatch: Dispatch, node: PeerId | None = None) -> None:
        """What a ventilator thinks aboard a node, or aboard all, is about to be in doubt."""
        for assignment in dispatch._book.assignments.values():
            if node in (None, assignment.node):
                for start, stop in assignment.remaining:
                    self.doubt(assignment.job, start, stop)

    def doubt(self, job: JobId, start: int, stop: int) -> None:
        """Nobody may be able to tell of these tasks whether they were begun."""
        self._doubted.setdefault(job, []).append((start, stop))

    def node(self, node: Node) -> None:
        """A node is about to die, and its workers with it."""
        stock = node._holding._stock
        for workplace in stock.workers.values():
            self._note(workplace.pieces)
        for line in stock.lines.values():
            self._note(line.waiting())

    def _note(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self._met.setdefault(piece.chunk.job, []).append((piece.next, piece.chunk.stop))

    def of(self, job: JobId, index: int) -> int:
        """Return how many deaths a task met."""
        return sum(start <= index < stop for start, stop in self._met.get(job, ()))

    def may_be_lost(self, job: JobId, index: int) -> bool:
        """Tell whether a task was in doubt at any time."""
        return any(start <= index < stop for start, stop in self._doubted.get(job, ()))
