"""The futures of calls that a task has spawned, and what becomes of a batch of them.

Owns how answers become results. A worker has no thread that waits for them: whoever waits for such a future, or for
several by `concurrent.futures.wait` and `as_completed`, reads what comes meanwhile. Made by `current.py`.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, cast

from zmqtasks.asks import NO_MORE, Answer, Disregard, Ended, Refused, Told
from zmqtasks.errors import HomeLost
from zmqtasks.messages import OutcomeKind
from zmqtasks.options import Limits
from zmqtasks.sharing import error_of
from zmqtasks.wire import payload
from zmqtasks.wire.asking import pack_ask, unpack_answer

if TYPE_CHECKING:
    from zmqtasks.processes.messenger import Messenger, Pending

logger = logging.getLogger(__name__)

Take = Callable[[int, Any, BaseException | None], None]
"""Takes what became of a call: its place in the batch, its value, or what it raised."""


class Batch:
    """Calls that were spawned at once.

    Args:
        messenger: of this worker.
        pending: what was asked.
        count: how many calls there are.
        serializer: of their results.
        take: told of each of them, once, by whichever thread reads.
    """

    def __init__(self, messenger: Messenger, pending: Pending, count: int, serializer: str, take: Take) -> None:
        self._left = count
        self._ended = [False] * count
        self._pending = pending
        self._serializer = serializer
        self._take = take
        self._counting = threading.Lock()
        weak = weakref.WeakMethod(self._settle)

        def settle() -> None:
            if (method := weak()) is not None:
                method()

        pending.on_answer = settle
        self._messenger = messenger
        end = weakref.finalize(self, _dropped, messenger, pending, serializer)
        end.atexit = False
        self._settle()  # another thread may have read an answer before it knew whom to tell

    def _settle(self) -> None:
        """Hand on what has come; what is called then may wait, and so come here again."""
        while self._pending.answers:
            try:
                body = self._pending.answers.popleft()
            except IndexError:  # another thread was faster
                break
            self._hand_on(unpack_answer(body))
        if self._pending.lost:
            self._fail_rest(HomeLost())

    def _hand_on(self, answer: Answer) -> None:
        match answer:
            case Told():
                """The calls are taken; what becomes of them follows."""
            case Refused():
                self._fail_rest(error_of(answer))
            case Ended(start, stop, OutcomeKind.OK, body, first):
                try:
                    found = payload.unpack(body, first=first, last=first + stop - start, serializer=self._serializer)
                except Exception as error:
                    self._fail(range(start, stop), error)
                    return
                for position, value in enumerate(found.values):
                    self._end(start + position, value, found.errors.get(position))
            case Ended(start, stop, _, body):
                self._fail(range(start, stop), payload.unpack_failure(body, Limits(), self._serializer))

    def _fail_rest(self, error: BaseException) -> None:
        self._fail([place for place, ended in enumerate(self._ended) if not ended], error)

    def _fail(self, places: Any, error: BaseException) -> None:
        for place in places:
            self._end(place, None, error)

    def _end(self, place: int, value: Any, error: BaseException | None) -> None:
        with self._counting:
            if self._ended[place]:
                return
            self._ended[place] = True
            self._left -= 1
            if not self._left:
                self._messenger.forget(self._pending)
        self._take(place, value, error)


def _dropped(messenger: Messenger, pending: Pending, serializer: str) -> None:
    """Nobody waits for a batch any more: have its failures logged, here those that come yet, and at home the others."""
    if pending.is_over:
        return

    def log() -> None:
        while pending.answers:
            answer = unpack_answer(pending.answers.popleft())
            if isinstance(answer, Ended) and answer.kind is not OutcomeKind.OK:
                error = payload.unpack_failure(answer.body, Limits(), serializer)
                logger.error("a call that a task has spawned, and did not wait for, failed: %r", error)
            elif answer == NO_MORE or isinstance(answer, Refused):
                messenger.forget(pending)

    pending.on_answer = log
    messenger.later(log)
    messenger.later(lambda: messenger.ask(pack_ask(Disregard(pending.number)), keep=False))


class SpawnedFuture(Future[Any]):
    """A `concurrent.futures.Future` of a call that a task has spawned; for the worker that runs that task."""

    _batch: Batch | None = None

    def __init__(self, messenger: Messenger) -> None:
        super().__init__()
        self._messenger = messenger
        self._waiters = cast("Any", _Waiters(messenger))
        self.set_running_or_notify_cancel()

    def attach(self, pending: Pending, serializer: str) -> None:
        """Become the future of what was asked."""
        weak = weakref.ref(self)

        def take(place: int, value: Any, error: BaseException | None) -> None:
            future = weak()
            if future is None:
                return
            future._batch = None
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        self._batch = Batch(self._messenger, pending, 1, serializer, take)

    def result(self, timeout: float | None = None) -> Any:
        """Return the value, or raise what the call raised.

        Raises:
            TimeoutError: it was not there in time.
            NestedTooDeep: so many tasks of this node wait already that no more may.
        """
        if not self.done():
            self._messenger.wait(self.done, timeout, needs_others=True)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the call raised, or None; see `result`."""
        if not self.done():
            self._messenger.wait(self.done, timeout, needs_others=True)
        return super().exception(0)

    def cancel(self) -> bool:
        """Return False: what was spawned is run; see `zmqtasks.current_client`."""
        return False

    def __reduce__(self) -> Any:
        raise TypeError("the future of a call that a task has spawned stays in that task; give its result instead")


class _Waiters(list[Any]):
    """The waiters of a future: each of them reads what comes while it waits.

    `concurrent.futures.wait` and `as_completed` add a waiter here, and then wait for its event.
    """

    def __init__(self, messenger: Messenger) -> None:
        super().__init__()
        self._messenger = messenger

    def append(self, waiter: Any) -> None:
        if not isinstance(waiter.event, _ReadingEvent):
            waiter.event = _ReadingEvent(self._messenger)
        super().append(waiter)


class _ReadingEvent(threading.Event):
    def __init__(self, messenger: Messenger) -> None:
        super().__init__()
        self._messenger = messenger

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self._messenger.wait(self.is_set, timeout, needs_others=True)
        return self.is_set()
