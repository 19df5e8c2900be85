"""The moments of a ventilator: when tasks that wait may begin, and by when they have to have begun.

Owns two heaps of ranges by time, of all jobs. What is known here of tasks that have ended or moved on meanwhile is
stale and does no harm: whoever asks looks where the tasks are. Never moves a task; `book.py` and `expiring.py` do.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from zmqtasks.messages import JobId

NEVER = float("inf")


class Due(NamedTuple):
    """A range of tasks, and its moment."""

    at: float
    job: JobId
    start: int
    stop: int


class Schedule:
    """Keep the moments of ranges; see the module."""

    def __init__(self) -> None:
        self._begins: list[Due] = []
        self._ends: list[Due] = []

    def begin(self, at: float, job: JobId, start: int, stop: int) -> None:
        """Note that tasks may begin at this time."""
        heapq.heappush(self._begins, Due(at, job, start, stop))

    def expire(self, at: float, job: JobId, start: int, stop: int) -> None:
        """Note that tasks are not to begin after this time."""
        heapq.heappush(self._ends, Due(at, job, start, stop))

    def begins_of(self, job: JobId) -> list[Due]:
        """Return the ranges of a job whose time to begin is still to come."""
        return [due for due in self._begins if due.job == job]

    def to_begin(self, now: float) -> list[Due]:
        """Take out what may begin by now, in the order of its moments."""
        return _due(self._begins, now)

    def to_expire(self, now: float) -> list[Due]:
        """Take out what should have begun by now, in the order of its moments."""
        return _due(self._ends, now)

    def next_deadline(self) -> float:
        """Return the next of all moments."""
        return min(*(heap[0].at if heap else NEVER for heap in (self._begins, self._ends)))

    def __bool__(self) -> bool:
        return bool(self._begins or self._ends)

    def __repr__(self) -> str:
        return f"<Schedule {len(self._begins)} to begin, {len(self._ends)} to expire>"


def _due(heap: list[Due], now: float) -> list[Due]:
    found: list[Due] = []
    while heap and heap[0].at <= now:
        found.append(heapq.heappop(heap))
    return found
