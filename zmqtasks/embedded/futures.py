"""The futures of submitted calls: of the standard library in every respect, but cheap where nobody waits for them.

Owns what a caller can do with one future, and how a range of them is resolved at once. What becomes of a task is
decided elsewhere. Called by user programs and by `submitted.py`.

A future of the standard library makes a condition so that threads can wait for it, and that is most of its cost. Few
are ever waited for: their results are there when they are asked for. So the condition is made when something asks for
it. Until then (`_watched` is False) only the loop's thread changes the state, from pending to running to finished; it
does so for a range at once, holding `_MAKING`. To make the condition takes the same lock, so nobody can begin to wait,
or to cancel, in the middle of that. From then on all goes the way of the standard library.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from typing import Any, Protocol, cast, overload

from zmqtasks.embedded.info import TaskInfo, TaskState, Told, info_of, state_after

ANSWER_S = 2.0
"""How long `cancel` waits for a node to hand a task back; it takes milliseconds where the node is well."""
_MAKING = threading.RLock()
"""Reentrant: what the garbage collector runs in the loop's thread may use futures as well."""
os.register_at_fork(after_in_child=_MAKING._at_fork_reinit)  # type: ignore[attr-defined]
_ENDED = (FINISHED, CANCELLED, CANCELLED_AND_NOTIFIED)


class Canceller(Protocol):
    """Who can do something about tasks, by their numbers; called from any thread."""

    def withdrawn(self, index: int, *, kill: bool) -> None:
        """Give up the task of a future that is cancelled already, and tell those who wait for it."""

    def wanted_back(self, index: int, answered: threading.Event | None) -> None:
        """Try to take the task back from its node; `answered` is set when that is decided."""

    def wanted_no_more(self, index: int) -> None:
        """Let the task go on, where that is not decided yet; all who wait for it are told."""

    def told_of(self, index: int) -> Told:
        """Return what is known of a task that has not ended."""


class _Made:
    """An attribute of `Future` that is made when it is first asked for; the instance's own is found before this one."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, future: None, owner: type) -> _Made: ...
    @overload
    def __get__(self, future: TaskFuture, owner: type) -> Any: ...
    def __get__(self, future: TaskFuture | None, owner: type) -> Any:
        if future is None:
            return self
        future._watch()
        return getattr(future, self._name)


class TaskFuture(Future[Any]):
    """A `concurrent.futures.Future` of a task in the mesh."""

    __init__ = object.__init__
    _state = PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _condition = _Made()
    _waiters = _Made()
    _done_callbacks = _Made()
    _watched = False
    _canceller: Canceller | None = None
    """Its job; when it has ended, what is known of that instead: one more attribute would cost a call 0.7 us."""
    _index: int = 0
    _weight: int = 0
    """What its arguments hold, where that is bounded."""

    def _watch(self) -> None:
        """Become an ordinary future of the standard library."""
        condition, waiters, callbacks = threading.Condition(), list[Any](), list[Any]()
        with _MAKING:
            if not self._watched:
                self._condition, self._waiters, self._done_callbacks = condition, waiters, callbacks
                self._watched = True

    def result(self, timeout: float | None = None) -> Any:
        """Return the value, or raise what the task raised; see `concurrent.futures.Future.result`."""
        if self._state == FINISHED and self._exception is None:
            return self._result
        try:
            return super().result(timeout)
        finally:
            del self  # an exception that is raised here refers to this frame

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the task raised, or None; see `concurrent.futures.Future.exception`."""
        return self._exception if self._state == FINISHED else super().exception(timeout)

    def done(self) -> bool:
        """Tell whether the task has ended or is cancelled."""
        return self._state in _ENDED

    def running(self) -> bool:
        """Tell whether the task was sent to a node, and has not ended."""
        return self._state == RUNNING

    def cancelled(self) -> bool:
        """Tell whether the task is cancelled."""
        return self._state in (CANCELLED, CANCELLED_AND_NOTIFIED)

    def cancel(self) -> bool:
        """Take the task back, also from a node, unless it was begun; return whether it is cancelled.

        True says that the task was not begun and never will be; False that it runs, or has ended, or that its node did
        not answer within two seconds. A task that a worker has before it counts as begun.

        In a thread that runs an event loop nobody may wait for a node: that is where callbacks of futures run, and
        coroutines. There this returns False for a task that was sent, and cancels it soon if that is possible still.
        """
        if super().cancel():
            if self._canceller is not None:
                self._canceller.withdrawn(self._index, kill=False)
            return True
        if self._canceller is None or self.done():
            return False
        if _in_event_loop():
            self._canceller.wanted_back(self._index, None)
            return False
        answered = threading.Event()
        self._canceller.wanted_back(self._index, answered)
        if not answered.wait(ANSWER_S):
            self._canceller.wanted_no_more(self._index)
            answered.wait(ANSWER_S)
        return self.cancelled()

    def kill(self) -> bool:
        """Cancel the task in any case, and kill the worker that runs it; see `zmqtasks.kill`."""
        if not self._end_cancelled():
            return False
        if self._canceller is not None:
            self._canceller.withdrawn(self._index, kill=True)
        return True

    def info(self) -> TaskInfo:
        """Return how far the task is, with dates; see `zmqtasks.info`."""
        state = self._state  # first: when it has ended, what is known of that is there
        told = self._canceller.told_of(self._index) if self._canceller else Told("", "")
        if state not in _ENDED:
            return info_of(told, self._index, TaskState.SENT if state == RUNNING else TaskState.SUBMITTED)
        if state != FINISHED:
            return info_of(told, self._index, TaskState.CANCELLED)
        return info_of(told, self._index, state_after(self._exception), self._result, self._exception)

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
    return _own("kill", future).kill()


def info(future: Future[Any] | asyncio.Future[Any]) -> TaskInfo:
    """Return how far a task is: its state, when it was submitted, sent and ended, how long it took, and where.

    Args:
        future: of `submit`, of a client or an asyncio one.

    Raises:
        TypeError: not a future of a task.
    """
    return _own("info", future).info()


def _own(word: str, future: object) -> TaskFuture:
    own: object = getattr(future, TWIN, future)
    if isinstance(own, TaskFuture):
        return cast("TaskFuture", own)
    raise TypeError(f"{word}() takes what submit() of a zmqtasks client returned, not {future!r}")


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


# Ranges of futures, in the loop's thread; None stands for a future that has ended


def begin_all(futures: Sequence[TaskFuture | None]) -> list[int]:
    """Set futures running; return the positions of those that were cancelled before, whose waiters are told now."""
    watched = []
    with _MAKING:
        for position, future in enumerate(futures):
            if future is not None:
                if future._watched:
                    watched.append((position, future))
                else:
                    future._state = RUNNING
    # One that is sent again is running already.
    return [p for p, future in watched if not future.running() and not future.set_running_or_notify_cancel()]


def succeed_all(futures: Sequence[TaskFuture | None], values: Sequence[Any], told: Canceller | None = None) -> None:
    """Resolve each future with the value beside it; `told` is what is known of all of them."""
    watched = []
    with _MAKING:
        for future, value in zip(futures, values, strict=True):
            if future is None:
                continue
            if future._watched:
                watched.append((future, value))
            else:
                future._result = value
                future._canceller = told
                future._state = FINISHED
    for future, value in watched:
        future._canceller = told
        try:
            future.set_result(value)
        except InvalidStateError:  # it was killed in this moment
            future.set_running_or_notify_cancel()


def fail_one(future: TaskFuture, error: BaseException, told: Canceller | None = None) -> None:
    """End a future with an error."""
    future._canceller = told
    try:
        if future.running() or future.set_running_or_notify_cancel():
            future.set_exception(error)
    except InvalidStateError:  # it was killed in this moment
        future.set_running_or_notify_cancel()


def cancel_all(futures: Sequence[TaskFuture | None]) -> list[int]:
    """Cancel the futures that are not running; return their positions. Their waiters are told."""
    positions, watched = [], []
    with _MAKING:
        for position, future in enumerate(futures):
            if future is None or future._state == RUNNING:
                continue
            if future._watched:
                watched.append((position, future))
            else:
                future._state = CANCELLED_AND_NOTIFIED
                positions.append(position)
    for position, future in watched:
        if Future.cancel(future):
            future.set_running_or_notify_cancel()
            positions.append(position)
    return positions
