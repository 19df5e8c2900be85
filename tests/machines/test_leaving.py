"""How a node leaves: drained with and without a bound, hurried, at the end of its wall time."""

from __future__ import annotations

import itertools

import pytest

from zmqtasks.machines.leaving import GOODBYE_S, MARGIN_S, NEVER, GiveUp, Leaving, StartNothing, State, StopRunning


def test_without_bounds_a_drain_lasts_as_long_as_it_takes() -> None:
    leaving = Leaving()
    assert (leaving.next_deadline(), leaving.tick(1e9)) == (NEVER, [])
    assert leaving.drain(None, 5.0) == [StartNothing()]
    assert (leaving.state, leaving.next_deadline(), leaving.tick(1e9)) == (State.DRAINING, NEVER, [])


def test_at_the_bound_what_runs_is_stopped_and_in_the_end_nobody_is_waited_for() -> None:
    leaving = Leaving(drain_s=30.0)
    assert leaving.drain(None, 5.0) == [StartNothing()]
    assert (leaving.next_deadline(), leaving.tick(34.9)) == (35.0, [])
    assert leaving.tick(35.1) == [StopRunning()]
    assert leaving.next_deadline() == 35.1 + GOODBYE_S
    assert leaving.drain(1.0, 36.0) == [], "it cannot be hurried any more"
    assert leaving.tick(35.1 + GOODBYE_S) == [GiveUp()]
    assert (leaving.state, leaving.next_deadline()) == (State.OVER, NEVER)
    assert leaving.drain(None, 99.0) == leaving.tick(99.0) == []


def test_who_asks_may_say_how_long_and_later_only_shorten_it() -> None:
    leaving = Leaving(drain_s=30.0)
    assert leaving.drain(60.0, 0.0) == [StartNothing()]
    assert leaving.drain(None, 10.0) == []
    assert leaving.next_deadline() == 60.0, "no bound was said"
    assert leaving.drain(90.0, 10.0) == []
    assert leaving.next_deadline() == 60.0
    assert leaving.drain(10.0, 10.0) == []
    assert leaving.next_deadline() == 20.0
    assert leaving.drain(0.0, 12.0) == [StopRunning()]


def test_with_no_time_all_is_stopped_at_once() -> None:
    assert Leaving().drain(0.0, 3.0) == [StartNothing(), StopRunning()]


@pytest.mark.parametrize(("walltime_s", "stop_at"), [(7200.0, 7200.0 - MARGIN_S), (10.0, 9.0)])
def test_before_the_wall_time_is_over_all_is_stopped(walltime_s: float, stop_at: float) -> None:
    leaving = Leaving(30.0, walltime_s, 100.0)
    assert leaving.wall_at == leaving.next_deadline() == 100.0 + stop_at
    assert leaving.tick(99.9 + stop_at) == []
    assert leaving.tick(100.0 + stop_at) == [StartNothing(), StopRunning()]


def test_a_drain_does_not_outlast_the_wall_time() -> None:
    leaving = Leaving(30.0, 20.0)
    assert leaving.drain(None, 1.0) == [StartNothing()]
    assert leaving.next_deadline() == 18.0
    assert repr(leaving) == "<Leaving draining, next at 18>"


def test_long_run_of_20_000_requests_each_later_and_shorter() -> None:
    leaving = Leaving()
    deadlines = []
    for number in range(20_000):
        leaving.drain(100_000.0 - 2 * number, float(number))
        deadlines.append(leaving.next_deadline())
    assert all(later < earlier for earlier, later in itertools.pairwise(deadlines))
