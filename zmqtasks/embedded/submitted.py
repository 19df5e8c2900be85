"""Calls that were submitted one by one: collected between two looks of the loop, and numbered as a job.

Owns the futures of calls that have not ended, and what was submitted and not given to the ventilator yet. The caller's
threads fill it, holding the registry's lock; everything else happens in the loop's thread. Called by `registry.py`.

What a task costs here is little more than its place in two lists; batches and ranges of it are handed on whole.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from zmqtasks.embedded.dates import Dates
from zmqtasks.embedded.futures import Canceller, TaskFuture, begin_all, cancel_all, fail_one, succeed_all
from zmqtasks.embedded.info import Told
from zmqtasks.embedded.pending import Pending
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId, Outcome
from zmqtasks.options import TaskOptions
from zmqtasks.wire import payload


class Batch(NamedTuple):
    """Consecutive calls of one form and trace, and their futures; the first has this number."""

    first: int
    form: payload.Form
    trace_id: str
    items: list[Any]
    futures: list[TaskFuture | None]


class Registry(Protocol):
    """What the calls of a job need of the registry; from any thread."""

    def withdraw(self, job: SubmittedJob, index: int, *, kill: bool) -> None:
        """Give up a call whose future is cancelled already."""

    def want_back(self, job: SubmittedJob, index: int, answered: threading.Event | None) -> None:
        """Try to take a call back from its node."""

    def want_no_more(self, job: SubmittedJob, index: int) -> None:
        """Let a call go on that could not be taken back in time."""


class SubmittedJob(Canceller):
    """The calls of one function with the same options, numbered as they were submitted.

    Args:
        function: encoded.
        name: of the function, for people.
        options: of each call.
        registry: asked to do something about a call.
        on_idle: called in the loop's thread when all calls have ended.
    """

    kind = "submit"
    pending: Pending | None = None
    """Told of each call that has ended, where there is a bound."""

    def __init__(
        self, function: bytes, name: str, options: TaskOptions, registry: Registry, on_idle: Callable[[], None]
    ) -> None:
        self.function, self.name, self.options = function, name, options
        self.job_id: JobId = ""
        """Filled in when the job is open."""
        self.serializer = options.serializer
        self.closed = False
        self.ended = 0
        self.given = 0
        """Calls before this number are with the ventilator."""
        self.filling: Batch | None = None
        self._batches: list[Batch] = []
        self._registry = registry
        self._on_idle = on_idle
        self._starts: list[int] = []
        self._futures: list[list[TaskFuture | None]] = []
        """Of batches that were given, beginning at `_starts`; None where a call has ended."""
        self._left: list[int] = []
        self._given_at: list[tuple[int, float]] = []
        """Beside `_starts`: those, and when."""
        self._sent_at = Dates()

    # In any thread, holding the registry's lock

    def begin(self, form: payload.Form, trace_id: str) -> Batch:
        """Begin a batch of another form or trace."""
        batch = Batch(self.added, form, trace_id, [], [])
        self._batches.append(batch)
        self.filling = batch
        return batch

    def take(self) -> list[Batch]:
        """Take what was submitted since the last time, and count it as given."""
        taken, self._batches, self.filling = self._batches, [], None
        for batch in taken:
            del batch.futures[len(batch.items) :]  # Ctrl-C may have come between the two
            self._give(batch.futures)
        return taken

    @property
    def added(self) -> int:
        """Return how many calls there were."""
        return self.given + sum([len(batch.items) for batch in self._batches]) if self._batches else self.given

    @property
    def is_idle(self) -> bool:
        """Tell whether all calls have ended."""
        return self.ended == self.added

    # Canceller: in any thread

    def withdrawn(self, index: int, *, kill: bool) -> None:
        """Give up a call whose future is cancelled already."""
        self._registry.withdraw(self, index, kill=kill)

    def wanted_back(self, index: int, answered: threading.Event | None) -> None:
        """Try to take a call back from its node."""
        self._registry.want_back(self, index, answered)

    def wanted_no_more(self, index: int) -> None:
        """Let a call go on that could not be taken back in time."""
        self._registry.want_no_more(self, index)

    def told_of(self, index: int) -> Told:
        """Return what is known of a call that has not ended."""
        given = self._given_at[:]  # the loop's thread changes it
        place = bisect_right(given, (index + 1,)) - 1
        return Told(self.job_id, self.name, given[place][1] if place >= 0 else None, self._sent_at.seen(index))

    # In the loop's thread

    def _give(self, futures: list[TaskFuture | None]) -> None:
        if not futures:
            return
        self._starts.append(self.given)
        self._futures.append(futures)
        self._left.append(len(futures))
        self._given_at.append((self.given, time.time()))
        self.given += len(futures)

    def sent(self, start: int, stop: int, nbytes: int) -> list[int]:
        """These calls go to a node; return those that were cancelled at the last moment, and shall not."""
        unwanted = []
        self._sent_at.put(start, stop, time.time())
        for place, first, last in self._places(start, stop):
            begin = self._starts[place]
            gone = begin_all(self._futures[place][first:last])
            unwanted += [begin + first + position for position in gone]
        for index in unwanted:
            self._forget(index, index + 1)
        return unwanted

    def succeed(self, outcome: Outcome, start: int, stop: int) -> None:
        """Resolve the futures of [start, stop), a part of an OK outcome."""
        try:
            first, last = start - outcome.start, stop - outcome.start
            found = payload.unpack(outcome.body, first=first, last=last, serializer=self.serializer)
        except Exception as error:
            self.fail(start, stop, error)
            return
        for position, failure in found.errors.items():
            self.fail(start + position, start + position + 1, failure)
        for begin, futures, told in self._take(start, stop, outcome):
            succeed_all(futures, found.values[begin - start : begin - start + len(futures)], told)
        self._tell_if_idle()

    def fail(self, start: int, stop: int, error: BaseException, outcome: Outcome | None = None) -> None:
        """End the futures of [start, stop) with an error, which an outcome told, or this side decided."""
        for _, futures, told in self._take(start, stop, outcome):
            for future in filter(None, futures):
                fail_one(future, error, told)
        self._tell_if_idle()

    def cancelled(self, start: int, stop: int) -> None:
        """End the futures of [start, stop) as cancelled: nobody has begun them."""
        for future in self._take_each(start, stop):
            future._end_cancelled()
            future.set_running_or_notify_cancel()
        self._tell_if_idle()

    def pull(self, index: int) -> TaskFuture | None:
        """Let go of the future of a call that its caller takes over; None where it was cancelled in this moment."""
        if self.sent(index, index + 1, 0):
            return None
        (future,) = self._take_each(index, index + 1)
        self._tell_if_idle()
        return future

    def drop(self, index: int) -> None:
        """Forget a future that was cancelled, and tell who waits for it."""
        for future in self._take_each(index, index + 1):
            future.set_running_or_notify_cancel()
        self._tell_if_idle()

    def has(self, index: int) -> bool:
        """Tell whether this call was given, and has not ended."""
        return any(self._futures[place][first] is not None for place, first, _ in self._places(index, index + 1))

    def fail_all(self, error: BaseException) -> None:
        """End all futures that have not ended."""
        self.fail(0, self.given, error)

    def cancel_pending(self) -> RangeSet:
        """Cancel the futures whose calls were not sent; return their numbers."""
        cancelled = RangeSet()
        for place, first, last in self._places(0, self.given):
            begin = self._starts[place] + first
            for position in cancel_all(self._futures[place][first:last]):
                cancelled.add(begin + position, begin + position + 1)
        for start, stop in cancelled:
            self._forget(start, stop)
        self._tell_if_idle()
        return cancelled

    def left(self) -> RangeSet:
        """Return the calls that have not ended."""
        return RangeSet(
            (begin + position, begin + position + 1)
            for begin, futures in zip(self._starts, self._futures, strict=True)
            for position, future in enumerate(futures)
            if future is not None
        )

    def _tell_if_idle(self) -> None:
        if self.is_idle:
            self._on_idle()

    # The futures of a range

    def _places(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Return where the futures of [start, stop) are: (place of the list, first, last in it)."""
        places = []
        place = max(0, bisect_right(self._starts, start) - 1)
        while place < len(self._starts) and self._starts[place] < stop:
            begin, count = self._starts[place], len(self._futures[place])
            first, last = max(start - begin, 0), min(stop - begin, count)
            if first < last:
                places.append((place, first, last))
            place += 1
        return places

    def _take(
        self, start: int, stop: int, outcome: Outcome | None = None
    ) -> list[tuple[int, list[TaskFuture | None], Told]]:
        """Take futures out, as (number of the first, futures, what is known of them): each ends once."""
        sent_at = self._sent_at.of(start)
        end = (time.time(), None, "", 0)
        if outcome is not None:
            task_s = outcome.elapsed_s / (outcome.stop - outcome.start)
            end = (end[0], task_s, outcome.node, outcome.attempt)  # type: ignore[assignment]
        taken = [
            (
                self._starts[at] + a,
                self._futures[at][a:b],
                Told(self.job_id, self.name, self._given_at[at][1], sent_at, *end),
            )
            for at, a, b in self._places(start, stop)
        ]
        self._forget(start, stop)
        return taken

    def _take_each(self, start: int, stop: int) -> Iterator[TaskFuture]:
        for _, futures, told in self._take(start, stop):
            for future in filter(None, futures):
                future._canceller = told
                yield future

    def _forget(self, start: int, stop: int) -> None:
        self._sent_at.drop(start, stop)
        for place, first, last in reversed(self._places(start, stop)):
            futures = self._futures[place]
            gone = list(filter(None, futures[first:last]))
            ended = len(gone)
            self.ended += ended
            if self.pending:
                self.pending.leave(ended, sum([future._weight for future in gone]))
            self._left[place] -= ended
            if self._left[place]:
                futures[first:last] = [None] * (last - first)
            else:
                del self._starts[place], self._given_at[place], self._futures[place], self._left[place]
