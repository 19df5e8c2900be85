"""The places of one lock or semaphore: who has one, and who waits, in the order of asking.

Owns both. Knows nothing of who the owners are. `sharing.py` calls it.
"""

from __future__ import annotations

from typing import NamedTuple

NEVER = float("inf")


class Asker(NamedTuple):
    """Who asks: a worker of a node, or the program of the ventilator itself, which has no node."""

    node: str
    stream: int = 0
    worker: int = 0


class Owner(NamedTuple):
    """Who has a place: tokens are drawn by each asker for itself."""

    asker: Asker
    token: int


class Waiter(NamedTuple):
    """Who waits for a place, and the number that the answer bears."""

    owner: Owner
    number: int
    ttl: float | None
    until: float


class Places:
    """So many places under one name.

    Args:
        most: how many there are.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._taken: dict[Owner, float] = {}
        """Until when each owner has its place."""
        self._waiting: dict[Owner, Waiter] = {}

    def taken(self) -> int:
        """Return how many places are taken."""
        return len(self._taken)

    def waiting(self) -> int:
        """Return how many wait for a place."""
        return len(self._waiting)

    def left_s(self, owner: Owner, now: float) -> float | None:
        """Return how long an owner has its place yet; infinity for ever, None where it has none."""
        until = self._taken.get(owner)
        return None if until is None else until - now

    def is_unused(self) -> bool:
        """Tell whether nobody has a place, or waits for one."""
        return not self._taken and not self._waiting

    def wait(self, waiter: Waiter) -> None:
        """Queue who asks; `settle` gives out what is free."""
        self._waiting[waiter.owner] = waiter

    def release(self, owner: Owner) -> bool:
        """Free a place, or leave the queue; return whether it was a place."""
        self._waiting.pop(owner, None)
        return self._taken.pop(owner, None) is not None

    def extend(self, owner: Owner, until: float) -> bool:
        """Keep a place until then; return whether the owner has one."""
        if owner not in self._taken:
            return False
        self._taken[owner] = until
        return True

    def leave(self, asker: Asker) -> None:
        """Free all that an asker has, and forget what it waits for."""
        for owner in [owner for owner in (*self._taken, *self._waiting) if owner.asker == asker]:
            self.release(owner)

    def settle(self, now: float) -> list[tuple[Waiter, bool]]:
        """Free what has expired, give out what is free; return who has a place now, and who has waited in vain."""
        for owner in [owner for owner, until in self._taken.items() if until <= now]:
            del self._taken[owner]
        settled = []
        for owner, waiter in list(self._waiting.items()):
            if len(self._taken) < self.most:
                self._taken[owner] = NEVER if waiter.ttl is None else now + waiter.ttl
                settled.append((waiter, True))
            elif waiter.until <= now:
                settled.append((waiter, False))
            else:
                continue
            del self._waiting[owner]
        return settled

    def next_deadline(self) -> float:
        """Return when `settle` has something to do."""
        if not self._waiting:  # that a place has expired matters when somebody asks
            return NEVER
        return min(*(waiter.until for waiter in self._waiting.values()), *self._taken.values())

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        assert len(self._taken) <= self.most, repr(self)
        assert not self._taken.keys() & self._waiting.keys(), repr(self)
        assert not self._waiting or len(self._taken) == self.most, repr(self)

    def __repr__(self) -> str:
        return f"<Places {len(self._taken)} of {self.most} taken, {len(self._waiting)} wait>"
