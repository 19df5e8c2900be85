"""Calls made by `map`: arguments pulled lazily, results handed on as runs, bounded in flight both ways.

Owns the arguments' iterators and the results that nobody has taken yet. Results stay encoded until the consumer takes
them, and are decoded in its thread. Called by `client.py`, `aio.py` (consumer side) and `registry.py` (loop side).

How much is in flight: it starts small and grows whenever the consumer waits while the nodes have room; a consumer
that is slower than the mesh never waits, so nothing piles up before it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from itertools import islice
from typing import Any, NamedTuple

from zmqtasks.messages import Outcome
from zmqtasks.options import MIB
from zmqtasks.wire import payload

FIRST_BOUND = 16
MOST_BOUND = 1 << 20
"""Tasks in flight: pulled, and not yet taken by the consumer."""
GROWTH = 8
"""So many times the results that have come may be in flight for a consumer that waits, ..."""
SILENT_S = 0.05
"""... and where none comes for so long, so many times more than before: tasks are long, and workers many."""
AHEAD = 1 << 14
"""More than this is in flight only for a consumer that has taken an eighth of it."""
AHEAD_S = 0.1
"""Who takes in this time all that may be in flight gets more of it, and with it larger chunks."""
FOREVER = float("inf")
LEAST_BOUND = 8
MOST_BYTES = 64 * MIB
"""Results that nobody has taken: beyond this nothing is pulled. Tasks in flight: fewer, where arguments or results of
so many would take more."""
FADING = 0.9
"""Results are taken for as large as the largest of late."""
PULL_S = 0.002
"""An iterator that is slow is not waited for longer while what it gave could be sent."""


class Run(NamedTuple):
    """Results of tasks [start, stop): an encoded part of an outcome, or an error."""

    start: int
    stop: int
    body: bytes | memoryview
    first: int
    serializer: str
    error: BaseException | None = None

    def opened(self) -> tuple[list[Any], BaseException | None]:
        """Return the values in order up to the first task that failed, and its error."""
        if self.error is not None:
            return [], self.error
        last = self.first + self.stop - self.start
        found = payload.unpack(self.body, first=self.first, last=last, serializer=self.serializer)
        values = found.values if type(found.values) is list else list(found.values)
        if found.errors:
            bad = min(found.errors)
            return values[:bad], found.errors[bad]
        return values, None


class Mapping:
    """The arguments and results of one `map`.

    Args:
        iterables: one for each argument of the function; the shortest ends it.
        ordered: whether runs are taken in the order of the arguments.
        bound: fixed most tasks in flight, or None to find out.
        serializer: of the job; results of another are not opened.
        add: gives the next arguments to the mesh: items and their form.
        end: says that all arguments were given.
        cancel: gives up all that was given.
    """

    kind = "map"

    def __init__(
        self,
        iterables: Sequence[Iterable[Any]],
        *,
        ordered: bool,
        bound: int | None,
        serializer: str,
        add: Callable[[Sequence[Any], payload.Form], None],
        end: Callable[[], None],
        cancel: Callable[[int], None],
    ) -> None:
        self.serializer = serializer
        self._source = _source_of(iterables)
        self._form = payload.Form.ONE if len(iterables) == 1 else payload.Form.MANY
        self._ordered = ordered
        self._bound, self._fixed = (bound, True) if bound is not None else (FIRST_BOUND, False)
        self._add, self._end, self._cancel = add, end, cancel
        self._pulled = self._taken = self._sent = 0
        self._mark = (0, time.monotonic())
        self._exhausted = False
        self._pulling = threading.RLock()
        self._changed = threading.Condition()
        self._arrived: deque[Run] = deque()
        self._by_start: dict[int, Run] = {}
        self._come = 0
        """Results that arrived."""
        self._moved_at = 0.0
        """When that or a widening was last."""
        self._bytes = 0
        self._task_bytes = self._result_bytes = 0.0
        self._broken: BaseException | None = None
        self.on_change: Callable[[], object] | None = None
        """Called from the loop's thread when something has arrived, besides waking `wait`."""

    # The loop's side

    def sent(self, start: int, stop: int, nbytes: int) -> None:
        """Note that tasks went to a node, with so many bytes of arguments."""
        with self._changed:
            self._task_bytes = nbytes / (stop - start)
            self._sent = max(self._sent, stop)
            self._wake()

    def succeed(self, outcome: Outcome, start: int, stop: int) -> None:
        """Take the results of [start, stop), a part of an OK outcome."""
        body = payload.in_memory(outcome.body)
        self._result_bytes = max(len(body) / (outcome.stop - outcome.start), FADING * self._result_bytes)
        self._arrive(Run(start, stop, body, start - outcome.start, self.serializer))

    def fail(self, start: int, stop: int, error: BaseException, outcome: Outcome | None = None) -> None:
        """Take the error of tasks [start, stop)."""
        self._arrive(Run(start, stop, b"", 0, self.serializer, error))

    def cancelled(self, start: int, stop: int) -> None:
        """Take it that tasks [start, stop) were cancelled."""
        self.fail(start, stop, CancelledError())

    def fail_all(self, error: BaseException) -> None:
        """Nothing more will come."""
        with self._changed:
            self._broken = error
            self._wake()

    def _arrive(self, run: Run) -> None:
        with self._changed:
            self._bytes += len(run.body)
            self._come += run.stop - run.start
            self._moved_at = time.monotonic()
            if self._ordered:
                self._by_start[run.start] = run
            else:
                self._arrived.append(run)
            self._wake()

    def _wake(self) -> None:
        self._changed.notify_all()
        if self.on_change is not None:
            self.on_change()

    # The consumer's side

    def pull(self) -> None:
        """Pull arguments as far as the bound allows, and give them to the mesh."""
        with self._pulling:
            while not self._exhausted and self._bytes < MOST_BYTES and (room := self._room()) > 0:
                self._pull_some(room)

    def _pull_some(self, most: int) -> None:
        items, self._exhausted = self._source.take(most)
        if items:
            self._pulled += len(items)
            self._add(items, self._form)
        if self._exhausted:
            self._end()

    def pull_the_rest(self) -> None:
        """Pull all there is where that is known to be finite; the client is about to take no more."""
        with self._pulling:
            while not self._exhausted and isinstance(self._source, _Slices):
                self._pull_some(MOST_BOUND)
        self.give_up()

    def give_up(self) -> None:
        """Pull nothing more; the consumer is told if it asks for it."""
        with self._pulling:
            if not self._exhausted:
                self._exhausted = True
                self._end()
                self.fail_all(RuntimeError("the client was shut down before all arguments of map() were pulled"))

    def _room(self) -> int:
        self._keep_pace()
        bound = self._bound
        weight = self._weight()
        if not self._fixed and weight * bound > MOST_BYTES:
            bound = max(LEAST_BOUND, int(MOST_BYTES / weight))
        room = bound - (self._pulled - self._taken)
        # In large steps, once a quarter is free: small ones would make small chunks.
        return room if self._fixed or 4 * room >= bound else 0

    def _weight(self) -> float:
        """Return how many bytes a task in flight takes, as argument or as result."""
        return max(self._task_bytes, self._result_bytes)

    def _keep_pace(self) -> None:
        """Let more be in flight for a fast consumer: it is never about to wait, and small steps cost it time."""
        taken, since = self._mark
        if self._taken - taken < self._bound:
            return
        now = time.monotonic()
        if not self._fixed and now - since < AHEAD_S:
            self._bound = min(2 * self._bound, MOST_BOUND)
        self._mark = (self._taken, now)

    def take(self) -> Run | None:
        """Return the next run if it is there; None if not, or if it was the last (`is_over`).

        Raises:
            BaseException: what `fail_all` gave, once what has arrived is taken.
        """
        with self._changed:
            run = self._pop()
            if run is None and self._broken is not None:
                raise self._broken
            if run is not None:
                self._taken += run.stop - run.start
                self._bytes -= len(run.body)
            return run

    def _pop(self) -> Run | None:
        if self._ordered:
            return self._by_start.pop(self._taken, None)
        return self._arrived.popleft() if self._arrived else None

    @property
    def is_over(self) -> bool:
        """Tell whether all results were taken, and nothing broke."""
        return self._exhausted and self._taken == self._pulled and self._broken is None

    def widen(self) -> bool:
        """Let more be in flight if the mesh has room for it; return whether that changed anything.

        Called when the consumer is about to wait. A mesh that takes all it is offered tells little of how fast it is;
        so what is in flight keeps to what has come of it.
        """
        patience_s = self.patience_s()
        if patience_s is None:
            return False
        bound = self._bound * GROWTH if patience_s == 0 else GROWTH * (FIRST_BOUND + self._come)
        bound = min(bound, max(AHEAD, GROWTH * self._taken), MOST_BOUND)
        if bound <= self._bound:
            return False
        self._bound = bound
        self._moved_at = time.monotonic()
        return True

    def patience_s(self) -> float | None:
        """Return after how long a silence more may be in flight; None where the mesh has what it can take."""
        starved = self._sent >= self._pulled and not self._exhausted
        held = max(self._bytes, self._weight() * self._bound)
        if self._fixed or not starved or self._bound >= MOST_BOUND or held >= MOST_BYTES:
            return None
        return max(0.0, self._moved_at + SILENT_S - time.monotonic())

    def wait(self, deadline: float | None) -> None:
        """Wait until something arrived, the mesh has taken what was given, or more may be in flight.

        Raises:
            TimeoutError: nothing did until `deadline` (monotonic seconds).
        """
        now, patience_s = time.monotonic(), self.patience_s()
        until = min(now + patience_s if patience_s is not None else FOREVER, FOREVER if deadline is None else deadline)
        with self._changed:
            ready = self._taken in self._by_start if self._ordered else bool(self._arrived)
            if ready or self._broken or self._changed.wait(None if until == FOREVER else max(0.0, until - now)):
                return
        if until == deadline:
            raise TimeoutError("the result of map() did not arrive in time")

    def close(self) -> None:
        """Give up what has not been taken; idempotent."""
        with self._pulling:
            if not self.is_over:
                self._cancel(self._pulled)
            if not self._exhausted:
                self._exhausted = True
                self._end()
            self._source = _Slices(())


class _Slices:
    """Arguments from a sequence: slices of it, at no cost an item; a `range` stays one."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items
        self._position = 0

    def take(self, most: int) -> tuple[Sequence[Any], bool]:
        """Return the next arguments, and whether these were the last."""
        items = self._items[self._position : self._position + most]
        self._position += len(items)
        return items, self._position >= len(self._items)


class _Pulls:
    """Arguments from any iterator, which may be slow: what it gave is not held back for what it may give."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self._step = 1

    def take(self, most: int) -> tuple[Sequence[Any], bool]:
        """Return the next arguments, and whether these were the last."""
        pulled: list[Any] = []
        began = now = time.monotonic()
        while len(pulled) < most and now - began < PULL_S:
            step = min(self._step, most - len(pulled))
            before, count = now, len(pulled)
            pulled.extend(islice(self._items, step))
            if len(pulled) - count < step:
                return pulled, True
            now = time.monotonic()
            # A step is as long as the iterator gives in a tenth of the time, so that a slow one costs one item.
            self._step = min(2 * self._step, 10_000) if now - before < PULL_S / 10 else max(1, self._step // 8)
        return pulled, False


def _source_of(iterables: Sequence[Iterable[Any]]) -> _Slices | _Pulls:
    if len(iterables) == 1 and isinstance(iterables[0], range | list | tuple):
        return _Slices(iterables[0])
    if len(iterables) == 1:
        return _Pulls(iter(iterables[0]))
    return _Pulls(zip(*iterables, strict=False))
