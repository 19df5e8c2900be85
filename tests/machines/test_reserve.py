"""The reserve: how many workers stand ready, and for how long it is one more."""

from __future__ import annotations

from zmqtasks.machines.reserve import KEEP_S, QUICK_S, Reserve

NEVER = float("inf")


def quick(least: int, more: int) -> Reserve:
    reserve = Reserve(least, more)
    reserve.got_ready(QUICK_S)
    return reserve


def test_one_more_each_time_a_worker_is_missed_and_one_less_when_none_is() -> None:
    reserve = quick(1, 2)
    assert (reserve.wanted, reserve.next_deadline()) == (1, NEVER)
    for now, wanted in ((10.0, 2), (10.1, 3), (10.2, 3)):
        reserve.missed(now)
        assert reserve.wanted == wanted
    assert reserve.next_deadline() == 10.2 + KEEP_S
    reserve.tick(10.2 + KEEP_S - 0.001)
    assert reserve.wanted == 3
    reserve.tick(10.2 + KEEP_S)
    assert (reserve.wanted, reserve.next_deadline()) == (2, 10.2 + 2 * KEEP_S)
    reserve.tick(100.0)
    assert (reserve.wanted, reserve.next_deadline()) == (1, NEVER)


def test_none_is_added_where_none_may_be_or_a_start_takes_long() -> None:
    reserve = quick(1, 0)
    reserve.missed(1.0)
    assert (reserve.wanted, reserve.next_deadline()) == (1, NEVER)
    reserve = quick(1, 1)
    reserve.got_ready(QUICK_S + 0.1)
    reserve.missed(1.0)
    assert (reserve.wanted, reserve.next_deadline()) == (1, NEVER)


def test_long_run_of_5_000_misses() -> None:
    reserve = quick(1, 4)
    for number in range(5_000):
        reserve.missed(float(number))
        reserve.tick(float(number))
        assert 2 <= reserve.wanted <= 5
