"""A call that is made at fixed intervals: its moments, on a fake clock."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from typing import Any

import pytest

from zmqtasks.embedded.periodic import Periodic
from zmqtasks.testing import FakeClock


class Runs:
    """What a periodic call has made so far."""

    def __init__(self, period_s: float) -> None:
        self.clock = FakeClock()
        self.process = self.clock.peer_clock()
        self.times: list[float] = []
        self.futures: list[Future[Any]] = []
        self.refusal: Exception | None = None
        self.periodic = Periodic(period_s, self.submit, self.process, self.process.call_soon)

    def submit(self) -> Future[Any]:
        if self.refusal:
            raise self.refusal
        self.times.append(self.clock.time())
        self.futures.append(Future())
        return self.futures[-1]

    def end_after(self, seconds: float) -> None:
        future = self.futures[-1]
        self.clock.call_later(seconds, future.set_result, None)

    def run_for(self, seconds: float) -> None:
        self.clock.advance(seconds)


def test_moments_are_counted_from_the_first_and_do_not_drift() -> None:
    runs = Runs(10.0)
    start = runs.times[0]
    for _ in range(5):
        runs.end_after(3.7)
        runs.run_for(10.0)
    assert runs.times == [start + 10.0 * number for number in range(6)]
    assert repr(runs.periodic) == "<Periodic every 10 s, 6 runs, 0 left out>"


def test_a_moment_within_a_run_is_left_out_and_counted() -> None:
    runs = Runs(10.0)
    start = runs.times[0]
    runs.end_after(25.0)
    runs.run_for(30.0)
    assert runs.times == [start, start + 30.0]
    assert (runs.periodic.runs, runs.periodic.skipped) == (2, 2)


def test_moments_that_go_by_while_the_process_is_stopped_are_left_out() -> None:
    runs = Runs(10.0)
    start = runs.times[0]
    runs.futures[0].set_result(None)
    runs.run_for(1.0)
    runs.process.stop()
    runs.run_for(33.0)
    runs.process.resume()
    runs.run_for(0.0)
    runs.futures[1].set_result(None)
    runs.run_for(10.0)
    assert [at - start for at in runs.times] == [0.0, 34.0, 40.0]
    assert runs.periodic.skipped == 2


def test_cancelled_it_makes_no_call_any_more() -> None:
    runs = Runs(10.0)
    runs.periodic.cancel()
    runs.run_for(50.0)
    assert (len(runs.times), runs.periodic.is_over, runs.futures[0].cancelled()) == (1, True, True)
    assert repr(runs.periodic) == "<Periodic over, 1 runs, 0 left out>"


def test_it_ends_with_its_client() -> None:
    runs = Runs(10.0)
    runs.futures[0].set_result(None)
    runs.refusal = RuntimeError("cannot schedule new futures after shutdown")
    runs.run_for(50.0)
    assert (runs.periodic.runs, runs.periodic.is_over) == (1, True)


def test_a_run_that_fails_is_told_and_the_next_comes(caplog: pytest.LogCaptureFixture) -> None:
    runs = Runs(10.0)
    with caplog.at_level(logging.WARNING):
        runs.futures[0].set_exception(ValueError("no"))
        runs.run_for(10.0)
    assert [record.message for record in caplog.records] == ["a periodic run failed: ValueError('no')"]
    assert len(runs.times) == 2
