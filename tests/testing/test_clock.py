"""Time that passes when a test says so."""

from __future__ import annotations

import pytest

from zmqtasks.testing import FakeClock


def test_time_passes_only_when_told() -> None:
    clock = FakeClock(5.0)
    called: list[object] = []
    clock.call_later(2.0, called.append, 1)
    clock.advance(1.5)
    assert (clock.time(), called) == (6.5, [])
    clock.advance(1.5)
    assert (clock.time(), called) == (8.0, [1])


def test_calls_of_one_time_are_made_in_the_order_they_were_scheduled() -> None:
    clock = FakeClock()
    called: list[object] = []
    for number in range(10):
        clock.call_at(1001.0, called.append, number)
    clock.advance(1.0)
    assert called == list(range(10))


def test_a_call_can_schedule_others_for_the_same_moment() -> None:
    clock = FakeClock()
    called: list[object] = []
    clock.call_later(1.0, clock.call_soon, called.append, clock)
    clock.advance(1.0)
    assert called == [clock]


def test_waiting_for_what_never_comes_fails_with_the_reason() -> None:
    clock = FakeClock()
    with pytest.raises(AssertionError, match="nothing is due any more"):
        clock.run_until(lambda: False)

    def again() -> None:
        clock.call_later(1.0, again)

    again()
    with pytest.raises(AssertionError, match="3 s have passed"):
        clock.run_until(lambda: False, limit_s=3.0)


def test_a_peer_clock_runs_ahead() -> None:
    clock = FakeClock()
    called: list[object] = []
    ahead = clock.peer_clock(offset_s=500.0)
    assert ahead.time() == 1500.0
    ahead.call_at(1501.0, called.append, "due")
    clock.advance(0.9)
    assert not called
    clock.advance(0.1)
    assert called


@pytest.mark.parametrize("offset_s", [0.1, 1234.5678, 1e-9, 3e7])
def test_a_call_never_comes_before_its_time(offset_s: float) -> None:
    clock = FakeClock(0.3)
    peer = clock.peer_clock(offset_s)
    early = []
    for number in range(200):
        due = peer.time() + number / 7
        peer.call_at(due, lambda due=due: early.append(due) if peer.time() < due else None)
    clock.advance(100.0)
    assert not early


def test_a_stopped_process_calls_nothing_and_catches_up_in_order() -> None:
    clock = FakeClock()
    called: list[object] = []
    peer, other = clock.peer_clock(), clock.peer_clock()
    for delay_s in (1.0, 2.0, 3.0):
        peer.call_later(delay_s, called.append, delay_s)
        other.call_later(delay_s, called.append, -delay_s)
    cancelled = peer.call_later(1.5, called.append, "cancelled")
    peer.stop()
    clock.advance(2.5)
    assert called == [-1.0, -2.0]
    assert peer.time() == clock.time()
    cancelled.cancel()
    peer.resume()
    clock.advance(0.0)
    assert called == [-1.0, -2.0, 1.0, 2.0]
    clock.advance(1.0)
    assert called == [-1.0, -2.0, 1.0, 2.0, 3.0, -3.0]


def test_a_killed_process_never_calls_again() -> None:
    clock = FakeClock()
    called: list[object] = []
    peer = clock.peer_clock()
    peer.call_later(1.0, called.append, 1)
    peer.stop()
    peer.call_soon(called.append, 2)
    clock.advance(2.0)
    peer.kill()
    peer.resume()
    peer.call_soon(called.append, 3)
    clock.advance(2.0)
    assert not called
