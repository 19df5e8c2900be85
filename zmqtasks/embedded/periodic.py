"""A call that is made again and again, at fixed intervals.

Owns the moments: all are counted from the first, so that they do not drift. Runs in the loop's thread. Made by
`Client.every`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, Protocol

from zmqtasks.errors import ZmqtasksError

logger = logging.getLogger(__name__)


class Clock(Protocol):
    """The part of the loop that is needed."""

    def time(self) -> float:
        """Return monotonic seconds."""

    def call_at(self, when: float, callback: Callable[..., object]) -> Any:
        """Call back at `when`."""


class Periodic:
    """Runs of one call at fixed intervals, the first at once; made by `Client.every`.

    A moment at which the run before has not ended is left out, so runs never overlap; the next is at its own moment.

    Args:
        period_s: seconds from one moment to the next.
        submit: makes the call.
        clock: the loop; `call_soon` brings a function there.
        call_soon: see there.
    """

    def __init__(
        self,
        period_s: float,
        submit: Callable[[], Future[Any]],
        clock: Clock,
        call_soon: Callable[[Callable[[], object]], object],
    ) -> None:
        self.period_s = period_s
        self.runs = 0
        """How often the call was made."""
        self.skipped = 0
        """How many moments were left out."""
        self._submit = submit
        self._clock = clock
        self._moments = 0
        self._ended = False
        self.last = self._run()
        """The future of the latest run."""
        self._began_at = clock.time()
        call_soon(self._wait)

    @property
    def is_over(self) -> bool:
        """Whether no further run comes: it was cancelled, or its client ended."""
        return self._ended

    def cancel(self) -> None:
        """Make the call no more; a run that waits is cancelled, one that has begun goes on. Idempotent."""
        self._ended = True
        self.last.cancel()

    def _run(self) -> Future[Any]:
        future = self._submit()
        self.runs += 1
        future.add_done_callback(_tell_failure)
        return future

    def _wait(self) -> None:
        """Wait for the next moment; those that went by while nobody looked are left out."""
        by_now = int((self._clock.time() - self._began_at) / self.period_s)
        self.skipped += max(0, by_now - self._moments)
        self._moments = max(self._moments, by_now) + 1
        self._clock.call_at(self._began_at + self._moments * self.period_s, self._due)

    def _due(self) -> None:
        if self._ended:
            return
        if self.last.done():
            try:
                self.last = self._run()
            except (RuntimeError, ZmqtasksError) as error:  # the client takes no more calls
                logger.info("no further run: %s", error)
                self._ended = True
                return
        else:
            self.skipped += 1
        self._wait()

    def __repr__(self) -> str:
        state = "over" if self._ended else f"every {self.period_s:g} s"
        return f"<Periodic {state}, {self.runs} runs, {self.skipped} left out>"


def _tell_failure(future: Future[Any]) -> None:
    try:
        error = future.exception()
    except CancelledError:
        return
    if error is not None:
        logger.warning("a periodic run failed: %r", error)
