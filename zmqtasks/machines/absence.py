"""What a ventilator misses: tasks it thinks aboard a node that has them no more, and of which nobody has told.

A standalone sink acknowledges to a node, and tells the ventilator a moment later. Where it dies in between, what it
had stored can be asked for. That tasks were handed back is stored nowhere, so nobody would ever tell of it.

Owns a mark for each node: what was aboard when its inventory was heard, and how many messages it had been sent by
then. An inventory that was made after the last of them has to name all that was aboard at the mark. Judges nothing:
what is missing may have been stored a moment ago. The sink is asked, whose answer comes behind all it told before.
Called by `dispatch.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import Held, JobId, PeerId


class Aboard(NamedTuple):
    """What is thought to be aboard under one attempt."""

    job: JobId
    remaining: RangeSet


class Missing(NamedTuple):
    """Tasks of an attempt that a node has no more."""

    job: JobId
    attempt: int
    start: int
    stop: int


class _Mark(NamedTuple):
    sent: int
    attempts: frozenset[int]


class Absences:
    """Compare what is thought to be aboard with what nodes say; see the module."""

    def __init__(self) -> None:
        self._marks: dict[PeerId, _Mark] = {}

    def heard(
        self, node: PeerId, have: Iterable[Held], progress: tuple[int, int], aboard: Mapping[int, Aboard]
    ) -> list[Missing]:
        """Take an inventory; return what it lacks of what was aboard when the one before was heard.

        Args:
            node: whose it is.
            have: the inventory.
            progress: the last message the node had processed when it made the inventory, and the last it was sent.
            aboard: what is thought to be there, by attempt.
        """
        processed, sent = progress
        mark = self._marks.get(node)
        if mark and processed < mark.sent:
            return []
        self._marks[node] = _Mark(sent, frozenset(aboard))
        suspects = sorted(mark.attempts & aboard.keys()) if mark else []
        return _lacking(suspects, have, aboard) if suspects else []

    def forget_node(self, node: PeerId) -> None:
        """Forget a node whose session is over."""
        self._marks.pop(node, None)

    def __repr__(self) -> str:
        marks = ", ".join(f"{node[:6]} {len(mark.attempts)} at {mark.sent}" for node, mark in self._marks.items())
        return f"<Absences {marks}>"


def _lacking(suspects: Iterable[int], have: Iterable[Held], aboard: Mapping[int, Aboard]) -> list[Missing]:
    by_attempt: dict[tuple[JobId, int], RangeSet] = {}
    for held in have:
        by_attempt.setdefault((held.job, held.attempt), RangeSet()).add(held.start, held.stop)
    missing: list[Missing] = []
    for attempt in suspects:
        job, remaining = aboard[attempt]
        there = by_attempt.get((job, attempt), RangeSet())
        missing += [Missing(job, attempt, *gap) for part in remaining for gap in there.missing(*part)]
    return missing
