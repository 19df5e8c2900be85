"""Which workers have lent their places, because their tasks wait for others, and when each has a place again.

A worker that lends serves on, but does not count, so another one is started. It goes on when there is a place again,
those first that have waited longest; who is waited for in vain goes on without one. Only so many may lend at once.

Owns who is to have a place next; the slots are those of `slots.py`, which calls this.
"""

from __future__ import annotations

from zmqtasks.machines.slots_moves import Command, Deny, Lend, MakeRoom, Regain, Resume
from zmqtasks.machines.staffing import Slot


class Lending:
    """See the module.

    Args:
        slots: all there are, by number.
        most: so many may lend at once.
    """

    def __init__(self, slots: dict[int, Slot], most: int) -> None:
        self._slots = slots
        self._most = most
        self._asked_room = self._returns = 0

    def lenders(self) -> int:
        """Return how many workers have lent their places."""
        return sum([slot.lends for slot in self._slots.values()])

    def begin(self, number: int) -> list[Command]:
        """Let a worker lend its place, if not too many have."""
        slot = self._slots[number]
        if self.lenders() >= self._most and not slot.lends:
            return [Deny(number)]
        slot.waits, slot.returns, slot.goes_on = True, 0, False
        return [Lend(number)]

    def end(self, number: int, *, at_once: bool) -> list[Command]:
        """Have a worker wait for a place, as its task waits for nothing else; or go on without one, `at_once`."""
        slot = self._slots[number]
        if not slot.waits:
            return []  # it was denied, and had what it waited for before it knew
        if not slot.lends:  # who retires has a place of its own
            slot.waits = False
            return [Resume(number), Regain(number)]
        if not slot.returns:
            self._returns += 1
            slot.returns = self._returns
        if not at_once or slot.goes_on:
            return []
        slot.goes_on = True
        return [Resume(number)]

    def regain(self, number: int) -> list[Command]:
        """Have a worker that would go on have a place."""
        slot = self._slots[number]
        resumed = [] if slot.goes_on else [Resume(number)]
        slot.end_wait()
        return [*resumed, Regain(number)]

    def give_places(self, free: int) -> list[Command]:
        """Give places that are free to workers that would go on; ask for as many as are missing."""
        commands: list[Command] = []
        returning = sorted((slot.returns, number) for number, slot in self._slots.items() if slot.returns)
        missing = max(0, len(returning) - free)
        for _, number in returning[: len(returning) - missing]:
            commands += self.regain(number)
        if missing != self._asked_room:
            self._asked_room = missing
            commands.append(MakeRoom(missing))
        return commands

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        assert self.lenders() <= self._most, repr(self._slots)
        for slot in self._slots.values():
            assert slot.lends or not slot.returns, repr(slot)
            assert slot.returns or not slot.goes_on, repr(slot)
