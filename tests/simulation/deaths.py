"""Which tasks a fault met: what a worker had when it died, and what was aboard a node that died.

Owns the excuse of every task that ends as crashed or as the killer of its nodes: with fewer deaths than the rules of
blame ask for, it was misjudged. Read by `oracle.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from zmqtasks.machines.pieces import Piece
from zmqtasks.messages import JobId
from zmqtasks.node import Node


class Mourned:
    """The deaths of a run."""

    def __init__(self) -> None:
        self._met: dict[JobId, list[tuple[int, int]]] = {}
        """The tasks of each death, [start, stop)."""

    def worker(self, node: Node, slot: int) -> None:
        """A worker is about to die."""
        workplace = node._holding._workers.get(slot)
        self._note(workplace.pieces if workplace else ())

    def node(self, node: Node) -> None:
        """A node is about to die, and its workers with it."""
        holding = node._holding
        for workplace in holding._workers.values():
            self._note(workplace.pieces)
        for line in holding._ventilators.values():
            self._note(line.waiting())

    def _note(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self._met.setdefault(piece.chunk.job, []).append((piece.next, piece.chunk.stop))

    def of(self, job: JobId, index: int) -> int:
        """Return how many deaths a task met."""
        return sum(start <= index < stop for start, stop in self._met.get(job, ()))
