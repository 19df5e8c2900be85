"""What a ventilator wants back from its nodes: tasks aboard that are not to be begun, or not even to be ended.

Owns the wishes that are not fulfilled yet, and when a node is reminded of them: a request may be lost, and it may
overtake the tasks it is about. Settles nothing: that is up to `cancelling.py`, which calls this.

| wish   | ends                                                                                        |
|--------|---------------------------------------------------------------------------------------------|
| cancel | the task is told of (handed back, or whatever became of it); a worker has it already; its node is lost |
| kill   | the task is told of; after a broken session: the node has it no more                        |
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from zmqtasks.machines.dispatch_moves import Recall
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import Held, JobId, PeerId, Phase, Range
from zmqtasks.records import Entity, field

FIRST_REMINDER_S = 0.01
"""A node answers within a millisecond or two; each further reminder waits twice as long."""
REMINDER_S = 1.0
"""Nor longer than a node is silent when all is well."""


class Denied(NamedTuple):
    """Tasks that a worker has already: they are not taken back."""

    job: JobId
    start: int
    stop: int


class _Wish(Entity):
    """What is wanted back of one attempt."""

    node: PeerId
    job: JobId
    cancel: RangeSet = field(default_factory=RangeSet)
    kill: RangeSet = field(default_factory=RangeSet)

    def __bool__(self) -> bool:
        return bool(self.cancel or self.kill)


class Wishes:
    """What is wanted back; see the module. It is true while there is anything."""

    def __init__(self) -> None:
        self._by_attempt: dict[int, _Wish] = {}
        self._stray: dict[PeerId, dict[JobId, RangeSet]] = {}
        """Kills on nodes whose session broke: it may run there still, under an attempt that has no account."""
        self._reminders: dict[PeerId, tuple[float, float]] = {}
        """When to remind a node, and how long the last wait was."""

    def __bool__(self) -> bool:
        return bool(self._by_attempt or self._stray)

    def add(self, attempt: int, node: PeerId, part: Range, now: float, *, kill: bool = False) -> None:
        """Want tasks of an attempt back; the caller tells the node for the first time."""
        wish = self._by_attempt.setdefault(attempt, _Wish(node, part.job))
        if kill:
            wish.cancel.remove(part.start, part.stop)
            wish.kill.add(part.start, part.stop)
        else:
            for start, stop in wish.kill.missing(part.start, part.stop):
                wish.cancel.add(start, stop)
        self._reminders[node] = now + FIRST_REMINDER_S, FIRST_REMINDER_S

    def end(self, attempt: int, start: int, stop: int) -> list[tuple[int, int]]:
        """Forget what was told of; return which of it was to be cancelled."""
        wish = self._by_attempt.get(attempt)
        if wish is None:
            return []
        parts = wish.cancel.common(start, stop)
        wish.cancel.remove(start, stop)
        wish.kill.remove(start, stop)
        if not wish:
            del self._by_attempt[attempt]
        return parts

    def withdraw(self, part: Range) -> None:
        """Want these tasks cancelled no more: where they are handed back, they run elsewhere."""
        for attempt, wish in list(self._by_attempt.items()):
            if wish.job == part.job:
                wish.cancel.remove(part.start, part.stop)
                if not wish:
                    del self._by_attempt[attempt]

    def lose(self, attempt: int, *, died: bool) -> list[tuple[int, int]]:
        """Forget an attempt whose node was lost; return what of it was to be cancelled."""
        wish = self._by_attempt.pop(attempt, None)
        if wish is None:
            return []
        if wish.kill and not died:
            strays = self._stray.setdefault(wish.node, {}).setdefault(wish.job, RangeSet())
            for start, stop in wish.kill:
                strays.add(start, stop)
        return list(wish.cancel)

    def forget_node(self, node: PeerId, *, died: bool) -> None:
        """Remind a node that was lost no more; one that is known to be dead runs nothing either."""
        self._reminders.pop(node, None)
        if died:
            self._stray.pop(node, None)

    def heard(self, node: PeerId, have: Iterable[Held], now: float) -> list[Denied]:
        """Take an inventory; return what is not taken back, because a worker has it."""
        denied: list[Denied] = []
        for held in have if self._by_attempt else ():
            wish = self._by_attempt.get(held.attempt)
            if wish and held.phase is Phase.RUNNING and (wish.node, wish.job) == (node, held.job):
                denied += [Denied(held.job, *part) for part in wish.cancel.common(held.start, held.stop)]
                wish.cancel.remove(held.start, held.stop)
                if not wish:
                    del self._by_attempt[held.attempt]
        if strays := self._stray.pop(node, None):
            self._look_for(strays, node, have, now)
        return denied

    def _look_for(self, strays: dict[JobId, RangeSet], node: PeerId, have: Iterable[Held], now: float) -> None:
        """Keep the strays that a node still has."""
        kept: dict[JobId, RangeSet] = {}
        for held in have:
            if held.phase is Phase.FINISHED or held.job not in strays:
                continue
            for start, stop in strays[held.job].common(held.start, held.stop):
                kept.setdefault(held.job, RangeSet()).add(start, stop)
        if kept:
            self._stray[node] = kept
            self._reminders.setdefault(node, (now, FIRST_REMINDER_S))

    def due(self, now: float) -> list[Recall]:
        """Return the reminders that are due."""
        recalls: list[Recall] = []
        for node, (at, wait_s) in list(self._reminders.items()):
            if at > now:
                continue
            wait_s = min(2 * wait_s, REMINDER_S)
            self._reminders[node] = now + wait_s, wait_s
            recalls += self._recalls(node)
        return recalls

    def _recalls(self, node: PeerId) -> list[Recall]:
        """Return all that is wanted back from a node; where that is nothing, it is reminded no more."""
        own = [wish for wish in self._by_attempt.values() if wish.node == node]
        cancel = tuple(Range(wish.job, *part) for wish in own for part in wish.cancel)
        kill = [Range(wish.job, *part) for wish in own for part in wish.kill]
        kill += [Range(job, *part) for job, parts in self._stray.get(node, {}).items() for part in parts]
        if not cancel and not kill:
            del self._reminders[node]
        recalls = [Recall(node, cancel)] if cancel else []
        return [*recalls, Recall(node, tuple(kill), kill=True)] if kill else recalls

    def next_deadline(self) -> float:
        """Return the time at which `due` has something to say."""
        return min(at for at, _ in self._reminders.values()) if self._reminders else float("inf")

    def wanted(self) -> list[tuple[int, int, int]]:
        """Return what is wanted back: attempt, start and stop."""
        return [
            (a, *part) for a, wish in self._by_attempt.items() for parts in (wish.cancel, wish.kill) for part in parts
        ]

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        for attempt, wish in self._by_attempt.items():
            assert wish, f"nothing is wanted of attempt {attempt} in {self!r}"
            assert not any(wish.kill.common(*part) for part in wish.cancel), f"wanted twice in {self!r}"
            assert wish.node in self._reminders, f"{wish.node} is never reminded in {self!r}"

    def __repr__(self) -> str:
        wishes = ", ".join(f"{w.job} cancel={w.cancel} kill={w.kill}" for w in self._by_attempt.values())
        return f"<Wishes [{wishes}] stray={self._stray}>"
