"""What has come of the tasks so far: numbers for the progress display, the last line and the exit code.

Owns the numbers; each has one writer, named there. Any thread may read them.
"""

from __future__ import annotations

from collections.abc import Callable

from zmqtasks.records import Entity


class Tally(Entity):
    """How many tasks there are and what became of them."""

    added: int = 0
    """Tasks read from the input; written by the thread that reads."""
    unreadable: int = 0
    """Inputs that are no arguments; written by the thread that reads."""
    exhausted: bool = False
    """Whether `added` is final."""
    done: int = 0
    """Tasks that succeeded, and whose results are stored; written by the loop."""
    failed: int = 0
    """Tasks that failed for good; written by the loop."""
    first_failure: str = ""
    spawned: Callable[[], tuple[int, int]] = lambda: (0, 0)
    """Returns how many calls that tasks have spawned have ended, and how many there are."""
    spawned_failed: int = 0
    """Those of them that failed for good, and that nobody waited for; written by the loop."""
    first_spawned_failure: str = ""
    number: Callable[[int], int] = int
    """Returns what a task is called, by its place in this run."""

    @property
    def total(self) -> int | None:
        """Return how many tasks there will be, or None while nobody knows."""
        return self.added if self.exhausted else None

    @property
    def ended(self) -> int:
        """Return how many tasks have ended."""
        return self.done + self.failed

    def fail(self, start: int, stop: int, reason: str) -> None:
        """Count tasks [start, stop) as failed; the first reason is kept."""
        self.failed += stop - start
        self.first_failure = self.first_failure or f"task {self.number(start)}: {reason}"
