"""What was charged to whom when a node was lost, kept until it is known better.

A lost node is charged to all that was aboard. Where it is started again, its flight recorder tells what its workers had
begun: then the charge stays with those alone. Until then, and where nobody speaks, what was charged at first holds.

Owns the charges, by node. Changes no ledger and no account: `losses.py` does, as `judge` says.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import Flight, JobId, PeerId, Phase

MOST_NODES = 256
"""Lost nodes whose charges are kept; those of older ones stand."""


class Charge(NamedTuple):
    """Tasks that were aboard a lost node under one attempt, and what that was taken for."""

    attempt: int
    job: JobId
    start: int
    stop: int
    struck: float = 0
    """A strike, by its weight: it was the only one aboard."""
    rungs: int = 1
    """So much more careful it is run since."""


class Judged(NamedTuple):
    """What is right of the charges: parts of them."""

    pardoned: tuple[Charge, ...] = ()
    """Merely queued aboard: nothing is left of the charge."""
    suspects: tuple[Charge, ...] = ()
    """Begun, one among several: a loss, and no strike."""
    guilty: Charge | None = None
    """The only one that was begun: a strike."""


class Charges:
    """The charges of lost nodes; see the module."""

    def __init__(self) -> None:
        self._nodes: OrderedDict[PeerId, list[Charge]] = OrderedDict()

    def add(self, node: PeerId, charge: Charge) -> None:
        """Note what was charged when a node was lost."""
        self._nodes.setdefault(node, []).append(charge)
        if len(self._nodes) > MOST_NODES:
            self._nodes.popitem(last=False)

    def stand(self, node: PeerId) -> None:
        """Let the charges of a node stand: it was not dead, and is back."""
        self._nodes.pop(node, None)

    def forget(self, job: JobId) -> None:
        """Forget the charges of a job that has ended."""
        for node, charges in list(self._nodes.items()):
            self._nodes[node] = left = [charge for charge in charges if charge.job != job]
            if not left:
                del self._nodes[node]

    def judge(self, flight: Flight, unfinished: Callable[[JobId, int, int], list[tuple[int, int]] | None]) -> Judged:
        """Say what is right of the charges of a node, and forget them: each death is judged once.

        Args:
            flight: what the workers had begun when it died.
            unfinished: returns which of some tasks have not ended, or None of a job that is not ours.
        """
        charges = self._nodes.pop(flight.node, ())
        begun: dict[tuple[JobId, int], RangeSet] = {}
        strangers = 0
        for held in flight.begun:
            begun.setdefault((held.job, held.attempt), RangeSet()).add(held.start, held.stop)
            # What ran for others may have done it as well.
            strangers += held.phase is Phase.RUNNING and unfinished(held.job, held.start, held.stop) is None
        pardoned, suspects = [], []
        for charge in charges:
            ran = begun.get((charge.job, charge.attempt), RangeSet())
            pardoned += [_part(charge, a, b) for a, b in ran.missing(charge.start, charge.stop)]
            parts = ran.common(charge.start, charge.stop)
            suspects += [_part(charge, a, b) for part in parts for a, b in unfinished(charge.job, *part) or ()]
        alone = strangers + sum(part.stop - part.start for part in suspects) == 1
        guilty = suspects.pop() if alone and suspects else None
        return Judged(tuple(pardoned), tuple(suspects), guilty)

    def __bool__(self) -> bool:
        return bool(self._nodes)

    def __repr__(self) -> str:
        return f"<Charges {dict(self._nodes)}>"


def _part(charge: Charge, start: int, stop: int) -> Charge:
    return charge._replace(start=start, stop=stop)
