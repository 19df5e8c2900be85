"""One thread that writes what it is handed, in groups and in order, and says when it is safe.

Owns the queue, the thread, the grouping and the patience with a full disk. Knows no format: it calls who writes. Never
drops an entry, and never reports one as written that is not. Called by journal and store.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Generic, NamedTuple, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")
Deliver = Callable[[Callable[[], None]], object]

RETRY_S = 1.0
"""How long to wait before a group is tried again that could not be written."""
COMPLAIN_S = 60.0
"""How often it is logged that this goes on."""


def patience(first_at: float, gather_s: float, now: float) -> float:
    """Return how long a group stays open whose first entry came at `first_at`: until that is `gather_s` old."""
    return max(0.0, first_at + gather_s - now)


class Words(NamedTuple):
    """What the log says: who writes, that it cannot, and that it can again."""

    writer: str
    trouble: str
    relief: str


class _Handed(NamedTuple, Generic[T]):
    entry: T
    weight: int
    on_written: Callable[[], None] | None
    at: float
    """When it came."""


class GroupWriter(Generic[T]):
    """Write entries in groups: a commit costs about as much for a thousand as for one.

    A group is what came while the one before was written, or within `gather_s` of its first entry.

    Args:
        name: of the thread.
        words: for the log.
        write: writes a group, all of it, or nothing and raises OSError; then it is tried again every second. Whatever
            else it raises, and a BrokenPipeError, ends the writing for good. Called in the thread.
        close: called in the thread, last.
        gather_s: how long the first entry of a group waits for company.
        most_weight: no further entry joins a group that weighs this much.
        on_failure: called, by way of `deliver`, each time a group could not be written.
        deliver: how the thread calls back: at once, or in a loop's thread (`loop.call_soon_threadsafe`).
    """

    def __init__(
        self,
        name: str,
        words: Words,
        write: Callable[[list[T]], None],
        close: Callable[[], None],
        *,
        gather_s: float = 0.0,
        most_weight: int,
        on_failure: Callable[[Exception], None],
        deliver: Deliver,
    ) -> None:
        self._words = words
        self._write = write
        self._close = close
        self._gather_s = gather_s
        self._most_weight = most_weight
        self._on_failure = on_failure
        self._deliver = deliver
        self._changed = threading.Condition()  # guards all below
        self._queue: deque[_Handed[T]] = deque()
        self._handed = self._done = 0
        self._failure: Exception | None = None  # the last one, while it lasts
        self._complained_at = 0.0
        self._given_up = self._closing = self._stopped = False
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def hand(self, entry: T, weight: int = 1, on_written: Callable[[], None] | None = None) -> bool:
        """Hand over an entry; returns at once. False once the writer has given up: it is not written, nor reported.

        Args:
            entry: for `write`.
            weight: of it; see `most_weight`.
            on_written: called, by way of `deliver`, once it is written; must not raise.

        Raises:
            ValueError: the writer is closed.
        """
        with self._changed:
            if self._closing:
                raise ValueError(f"{self._words.writer} is closed")
            if self._given_up:
                return False
            self._handed += 1
            self._queue.append(_Handed(entry, weight, on_written, time.monotonic()))
            self._changed.notify_all()
            return True

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until all that was handed over is written.

        Raises:
            TimeoutError: it was not within `timeout_s` seconds; the cause is the last failure, if any.
            Exception: what made the writer give up.
        """
        with self._changed:
            wanted = self._handed
            self._hurry.set()
            self._changed.wait_for(lambda: self._done >= wanted or self._given_up, timeout_s)
            if self._done >= wanted:
                return
            if self._given_up and self._failure is not None:
                raise self._failure
            missing = wanted - self._done
            raise TimeoutError(f"{missing} hand-overs were not stored within {timeout_s} s") from self._failure

    def close(self, timeout_s: float = 60.0) -> None:
        """Write what was handed over, then end the thread; a second call does nothing.

        Raises:
            TimeoutError: the rest could not be written within `timeout_s` seconds.
            Exception: what made the writer give up before.
        """
        with self._changed:
            if self._closing:
                return
            self._closing = True
        try:
            self.flush(timeout_s)
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()
            self._hurry.set()
            self._thread.join(timeout_s)  # a reader that does not read may hold it longer

    # In the thread

    def _work(self) -> None:
        try:
            while group := self._next_group():
                self._write_patiently(group)
        except BrokenPipeError as error:
            self._give_up(error)
        except Exception as error:
            logger.exception("%s gives up", self._words.writer)
            self._give_up(error)
        finally:
            self._close()

    def _give_up(self, error: Exception) -> None:
        with self._changed:
            self._failure = error
            self._given_up = True
            self._queue.clear()
            self._changed.notify_all()
        self._deliver(partial(self._on_failure, error))

    def _next_group(self) -> list[_Handed[T]]:
        """Wait for something to write and take it; nothing when the writer is closed."""
        group: list[_Handed[T]] = []
        weight = 0
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopped)
            wait_s = patience(self._queue[0].at, self._gather_s, time.monotonic()) if self._queue else 0.0
        self._hurry.wait(wait_s)
        with self._changed:
            while self._queue and weight < self._most_weight and not self._stopped:
                group.append(self._queue.popleft())
                weight += group[-1].weight
            if not self._queue:
                self._hurry.clear()
        return group

    def _write_patiently(self, group: list[_Handed[T]]) -> None:
        """Write one group, however long it takes, and report it."""
        entries = [handed.entry for handed in group]
        while not self._written(entries):
            with self._changed:
                if self._changed.wait_for(lambda: self._stopped, RETRY_S):
                    return
        for handed in group:
            if handed.on_written is not None:
                self._deliver(handed.on_written)
        if self._failure is not None:
            logger.warning(self._words.relief)
        with self._changed:
            self._failure = None
            self._done += len(group)
            self._changed.notify_all()

    def _written(self, entries: list[T]) -> bool:
        try:
            self._write(entries)
        except BrokenPipeError:
            raise
        except OSError as error:
            self._complain(error)
            with self._changed:
                self._failure = error
            self._deliver(partial(self._on_failure, error))
            return False
        return True

    def _complain(self, error: OSError) -> None:
        """Log it at first, when the reason changes, and each minute."""
        now = time.monotonic()
        if str(error) != str(self._failure) or now >= self._complained_at + COMPLAIN_S:
            self._complained_at = now
            logger.warning("%s; trying again each %g s: %s", self._words.trouble, RETRY_S, error)
