"""What is shared: locks and semaphores in the order of asking, rates, keys and values."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.machines.driving import RANDOM
from zmqtasks.asks import Acquire, Admit, Ask, DeleteKey, Extend, GetKey, Inspect, Refused, Release, SetKey, Told
from zmqtasks.machines import sharing
from zmqtasks.machines.places import NEVER, Asker, Places
from zmqtasks.machines.sharing import Asked, AskerGone, Sharing, Tell

A, B, C = (Asker("node", 1, worker) for worker in (1, 2, 3))


class Keeper:
    """What a `Sharing` says, as (worker, answer)."""

    def __init__(self) -> None:
        self.sharing = Sharing()

    def ask(self, asker: Asker, ask: Ask, now: float = 0.0, number: int = 0) -> list[tuple[int, object]]:
        return self._said(self.sharing.handle(Asked(asker, number, ask), now))

    def gone(self, asker: Asker, now: float = 0.0) -> list[tuple[int, object]]:
        return self._said(self.sharing.handle(AskerGone(asker), now))

    def tick(self, now: float) -> list[tuple[int, object]]:
        return self._said(self.sharing.tick(now))

    def _said(self, commands: list[Tell]) -> list[tuple[int, object]]:
        self.sharing.check()
        return [(c.asker.worker, c.answer.value if isinstance(c.answer, Told) else c.answer) for c in commands]


@pytest.fixture
def shared() -> Keeper:
    return Keeper()


# Locks and semaphores


def test_a_lock_goes_from_one_to_the_next_in_the_order_of_asking(shared: Keeper) -> None:
    assert shared.ask(A, Acquire("lock", 1)) == [(1, True)]
    assert shared.ask(B, Acquire("lock", 7)) == []
    assert shared.ask(C, Acquire("lock", 7)) == []
    assert shared.ask(B, Inspect("lock")) == [(2, 1)]
    assert shared.ask(A, Release("lock", 1)) == [(1, True), (2, True)]
    assert shared.ask(A, Release("lock", 1)) == [(1, False)]
    assert shared.ask(B, Release("lock", 7)) == [(2, True), (3, True)]
    assert shared.ask(C, Release("lock", 7)) == [(3, True)]
    assert shared.ask(C, Release("lock", 7)) == [(3, False)]
    assert shared.ask(C, Inspect("lock")) == [(3, 0)]
    assert repr(shared.sharing) == "<Sharing {} 0 turns, 0 values>"


def test_who_cannot_wait_is_told_at_once_and_who_waits_is_told_in_time(shared: Keeper) -> None:
    shared.ask(A, Acquire("lock", 1))
    assert shared.ask(B, Acquire("lock", 1, timeout=0.0)) == [(2, False)]
    assert shared.ask(B, Acquire("lock", 2, timeout=1.5), 1.0) == []
    assert shared.ask(C, Acquire("lock", 2, timeout=1.0), 1.1) == []
    assert shared.sharing.next_deadline() == 2.1
    assert shared.tick(2.0) == []
    assert shared.tick(2.5) == [(2, False), (3, False)]
    assert shared.sharing.next_deadline() == NEVER
    assert shared.ask(A, Release("lock", 1), 2.6) == [(1, True)]


def test_an_owner_whose_time_is_over_cannot_release_the_lock_of_the_next(shared: Keeper) -> None:
    assert shared.ask(A, Acquire("lock", 1, ttl=5.0)) == [(1, True)]
    assert shared.sharing.next_deadline() == NEVER  # nobody waits
    assert shared.ask(B, Acquire("lock", 1, ttl=5.0), 1.0) == []
    assert shared.sharing.next_deadline() == 5.0
    assert shared.tick(5.0) == [(2, True)]
    assert shared.ask(A, Release("lock", 1), 5.1) == [(1, False)]
    assert shared.ask(A, Extend("lock", 1, 9.0), 5.1) == [(1, False)]
    assert shared.ask(A, Inspect("lock", 1), 5.1) == [(1, None)]
    assert shared.ask(B, Inspect("lock", 1), 6.0) == [(2, 4.0)]
    assert shared.ask(B, Extend("lock", 1, 9.0), 6.0) == [(2, True)]
    assert shared.ask(B, Inspect("lock", 1), 6.0) == [(2, 9.0)]
    assert shared.ask(B, Extend("lock", 1, None), 6.0) == [(2, True)]
    assert shared.ask(B, Inspect("lock", 1), 1e9) == [(2, NEVER)]


def test_what_has_expired_is_given_to_who_waits_before_anything_else_is_answered(shared: Keeper) -> None:
    shared.ask(A, Acquire("lock", 1, ttl=5.0))
    shared.ask(B, Acquire("lock", 1))
    assert shared.ask(A, Release("lock", 1), 6.0) == [(2, True), (1, False)]


def test_a_lock_that_has_expired_is_free_for_who_asks_next(shared: Keeper) -> None:
    shared.ask(A, Acquire("lock", 1, ttl=5.0))
    assert shared.ask(C, Inspect("lock"), 5.0) == [(3, 0)]
    assert shared.ask(B, Acquire("lock", 1, timeout=0.0), 5.0) == [(2, True)]


def test_who_is_gone_leaves_what_it_had_and_waits_for_nothing(shared: Keeper) -> None:
    shared.ask(A, Acquire("lock", 1))
    shared.ask(A, Acquire("other", 2))
    shared.ask(B, Acquire("lock", 1))
    shared.ask(C, Acquire("lock", 1))
    shared.ask(C, Acquire("other", 2))
    assert shared.gone(B) == []
    assert shared.gone(A) == [(3, True), (3, True)]
    assert shared.gone(A) == []


def test_who_waits_may_think_better_of_it(shared: Keeper) -> None:
    shared.ask(A, Acquire("lock", 1))
    shared.ask(B, Acquire("lock", 1))
    assert shared.ask(B, Release("lock", 1)) == [(2, False)]
    assert shared.ask(A, Release("lock", 1)) == [(1, True)]


def test_a_semaphore_has_so_many_places(shared: Keeper) -> None:
    assert shared.ask(A, Acquire("s", 1, 2)) == [(1, True)]
    assert shared.ask(A, Acquire("s", 2, 2)) == [(1, True)]
    assert shared.ask(B, Acquire("s", 1, 2)) == []
    assert shared.ask(B, Inspect("s")) == [(2, 2)]
    assert shared.ask(C, Acquire("s", 1, 3)) == [(3, Refused("ValueError", "'s' is in use with 2 places, not 3"))]
    assert shared.ask(A, Release("s", 2)) == [(1, True), (2, True)]
    assert "2 of 2 taken, 0 wait" in repr(shared.sharing)


# Rates


def test_turns_come_at_their_rate_in_the_order_of_asking(shared: Keeper) -> None:
    ask = Admit("api", 2, 1.0)
    assert shared.ask(A, ask, 0.0) == [(1, True)]
    assert shared.ask(B, ask, 0.5) == [(2, True)]
    assert shared.ask(C, ask, 0.5) == []
    assert shared.ask(A, ask, 0.5) == []
    assert shared.ask(B, ask, 0.5) == []
    assert shared.ask(B, Admit("api", 2, 1.0, timeout=1.0), 0.5) == [(2, False)]  # it would be at 2.5
    assert shared.sharing.next_deadline() == 1.0
    assert shared.tick(1.0) == [(3, True)]
    assert shared.gone(B, 1.1) == []
    assert shared.tick(1.5) == [(1, True)]
    assert shared.tick(2.0) == []
    assert shared.ask(C, ask, 9.0) == [(3, True)]


def test_a_rate_may_change_when_it_is_not_in_use(shared: Keeper) -> None:
    shared.ask(A, Admit("api", 1, 1.0))
    text = "'api' is in use with 1 per 1 s, not 5 per 2 s"
    assert shared.ask(A, Admit("api", 5, 2.0), 0.9) == [(1, Refused("ValueError", text))]
    assert shared.ask(A, Admit("api", 5, 2.0), 1.0) == [(1, True)]


def test_rates_that_are_not_in_use_are_forgotten(shared: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "MOST_RATES", 2)
    for number in range(100):
        assert shared.ask(A, Admit(f"{number}", 1, 1.0), 2.0 * number) == [(1, True)]
    assert len(shared.sharing._rates) <= 3


# Keys and values


def test_keys_have_values(shared: Keeper) -> None:
    assert shared.ask(A, GetKey("k")) == [(1, None)]
    assert shared.ask(A, SetKey("k", b"one")) == [(1, True)]
    assert shared.ask(B, SetKey("k", b"three")) == [(2, False)]
    assert shared.ask(A, GetKey("k")) == [(1, b"three")]
    assert shared.ask(A, DeleteKey("k")) == [(1, True)]
    assert shared.ask(A, DeleteKey("k")) == [(1, False)]
    assert shared.gone(A) == []


def test_values_are_bounded(shared: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "MOST_BYTES", 10)
    assert shared.ask(A, SetKey("k", bytes(9))) == [(1, True)]
    ((_, refused),) = shared.ask(A, SetKey("l", b""))
    assert refused == Refused("TooBig", "keys and values may take 10 bytes all together; delete some, or share less")
    assert shared.ask(A, SetKey("k", b"")) == [(1, False)]
    assert shared.ask(A, SetKey("l", b"")) == [(1, True)]


class LocksAtRandom(RuleBasedStateMachine):
    """Whatever is asked and whoever dies, at most `most` hold, and nobody waits for what is free."""

    def __init__(self) -> None:
        super().__init__()
        self.sharing = Sharing()
        self.now = 0.0
        self.tokens = 0

    @rule(
        worker=st.integers(1, 4),
        name=st.sampled_from("ab"),
        ttl=st.none() | st.floats(0.1, 3),
        timeout=st.none() | st.floats(0, 3),
    )
    def acquire(self, worker: int, name: str, ttl: float | None, timeout: float | None) -> None:
        self.tokens += 1
        ask = Acquire(name, self.tokens, 1 if name == "a" else 2, ttl, timeout)
        self.sharing.handle(Asked(Asker("n", 1, worker), self.tokens, ask), self.now)

    @rule(worker=st.integers(1, 4), name=st.sampled_from("ab"), token=st.integers(1, 30))
    def release(self, worker: int, name: str, token: int) -> None:
        self.sharing.handle(Asked(Asker("n", 1, worker), 0, Release(name, token)), self.now)

    @rule(worker=st.integers(1, 4))
    def die(self, worker: int) -> None:
        self.sharing.handle(AskerGone(Asker("n", 1, worker)), self.now)

    @rule(seconds=st.floats(0, 2))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.sharing.tick(self.now)
        assert self.sharing.next_deadline() > self.now

    @invariant()
    def holds(self) -> None:
        self.sharing.check()


LocksAtRandom.TestCase.settings = RANDOM
TestLocksAtRandom = LocksAtRandom.TestCase


def test_places_know_nothing_of_who_has_none() -> None:
    places = Places(1)
    assert places.is_unused()
    assert places.next_deadline() == NEVER
