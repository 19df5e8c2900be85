"""Futures of submitted calls: what happens between two threads, one moment after the other."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from zmqtasks.embedded.futures import TaskFuture, begin_all, cancel_all, kill, succeed_all
from zmqtasks.embedded.submitted import SubmittedJob
from zmqtasks.messages import Outcome, OutcomeKind
from zmqtasks.options import TaskOptions
from zmqtasks.wire import payload
from zmqtasks.wire.payload import Form


class Answers:
    """Stands in the place of the registry: keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, bool]] = []
        self.idle = 0

    def withdraw(self, job: SubmittedJob, index: int, *, kill: bool) -> None:
        self.asked.append(("withdraw", index, kill))

    def want_back(self, job: SubmittedJob, index: int, answered: threading.Event | None) -> None:
        self.asked.append(("want back", index, answered is not None))
        if answered is not None:
            answered.set()

    def want_no_more(self, job: SubmittedJob, index: int) -> None:
        self.asked.append(("want no more", index, False))

    def note_idle(self) -> None:
        self.idle += 1


def job_with(*batches: int, answers: Answers | None = None) -> tuple[SubmittedJob, list[TaskFuture]]:
    answers = answers or Answers()
    job, futures = SubmittedJob(b"", "f", TaskOptions(), answers, answers.note_idle), []
    job.job_id = "p:1"
    for number in batches:
        batch = job.begin(Form.ONE, "")
        for item in range(number):
            future = TaskFuture()
            future._canceller, future._index = job, batch.first + item
            batch.futures.append(future)
            batch.items.append(item)
            futures.append(future)
        job.take()
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
    answers = Answers()
    job, futures = job_with(2, answers=answers)
    job.sent(0, 1, 10)
    assert not futures[0].cancel()
    assert futures[1].cancel()
    assert futures[0].kill()
    assert not futures[0].kill()
    assert answers.asked == [("want back", 0, True), ("withdraw", 1, False), ("withdraw", 0, True)]


def test_what_is_cancelled_on_a_node_is_told_to_all() -> None:
    job, futures = job_with(3)
    job.sent(0, 3, 10)
    called: list[object] = []
    futures[0].add_done_callback(called.append)
    job.cancelled(0, 2)
    assert called == [futures[0]]
    assert concurrent.futures.wait(futures, timeout=0).done == set(futures[:2])
    assert list(job.left()) == [(2, 3)]


def test_ranges_reach_over_batches_and_end_once() -> None:
    answers = Answers()
    job, futures = job_with(3, 2, 4, answers=answers)
    assert job.sent(0, 9, 10) == []
    assert all(future.running() for future in futures)
    job.succeed(outcome(*range(9)), 2, 6)
    job.succeed(outcome(*range(9)), 1, 4)
    assert [future.result(0) for future in futures[1:6]] == [1, 2, 3, 4, 5]
    assert list(job.left()) == [(0, 1), (6, 9)]
    assert not job.is_idle
    assert not answers.idle
    job.fail_all(ValueError("late"))
    assert job.is_idle
    assert answers.idle == 1
    assert [type(future.exception(0)) for future in (futures[0], futures[8])] == [ValueError, ValueError]
    assert not job.has(0)
    assert not job.has(20)


def test_what_cannot_be_opened_fails_alone() -> None:
    job, futures = job_with(3)
    job.sent(0, 3, 10)
    job.succeed(outcome(1, Unopened(), 3), 0, 3)
    assert [future.result(0) for future in (futures[0], futures[2])] == [1, 3]
    assert "no such luck" in str(futures[1].exception(0))
    job, futures = job_with(2)
    job.succeed(Outcome("p:1", 1, "n", 0, 2, OutcomeKind.OK, 0.0, b"nonsense"), 0, 2)
    assert all(future.exception(0) for future in futures)


class Unopened:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return no_such_luck, ()


def no_such_luck() -> None:
    raise RuntimeError("no such luck")


def test_only_what_was_not_sent_is_cancelled_at_the_end() -> None:
    job, futures = job_with(3, 3)
    job.sent(0, 2, 10)
    called: list[object] = []
    futures[3].add_done_callback(called.append)
    assert futures[4].cancel()
    assert list(job.cancel_pending()) == [(2, 6)]
    assert [future.cancelled() for future in futures] == [False, False, True, True, True, True]
    assert called == [futures[3]]
    assert concurrent.futures.wait(futures, timeout=0).done == set(futures[2:])
    assert list(job.left()) == [(0, 2)]


# As the standard library ------------------------------------------------------------------------------------------

Brought = Callable[[Future[Any]], object]
BRINGING: dict[str, Brought] = {
    "pending": lambda future: None,
    "running": lambda future: future.set_running_or_notify_cancel(),
    "finished": lambda future: (future.set_running_or_notify_cancel(), future.set_result("value")),
    "failed": lambda future: (future.set_running_or_notify_cancel(), future.set_exception(KeyError("why"))),
    "cancelled": lambda future: future.cancel(),
    "notified": lambda future: (future.cancel(), future.set_running_or_notify_cancel()),
}
SHORT: dict[str, Brought] = {
    "running": lambda future: begin_all([future]),  # type: ignore[list-item]
    "finished": lambda future: (begin_all([future]), succeed_all([future], ["value"])),  # type: ignore[list-item]
    "notified": lambda future: cancel_all([future]),  # type: ignore[list-item]
}
"""The same states, for futures that nobody has looked at."""


def told_of(call: Callable[[], object]) -> object:
    try:
        return call()
    except BaseException as error:
        return type(error), str(error).rpartition(" object at")[0]


def story_of(future: Future[Any], bring: Brought) -> dict[str, object]:
    """Return all that can be seen of a future in this state, and what becomes of it."""
    bring(future)
    called: list[object] = []
    completed = concurrent.futures.as_completed([future, future], timeout=0)
    return {
        "seen": (future.done(), future.running(), future.cancelled()),
        "result": told_of(lambda: future.result(0)),
        "exception": told_of(lambda: future.exception(0)).__class__,
        "callback": (future.add_done_callback(lambda done: called.append(done is future)), list(called)),
        "wait": [len(some) for some in concurrent.futures.wait([future], timeout=0)],
        "completed": told_of(lambda: len([some is future for some in completed])),
        "repr": repr(future).partition("state=")[2],
        "cancel": future.cancel(),
        "begin": told_of(future.set_running_or_notify_cancel),
        "value": told_of(lambda: future.set_result(5)),
        "after": (future.done(), future.running(), future.cancelled(), list(called)),
        "awaited": told_of(lambda: asyncio.run(awaited(future))),
    }


async def awaited(future: Future[Any]) -> object:
    return await asyncio.wait_for(asyncio.wrap_future(future), 0.01)


@pytest.mark.parametrize("state", BRINGING)
def test_it_behaves_as_a_future_of_the_standard_library(state: str) -> None:
    ordinary = story_of(Future(), BRINGING[state])
    assert story_of(TaskFuture(), BRINGING[state]) == ordinary
    assert story_of(TaskFuture(), SHORT.get(state, BRINGING[state])) == ordinary


def test_a_future_nobody_looks_at_stays_small() -> None:
    future = TaskFuture()
    begin_all([future])
    succeed_all([future], [7])
    assert (future.result(), future.exception(), future.done()) == (7, None, True)
    assert "_condition" not in vars(future)


def test_what_it_raises_is_let_go() -> None:
    future = TaskFuture()
    future.set_exception(ValueError())
    reference = weakref.ref(future)
    with pytest.raises(ValueError):
        future.result()
    gc.disable()
    try:
        del future
        assert reference() is None
    finally:
        gc.enable()


def test_nobody_is_missed_who_begins_to_wait_meanwhile() -> None:
    """One thread resolves ranges while others begin to wait, or ask to be called, for the same futures."""
    futures = [TaskFuture() for _ in range(6000)]
    called: list[int] = []
    completed: list[int] = []
    start = threading.Barrier(4)

    def resolve() -> None:
        start.wait()
        for first in range(0, len(futures), 100):
            begin_all(futures[first : first + 100])
            succeed_all(futures[first : first + 100], range(first, first + 100))

    def ask() -> None:
        start.wait()
        for future in reversed(futures):
            future.add_done_callback(lambda future: called.append(future.result(0)))

    def wait() -> None:
        start.wait()
        completed.extend(future.result(0) for future in concurrent.futures.as_completed(futures, timeout=60))

    threads = [threading.Thread(target=target) for target in (resolve, ask, wait)]
    for thread in threads:
        thread.start()
    start.wait()
    assert [future.result(60) for future in futures] == list(range(6000))
    for thread in threads:
        thread.join()
    assert sorted(called) == sorted(completed) == list(range(6000))
