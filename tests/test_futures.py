"""Futures of submitted calls: what happens between two threads, one moment after the other."""

from __future__ import annotations

import concurrent.futures
import threading

import pytest

from zmqtasks.embedded.futures import SubmittedJob, TaskFuture, kill
from zmqtasks.messages import Outcome, OutcomeKind
from zmqtasks.wire import payload
from zmqtasks.wire.payload import Form


class Answers:
    """Stands in the place of the registry: keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []

    def withdrawn(self, future: TaskFuture, *, kill: bool) -> None:
        self.asked.append(("withdrawn", kill))

    def wanted_back(self, future: TaskFuture, answered: threading.Event | None) -> None:
        self.asked.append(("wanted back", answered is not None))
        if answered is not None:
            answered.set()

    def wanted_no_more(self, future: TaskFuture) -> None:
        self.asked.append(("wanted no more", False))


def job_with(number: int) -> tuple[SubmittedJob, list[TaskFuture]]:
    job, futures = SubmittedJob("pickle"), [TaskFuture() for _ in range(number)]
    job.job_id = "p:1"
    job.add(futures)
    return job, futures


def outcome(*values: object) -> Outcome:
    (run,) = payload.pack(values, form=Form.ONE)
    assert run.body is not None
    return Outcome("p:1", 1, "n", 0, len(values), OutcomeKind.OK, 0.0, run.body)


def test_what_was_cancelled_in_the_last_moment_is_not_sent() -> None:
    job, futures = job_with(3)
    assert futures[1].cancel()
    assert job.sent(0, 3, 10) == [1]
    assert [job.has(index) for index in range(3)] == [True, False, True]
    assert not concurrent.futures.wait([futures[1]], timeout=0).not_done
    assert job.sent(0, 1, 10) == [], "sent again, and running"


@pytest.mark.parametrize("how", ["succeed", "fail"])
def test_a_result_that_comes_after_the_kill_is_dropped(how: str) -> None:
    job, futures = job_with(2)
    job.sent(0, 2, 10)
    assert kill(futures[0])
    if how == "succeed":
        job.succeed(outcome(5, 6), 0, 2)
    else:
        job.fail(0, 2, ValueError())
    assert futures[0].cancelled()
    assert concurrent.futures.wait(futures, timeout=0).not_done == set()
    assert futures[1].exception(0) is None if how == "succeed" else futures[1].exception(0)
    assert not kill(futures[1])


def test_whoever_cancels_asks_and_waits() -> None:
    answers, (job, futures) = Answers(), job_with(2)
    for future in futures:
        future._canceller = answers
    job.sent(0, 1, 10)
    assert not futures[0].cancel()
    assert futures[1].cancel()
    assert futures[0].kill()
    assert not futures[0].kill()
    assert answers.asked == [("wanted back", True), ("withdrawn", False), ("withdrawn", True)]


def test_what_is_cancelled_on_a_node_is_told_to_all() -> None:
    job, futures = job_with(3)
    job.sent(0, 3, 10)
    called: list[object] = []
    futures[0].add_done_callback(called.append)
    job.cancelled(0, 2)
    assert called == [futures[0]]
    assert concurrent.futures.wait(futures, timeout=0).done == set(futures[:2])
    assert list(job.left()) == [(2, 3)]
