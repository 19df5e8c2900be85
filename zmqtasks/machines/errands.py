"""One end of the exchange of errands between a node and a ventilator: what is said is heard once, and in order.

Errands outlive sessions, and go where messages may be lost: on the control connection, beside the heartbeats. So each
is numbered and kept until the other end has acknowledged it, and said again from the first that is missing. Both ends
are alike: the node says what its workers ask, the ventilator what they are answered.

Owns the numbers, and what is not acknowledged. Never opens an errand. Called by `exchanges.py` and by the simulation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from zmqtasks.messages import Errand
from zmqtasks.options import KIB, MIB
from zmqtasks.records import Value

REPEAT_S = 0.25
"""What is not acknowledged for so long is said again, and then after twice as long each time ..."""
LONGEST_REPEAT_S = 2.0
"""... up to this."""
ACK_S = 0.02
"""What was heard is acknowledged so much later, unless there is something to say anyway."""
MESSAGE_BYTES = 256 * KIB
"""A message holds about so much, so that no heartbeat waits behind it for long."""
UNDER_WAY_BYTES = MIB
"""So much is said before the first of it is acknowledged."""
ERRAND_BYTES = 64
"""What an errand takes beside its body."""
NEVER = float("inf")

# Events


class Offered(Value):
    """Somebody here has an errand for the other end."""

    errand: Errand


class Heard(Value):
    """The other end said errands, numbered from `first` on, and how far it has heard us."""

    cum: int
    first: int
    errands: tuple[Errand, ...]


class Renewed(Value):
    """There is a new way to the other end; nobody knows what came through on the old one."""


Event = Offered | Heard | Renewed

# Commands


class Post(Value):
    """Say these errands, numbered from `first` on, and that all up to `cum` was heard."""

    first: int
    errands: tuple[Errand, ...]
    cum: int


class Take(Value):
    """Do what this errand says: it is the next one, and comes once."""

    errand: Errand


Command = Post | Take


class Exchange:
    """Say and hear errands; see the module."""

    def __init__(self) -> None:
        self.cum = 0
        """Number of the last errand that was heard in order."""
        self.unheard_bytes = 0
        """Of what the other end has not acknowledged."""
        self._kept: deque[Errand] = deque()
        self._base = 1
        """Number of the first that is kept."""
        self._next = 1
        """Number of the first that was never said."""
        self._under_way_bytes = 0
        self._ack_at = NEVER
        self._repeat_at = NEVER
        self._pause_s = REPEAT_S
        self._moves: dict[type[Any], Callable[[Any, float], list[Command]]] = {
            Offered: self._offered,
            Heard: self._heard,
            Renewed: self._renewed,
        }

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; return what to do, in order."""
        return self._moves[type(event)](event, now)

    def tick(self, now: float) -> list[Command]:
        """Say again what was not acknowledged in time, or acknowledge what was heard."""
        if self._repeat_at <= now:
            self._pause_s = min(2 * self._pause_s, LONGEST_REPEAT_S)
            return self._repeat(now)
        return [self._post(0, ())] if self._ack_at <= now else []

    def next_deadline(self) -> float:
        """Return the time at which `tick` has something to do."""
        return min(self._ack_at, self._repeat_at)

    def _offered(self, event: Offered, now: float) -> list[Command]:
        self._kept.append(event.errand)
        self.unheard_bytes += _size(event.errand)
        return list(self._say_more(now))

    def _heard(self, event: Heard, now: float) -> list[Command]:
        before = self.cum
        taken: list[Command] = [Take(errand) for errand in self._next_of(event)]
        if self._forget(event.cum):
            self._pause_s = REPEAT_S
            self._repeat_at = now + REPEAT_S if self._next > self._base else NEVER
        if event.errands:
            # Where nothing was news, our word was lost, or something before it: that is soon told.
            self._ack_at = min(self._ack_at, now + (ACK_S if self.cum > before else 0.0))
        said = list(self._say_more(now))
        return taken + (said or self.tick(now))

    def _next_of(self, event: Heard) -> Iterator[Errand]:
        for number, errand in enumerate(event.errands, event.first):
            if number == self.cum + 1:
                self.cum = number
                yield errand

    def _forget(self, cum: int) -> bool:
        """Forget what was acknowledged; return whether there was anything."""
        before = self._base
        while self._base <= min(cum, self._next - 1):
            size = _size(self._kept.popleft())
            self.unheard_bytes -= size
            self._under_way_bytes -= size
            self._base += 1
        return self._base > before

    def _renewed(self, event: Renewed, now: float) -> list[Command]:
        self._pause_s = REPEAT_S
        return self._repeat(now)

    def _repeat(self, now: float) -> list[Command]:
        """Say all that is under way again, and what was heard."""
        number, self._next, self._under_way_bytes = self._next, self._base, 0
        if number == self._base:
            self._repeat_at = NEVER
            return [self._post(0, ())]
        self._repeat_at = now + self._pause_s
        return list(self._say_more(now))

    def _say_more(self, now: float) -> Iterator[Post]:
        """Say what there is room for, in messages of a reasonable size."""
        while batch := self._next_batch():
            first, self._next = self._next, self._next + len(batch)
            self._repeat_at = min(self._repeat_at, now + self._pause_s)
            yield self._post(first, batch)

    def _next_batch(self) -> tuple[Errand, ...]:
        batch: list[Errand] = []
        size = 0
        for place in range(self._next - self._base, len(self._kept)):
            errand = self._kept[place]
            added = _size(errand)
            full = self._under_way_bytes and self._under_way_bytes + added > UNDER_WAY_BYTES
            if full or (batch and size + added > MESSAGE_BYTES):
                break
            batch.append(errand)
            size += added
            self._under_way_bytes += added
        return tuple(batch)

    def _post(self, first: int, errands: tuple[Errand, ...]) -> Post:
        self._ack_at = NEVER
        return Post(first, errands, self.cum)

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        sizes = [_size(errand) for errand in self._kept]
        said = self._next - self._base
        assert 0 <= said <= len(self._kept), repr(self)
        assert self.unheard_bytes == sum(sizes), repr(self)
        assert self._under_way_bytes == sum(sizes[:said]), repr(self)
        assert (self._repeat_at < NEVER) == bool(said), repr(self)

    def __repr__(self) -> str:
        return f"<Exchange says {self._base}..{self._next} of {len(self._kept)}, heard {self.cum}>"


def _size(errand: Errand) -> int:
    return ERRAND_BYTES + len(errand.job) + len(errand.body)
