"""What a ventilator keeps for all tasks of its jobs: locks and semaphores, rates, small keys and values.

Who waits for a place of a lock or semaphore gets it in the order of asking. A place is free again when its owner gives
it back, when its time is over, and when its owner is gone. Turns of a rate are given out in the order of asking, each
with the time at which it comes.

Owns all of it, in memory: it ends with the ventilator. Called by `home.py`, with what was asked by whom.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from zmqtasks.asks import (
    Acquire,
    Admit,
    Answer,
    DeleteKey,
    Extend,
    GetKey,
    Inspect,
    Refused,
    Release,
    SetKey,
    Told,
)
from zmqtasks.machines.places import NEVER, Asker, Owner, Places, Waiter
from zmqtasks.options import MIB
from zmqtasks.records import Value

MOST_BYTES = 64 * MIB
"""All keys and values together."""
MOST_RATES = 10_000
"""Names of rates that are remembered; beyond, those that are not in use are forgotten."""

# Events


class Asked(Value):
    """Somebody asks for something; the answer bears this number."""

    asker: Asker
    number: int
    ask: object


class AskerGone(Value):
    """Whoever asked has ended: what it has is free, what it waits for nobody wants."""

    asker: Asker


Event = Asked | AskerGone

# Commands


class Tell(Value):
    """Answer what was asked."""

    asker: Asker
    number: int
    answer: Answer


Command = Tell


class _Turn(NamedTuple):
    at: float
    order: int
    asker: Asker
    number: int


class _Rate:
    """When the last turns under one name were, or will be."""

    def __init__(self, most: int, per_s: float) -> None:
        self.most, self.per_s = most, per_s
        self.turns: deque[float] = deque(maxlen=most)

    def next_turn(self, now: float) -> float:
        """Return when the next turn may be: the one `most` turns ago was `per_s` before."""
        return max(now, self.turns[0] + self.per_s) if len(self.turns) == self.most else now

    def is_over(self, now: float) -> bool:
        return not self.turns or self.turns[-1] + self.per_s <= now


class Sharing:
    """Keep what tasks share; see the module."""

    def __init__(self) -> None:
        self._places: dict[str, Places] = {}
        self._contended: set[str] = set()
        """Names of those that somebody waits for."""
        self._rates: dict[str, _Rate] = {}
        self._turns: list[_Turn] = []
        """A heap of those that are yet to come."""
        self._order = 0
        self._values: dict[str, bytes] = {}
        self._value_bytes = 0
        self._moves: dict[type[Any], Callable[[Asked, Any, float], list[Command]]] = {
            Acquire: self._acquire,
            Release: self._release,
            Extend: self._extend,
            Inspect: self._inspect,
            Admit: self._admit,
            SetKey: self._set,
            GetKey: self._get,
            DeleteKey: self._delete,
        }

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; return what to answer, in order."""
        if isinstance(event, AskerGone):
            return self._asker_gone(event.asker, now)
        return self._moves[type(event.ask)](event, event.ask, now)

    def tick(self, now: float) -> list[Command]:
        """Answer those whose turn has come, and those who have waited in vain."""
        commands: list[Command] = []
        while self._turns and self._turns[0].at <= now:
            turn = heapq.heappop(self._turns)
            commands.append(Tell(turn.asker, turn.number, Told(True)))
        for name in sorted(self._contended):
            if self._places[name].next_deadline() <= now:
                commands += self._settle(name, now)
        return commands

    def next_deadline(self) -> float:
        """Return the time at which `tick` has something to do."""
        due = [self._places[name].next_deadline() for name in self._contended]
        return min((*due, self._turns[0].at if self._turns else NEVER))

    def _asker_gone(self, asker: Asker, now: float) -> list[Command]:
        self._turns = [turn for turn in self._turns if turn.asker != asker]
        heapq.heapify(self._turns)
        commands: list[Command] = []
        for name, places in list(self._places.items()):
            places.leave(asker)
            commands += self._settle(name, now)
        return commands

    # Locks and semaphores

    def _acquire(self, event: Asked, ask: Acquire, now: float) -> list[Command]:
        places = self._places.setdefault(ask.name, Places(ask.most))
        if places.most != ask.most:
            text = f"{ask.name!r} is in use with {places.most} places, not {ask.most}"
            return [Tell(event.asker, event.number, Refused("ValueError", text))]
        until = NEVER if ask.timeout is None else now + ask.timeout
        places.wait(Waiter(Owner(event.asker, ask.token), event.number, ask.ttl, until))
        return self._settle(ask.name, now)

    def _release(self, event: Asked, ask: Release, now: float) -> list[Command]:
        settled, places = self._current(ask.name, now)
        freed = places.release(Owner(event.asker, ask.token))
        return [*settled, Tell(event.asker, event.number, Told(freed)), *self._settle(ask.name, now)]

    def _extend(self, event: Asked, ask: Extend, now: float) -> list[Command]:
        until = NEVER if ask.ttl is None else now + ask.ttl
        settled, places = self._current(ask.name, now)
        extended = places.extend(Owner(event.asker, ask.token), until)
        return [*settled, Tell(event.asker, event.number, Told(extended))]

    def _inspect(self, event: Asked, ask: Inspect, now: float) -> list[Command]:
        settled, places = self._current(ask.name, now)
        found = places.left_s(Owner(event.asker, ask.token), now) if ask.token else places.taken()
        return [*settled, Tell(event.asker, event.number, Told(found))]

    def _current(self, name: str, now: float) -> tuple[list[Command], Places]:
        """Return the places of this name once those that have expired are given to others, and whom that concerns."""
        settled = self._settle(name, now)
        return settled, self._places.get(name) or Places(1)

    def _settle(self, name: str, now: float) -> list[Command]:
        """Give out what is free under this name; keep nothing where nobody has a place or waits."""
        places = self._places.get(name)
        if places is None:
            return []
        settled = places.settle(now)
        self._contended.discard(name)
        if places.is_unused():
            del self._places[name]
        elif places.waiting():
            self._contended.add(name)
        return [Tell(waiter.owner.asker, waiter.number, Told(has_place)) for waiter, has_place in settled]

    # Rates

    def _admit(self, event: Asked, ask: Admit, now: float) -> list[Command]:
        self._forget_rates(now)
        rate = self._rates.get(ask.name)
        if rate is None or ((rate.most, rate.per_s) != (ask.most, ask.per_s) and rate.is_over(now)):
            rate = self._rates[ask.name] = _Rate(ask.most, ask.per_s)
        if (rate.most, rate.per_s) != (ask.most, ask.per_s):
            text = f"{ask.name!r} is in use with {rate.most} per {rate.per_s:g} s, not {ask.most} per {ask.per_s:g} s"
            return [Tell(event.asker, event.number, Refused("ValueError", text))]
        at = rate.next_turn(now)
        if ask.timeout is not None and at > now + ask.timeout:
            return [Tell(event.asker, event.number, Told(False))]
        rate.turns.append(at)
        if at <= now:
            return [Tell(event.asker, event.number, Told(True))]
        self._order += 1
        heapq.heappush(self._turns, _Turn(at, self._order, event.asker, event.number))
        return []

    def _forget_rates(self, now: float) -> None:
        if len(self._rates) > MOST_RATES:
            self._rates = {name: rate for name, rate in self._rates.items() if not rate.is_over(now)}

    # Keys and values

    def _set(self, event: Asked, ask: SetKey, now: float) -> list[Command]:
        before = self._values.get(ask.name)
        added = len(ask.name) + len(ask.body) - (0 if before is None else len(ask.name) + len(before))
        if self._value_bytes + added > MOST_BYTES:
            text = f"keys and values may take {MOST_BYTES:,} bytes all together; delete some, or share less"
            return [Tell(event.asker, event.number, Refused("TooBig", text))]
        self._value_bytes += added
        self._values[ask.name] = bytes(ask.body)
        return [Tell(event.asker, event.number, Told(before is None))]

    def _get(self, event: Asked, ask: GetKey, now: float) -> list[Command]:
        return [Tell(event.asker, event.number, Told(self._values.get(ask.name)))]

    def _delete(self, event: Asked, ask: DeleteKey, now: float) -> list[Command]:
        body = self._values.pop(ask.name, None)
        if body is not None:
            self._value_bytes -= len(ask.name) + len(body)
        return [Tell(event.asker, event.number, Told(body is not None))]

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        assert self._value_bytes == sum(len(name) + len(body) for name, body in self._values.items()), repr(self)
        for name, places in self._places.items():
            assert not places.is_unused(), repr(self)
            assert (name in self._contended) == bool(places.waiting()), repr(self)
            places.check()

    def __repr__(self) -> str:
        return f"<Sharing {self._places} {len(self._turns)} turns, {len(self._values)} values>"
