"""Calls that were submitted one by one, and their futures.

Owns the futures of one job each. A future is resolved in the loop's thread, as `concurrent.futures` does it in its own.
Called by `registry.py`.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, InvalidStateError
from concurrent.futures._base import CANCELLED
from typing import Any, Protocol

from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId, Outcome
from zmqtasks.wire import payload

ANSWER_S = 2.0
"""How long `cancel` waits for a node to hand a task back; it takes milliseconds where the node is well."""


class Canceller(Protocol):
    """Who can do something about a task; called from any thread."""

    def withdrawn(self, future: TaskFuture, *, kill: bool) -> None:
        """Give up the task of a future that is cancelled already, and tell those who wait for it."""

    def wanted_back(self, future: TaskFuture, answered: threading.Event | None) -> None:
        """Try to take the task back from its node; `answered` is set when that is decided."""

    def wanted_no_more(self, future: TaskFuture) -> None:
        """Let the task go on, where that is not decided yet; all who wait for it are told."""


class TaskFuture(Future[Any]):
    """A `concurrent.futures.Future` of a task in the mesh."""

    _canceller: Canceller | None = None
    _job: JobId | None = None
    _index: int = 0

    def cancel(self) -> bool:
        """Take the task back, also from a node, unless it was begun; return whether it is cancelled.

        True says that the task was not begun and never will be; False that it runs, or has ended, or that its node did
        not answer within two seconds. A task that a worker has before it counts as begun.

        In a thread that runs an event loop nobody may wait for a node: that is where callbacks of futures run, and
        coroutines. There this returns False for a task that was sent, and cancels it soon if that is possible still.
        """
        if super().cancel():
            if self._canceller is not None:
                self._canceller.withdrawn(self, kill=False)
            return True
        if self._canceller is None or self.done():
            return False
        if _in_event_loop():
            self._canceller.wanted_back(self, None)
            return False
        answered = threading.Event()
        self._canceller.wanted_back(self, answered)
        if not answered.wait(ANSWER_S):
            self._canceller.wanted_no_more(self)
            answered.wait(ANSWER_S)
        return self.cancelled()

    def kill(self) -> bool:
        """Cancel the task in any case, and kill the worker that runs it; see `zmqtasks.kill`."""
        if not self._end_cancelled():
            return False
        if self._canceller is not None:
            self._canceller.withdrawn(self, kill=True)
        return True

    def _end_cancelled(self) -> bool:
        """Do as `Future.cancel`, also where the task runs; `set_running_or_notify_cancel` has to follow."""
        with self._condition:
            if self.done():
                return False
            self._state = CANCELLED
            self._condition.notify_all()
        self._invoke_callbacks()  # type: ignore[attr-defined]
        return True


def kill(future: Future[Any] | asyncio.Future[Any]) -> bool:
    """Cancel a task in any case: one that waits is never begun, one that runs is stopped by killing its worker.

    The future is cancelled when this returns; the worker dies within milliseconds, unless its node is cut off. Other
    tasks of that worker run again, and are blamed for nothing.

    Args:
        future: of `submit`, of a client or an asyncio one.

    Returns:
        False when the task had ended already.

    Raises:
        TypeError: not a future of a task.
    """
    own = getattr(future, TWIN, future)
    if not isinstance(own, TaskFuture):
        raise TypeError(f"kill() takes what submit() of a zmqtasks client returned, not {future!r}")
    return own.kill()


TWIN = "_zmqtasks_future"
"""Attribute of an asyncio future: the `TaskFuture` it was made of."""


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class AwaitedFuture(TaskFuture):
    """A future that asyncio waits for; it refuses `StopIteration`, and its waiter would wait for ever."""

    def set_exception(self, exception: BaseException | None) -> None:
        """End with an exception; with a `RuntimeError` it causes where a coroutine would end by it. Source: PEP 479."""
        if isinstance(exception, StopIteration):
            told = RuntimeError("the task raised StopIteration")
            told.__cause__ = exception
            exception = told
        super().set_exception(exception)


class SubmittedJob:
    """The calls of one function with the same options, numbered as they were submitted.

    Args:
        serializer: of the job; results of another are not opened.

    `job_id` is filled in when the job is open.
    """

    def __init__(self, serializer: str) -> None:
        self.job_id: JobId = ""
        self.serializer = serializer
        self.added = 0
        self._futures: dict[int, TaskFuture] = {}

    def add(self, futures: list[TaskFuture]) -> None:
        """Number the next futures."""
        for index, future in enumerate(futures, self.added):
            future._job, future._index = self.job_id, index
            self._futures[index] = future
        self.added += len(futures)

    @property
    def is_idle(self) -> bool:
        """Tell whether all calls have ended."""
        return not self._futures

    def sent(self, start: int, stop: int, nbytes: int) -> list[int]:
        """These calls go to a node; return those that were cancelled at the last moment, and shall not."""
        unwanted = []
        for index in range(start, stop):
            future = self._futures.get(index)
            # A call that is sent again is running already.
            if future is not None and not future.running() and not future.set_running_or_notify_cancel():
                del self._futures[index]
                unwanted.append(index)
        return unwanted

    def succeed(self, outcome: Outcome, start: int, stop: int) -> None:
        """Resolve the futures of [start, stop), a part of an OK outcome."""
        try:
            first, last = start - outcome.start, stop - outcome.start
            found = payload.unpack(outcome.body, first=first, last=last, serializer=self.serializer)
        except Exception as error:
            self.fail(start, stop, error)
            return
        for position, value in enumerate(found.values):
            future = self._futures.pop(start + position, None)
            if future is None:
                continue
            try:
                if position in found.errors:
                    future.set_exception(found.errors[position])
                else:
                    future.set_result(value)
            except InvalidStateError:  # it was killed in this moment
                future.set_running_or_notify_cancel()

    def fail(self, start: int, stop: int, error: BaseException) -> None:
        """End the futures of [start, stop) with an error."""
        for index in range(start, stop):
            if future := self._futures.pop(index, None):
                try:
                    if future.running() or future.set_running_or_notify_cancel():
                        future.set_exception(error)
                except InvalidStateError:  # it was killed in this moment
                    future.set_running_or_notify_cancel()

    def cancelled(self, start: int, stop: int) -> None:
        """End the futures of [start, stop) as cancelled: nobody has begun them."""
        for index in range(start, stop):
            if future := self._futures.pop(index, None):
                future._end_cancelled()
                future.set_running_or_notify_cancel()

    def drop(self, index: int) -> None:
        """Forget a future that was cancelled, and tell who waits for it."""
        if future := self._futures.pop(index, None):
            future.set_running_or_notify_cancel()

    def has(self, index: int) -> bool:
        """Tell whether this call has not ended."""
        return index in self._futures

    def fail_all(self, error: BaseException) -> None:
        """End all futures that have not ended."""
        for index in list(self._futures):
            self.fail(index, index + 1, error)

    def cancel_pending(self) -> RangeSet:
        """Cancel the futures whose calls were not sent; return their numbers."""
        cancelled = [index for index, future in self._futures.items() if Future.cancel(future)]
        for index in cancelled:
            self.drop(index)
        return RangeSet((index, index + 1) for index in cancelled)

    def left(self) -> RangeSet:
        """Return the calls that have not ended."""
        return RangeSet((index, index + 1) for index in self._futures)
