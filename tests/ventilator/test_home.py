"""What a node has asked for its tasks, while nobody hears of it: kept until it must have ended them, and no longer."""

from __future__ import annotations

from typing import Any, cast

from zmqtasks.asks import Acquire, Answer, Ask, Extend, Told
from zmqtasks.messages import Errand, Errands, SessionId
from zmqtasks.sessions import Link
from zmqtasks.testing import FakeClock
from zmqtasks.ventilator.home import GRACE_S, Home
from zmqtasks.wire.asking import pack_ask, unpack_answer

LEASE_S = 20.0


class Way:
    """To a node: keeps what was said there."""

    def __init__(self, partner: str) -> None:
        self.partner = partner
        self.said: list[Errands] = []
        self._number = 0

    def request(self, make: Any) -> None:
        self.said.append(make(SessionId(1, 1)))

    def asks(self, ask: Ask) -> Errands:
        """Return what a worker of this node asks next."""
        self._number += 1
        errand = Errand(1, self._number, "v:1", pack_ask(ask))
        return Errands(SessionId(1, 1), 1, 0, self._number, (errand,))

    def answers(self) -> list[Answer]:
        return [unpack_answer(errand.body) for errands in self.said for errand in errands.errands]


def test_a_silent_node_keeps_its_locks_until_its_lease_is_over_and_is_then_no_owner_any_more() -> None:
    clock = FakeClock()
    home = Home(clock, LEASE_S)
    silent, other = Way("silent"), Way("other")
    for way in (silent, other):
        home.opened(cast("Link", way), 1)
    home.heard("silent", silent.asks(Acquire("lock", 7)))
    home.heard("other", other.asks(Acquire("lock", 8)))
    assert silent.answers() == [Told(True)]
    home.lost("silent", died=False)
    clock.advance(LEASE_S + GRACE_S - 1.0)
    assert other.answers() == []
    clock.advance(1.5)
    assert Told(True) in other.answers()
    home.opened(cast("Link", silent), 1)  # it was asleep all the time, and says what its task still wants
    silent.said.clear()
    home.heard("silent", silent.asks(Extend("lock", 7, 9.0)))
    assert [errands.over for errands in silent.said] == [True]
    home.close()


def test_the_time_of_a_lock_ends_though_its_node_is_silent_and_the_next_owner_keeps_it() -> None:
    clock = FakeClock()
    home = Home(clock, LEASE_S)
    silent, other = Way("silent"), Way("other")
    for way in (silent, other):
        home.opened(cast("Link", way), 1)
    home.heard("silent", silent.asks(Acquire("lock", 7, ttl=5.0)))
    home.heard("other", other.asks(Acquire("lock", 8)))
    home.lost("silent", died=False)
    clock.advance(4.5)
    assert other.answers() == []
    clock.advance(1.0)
    assert Told(True) in other.answers()
    home.opened(cast("Link", silent), 1)
    home.heard("silent", silent.asks(Extend("lock", 7, 9.0)))
    assert silent.answers()[-1] == Told(False)
    home.close()
