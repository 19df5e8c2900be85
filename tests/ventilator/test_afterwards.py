"""What is put off until the next call is on its way: its order, and its moment."""

from __future__ import annotations

from zmqtasks.testing import FakeClock
from zmqtasks.ventilator.afterwards import MOMENT_S, MOST, Afterwards


def test_it_is_done_in_order_and_once() -> None:
    afterwards, done = Afterwards(FakeClock()), list[int]()
    for number in range(3):
        afterwards.put(lambda number=number: done.append(number))  # type: ignore[misc]
    assert done == []
    afterwards.do()
    afterwards.do()
    assert done == [0, 1, 2]


def test_it_is_done_in_a_moment_where_nothing_comes_next() -> None:
    clock, done = FakeClock(), list[float]()
    afterwards = Afterwards(clock)
    for _ in range(2):
        put_at = clock.time()
        afterwards.put(lambda: done.append(clock.time()))
        clock.advance(1.0)
        assert done == [put_at + MOMENT_S]
        done.clear()


def test_one_timer_serves_all() -> None:
    clock = FakeClock()
    afterwards = Afterwards(clock)
    for _ in range(10):
        afterwards.put(lambda: None)
        afterwards.do()
    calls = clock.calls
    clock.advance(1.0)
    assert clock.calls == calls + 1


def test_what_is_put_off_meanwhile_is_done_next() -> None:
    afterwards, done = Afterwards(FakeClock()), list[str]()

    def first() -> None:
        done.append("first")
        afterwards.put(lambda: done.append("second"))

    afterwards.put(first)
    afterwards.do()
    assert done == ["first"]
    afterwards.do()
    assert done == ["first", "second"]


def test_not_much_is_put_off() -> None:
    afterwards, done = Afterwards(FakeClock()), list[int]()
    for number in range(MOST + 1):
        afterwards.put(lambda number=number: done.append(number))  # type: ignore[misc]
    assert done == list(range(MOST))


def test_nothing_is_lost_at_the_end() -> None:
    clock, done = FakeClock(), list[str]()
    afterwards = Afterwards(clock)
    afterwards.put(lambda: done.append("last"))
    afterwards.close()
    afterwards.close()
    clock.advance(1.0)
    assert done == ["last"]
