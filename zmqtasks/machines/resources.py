"""What a node has of the resources that tasks need, and whether there is enough for one more.

Owns the totals. What is in use follows from what the workers have: a worker runs one task at a time, so it uses the
most that any of its pieces needs. Moves nothing; `holding.py` asks before each start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from zmqtasks.machines.pieces import Piece, Workplace

ROUNDING = 1e-9
"""Tenths of a resource shall add up to all of it."""


class Resources:
    """Say which pieces may be started; see the module.

    Args:
        total: how much there is, by name.
    """

    def __init__(self, total: Iterable[tuple[str, float]] = ()) -> None:
        self._total = dict(total)

    def first_startable(self, line: Iterable[Piece], worker: Workplace, workers: Collection[Workplace]) -> Piece | None:
        """Return the first piece of a line that a worker may have now.

        What needs the same as one before it waits behind that: else what needs much would never get its turn.
        """
        taken: set[str] = set()
        for piece in line:
            if taken.isdisjoint(name for name, _ in piece.needs) and self._is_free(piece, worker, workers):
                return piece
            taken.update(name for name, _ in piece.needs)
        return None

    def _is_free(self, piece: Piece, worker: Workplace, workers: Collection[Workplace]) -> bool:
        return all(self._has(name, amount, worker, workers) for name, amount in piece.needs)

    def _has(self, name: str, amount: float, worker: Workplace, workers: Collection[Workplace]) -> bool:
        others = sum(self._used(name, other) for other in workers if other is not worker)
        wanted = max(self._used(name, worker), self._bounded(name, amount))
        return others + wanted <= self._total.get(name, 0.0) + ROUNDING

    def _used(self, name: str, worker: Workplace) -> float:
        return max((self._bounded(n, amount) for p in worker.pieces for n, amount in p.needs if n == name), default=0.0)

    def _bounded(self, name: str, amount: float) -> float:
        """Whoever was sent here by mistake takes all there is, rather than wait for ever."""
        return min(amount, self._total.get(name, 0.0))

    def __repr__(self) -> str:
        return f"<Resources {self._total}>"
