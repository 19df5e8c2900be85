"""Calls that were submitted one by one, and their futures.

Owns the futures of one job each. A future is resolved in the loop's thread, as `concurrent.futures` does it in its own.
Called by `registry.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from zmqtasks.messages import JobId, Outcome
from zmqtasks.wire import payload


class TaskFuture(Future[Any]):
    """A `concurrent.futures.Future` of a task in the mesh."""

    _on_cancel: Callable[[TaskFuture], None] | None = None
    _job: JobId | None = None
    _index: int = 0

    def cancel(self) -> bool:
        """Cancel the task unless it was sent to a node already; return whether it is cancelled."""
        if not super().cancel():
            return False
        if self._on_cancel is not None:
            self._on_cancel(self)
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

    def sent(self, start: int, stop: int, nbytes: int) -> None:
        """These calls go to a node: they can be cancelled no more."""
        for index in range(start, stop):
            future = self._futures.get(index)
            # A call that is sent again is running already.
            if future is not None and not future.running() and not future.set_running_or_notify_cancel():
                del self._futures[index]

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
            if position in found.errors:
                future.set_exception(found.errors[position])
            else:
                future.set_result(value)

    def fail(self, start: int, stop: int, error: BaseException) -> None:
        """End the futures of [start, stop) with an error."""
        for index in range(start, stop):
            if future := self._futures.pop(index, None):
                if not future.running():
                    future.set_running_or_notify_cancel()
                if not future.cancelled():
                    future.set_exception(error)

    def drop(self, index: int) -> None:
        """Forget a future that was cancelled, and tell who waits for it."""
        if future := self._futures.pop(index, None):
            future.set_running_or_notify_cancel()

    def fail_all(self, error: BaseException) -> None:
        """End all futures that have not ended."""
        for index in list(self._futures):
            self.fail(index, index + 1, error)

    def cancel_pending(self) -> list[int]:
        """Cancel the futures whose calls were not sent; return their numbers."""
        return [index for index, future in list(self._futures.items()) if Future.cancel(future)]
