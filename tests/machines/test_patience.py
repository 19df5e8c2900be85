"""How many useless frames are taken before their sender is slowed."""

from __future__ import annotations

from zmqtasks.machines.patience import A_SECOND, BURST, Patience


def test_a_burst_is_taken_and_a_flood_is_not() -> None:
    patience = Patience(now=100.0)
    taken = sum(patience.spend(100.0) for _ in range(10 * int(BURST)))
    assert taken == BURST
    assert repr(patience) == "<Patience 0 of 256>"


def test_it_comes_back_with_time_and_no_more_than_there_was() -> None:
    patience = Patience(now=0.0, burst=10, a_second=2)
    assert [patience.spend(0.0) for _ in range(11)] == [True] * 10 + [False]
    assert [patience.spend(1.0) for _ in range(3)] == [True, True, False]
    assert sum(patience.spend(1e6) for _ in range(100)) == 10


def test_over_a_long_time_a_flood_gets_the_yield_alone() -> None:
    patience = Patience(now=0.0)
    taken = sum(patience.spend(step / 1000) for step in range(100_000))
    assert BURST <= taken <= BURST + 100 * A_SECOND
