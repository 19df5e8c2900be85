"""What a task may say while it runs: how far it is, and that it wants to be run again, or its worker or node ended.

Owns the words only: the worker that runs the task puts itself in the place of `running`. Outside a worker `progress`
does nothing, so that a function can be called anywhere; the others raise what nobody there understands.

    def convert(path):
        for done, page in enumerate(pages := load(path)):
            zmqtasks.progress(done, len(pages))
            ...
        if server_is_busy():
            zmqtasks.retry(delay=30)
"""

from __future__ import annotations

from math import inf
from typing import NoReturn, Protocol

from zmqtasks.errors import RequeueRequested, RespawnRequested, RetryRequested, StopRequested


class Running(Protocol):
    """The worker, as a task sees it."""

    def progress(self, done: int, total: int) -> None:
        """Show how far the task is; `total` is 0 where nobody knows."""


running: Running | None = None
"""The worker of this process, or None outside of one."""


def progress(done: int, total: int | None = None) -> None:
    """Tell how far this task is; it renews the task's `stall_timeout`. Costs well under a microsecond.

    Args:
        done: how much is done, in units of your own.
        total: how much there is, if that is known.

    Raises:
        ValueError: a number is negative.
    """
    if done < 0 or (total is not None and total < 0):
        raise ValueError(f"progress must be 0 or more, not {done} of {total}")
    if running is not None:
        running.progress(done, total or 0)


def retry(delay: float = 0.0) -> NoReturn:
    """End this run of the task, and have it run again after `delay` seconds, here or elsewhere.

    Each run counts against the task's `retries` where that is above 0; then the task ends as `RetriesExhausted`.

    Raises:
        RetryRequested: always.
        ValueError: `delay` is negative, or no number.
    """
    if not 0 <= delay < inf:
        raise ValueError(f"delay must be 0 seconds or more, not {delay}")
    raise RetryRequested(delay)


def requeue() -> NoReturn:
    """End this run of the task, and have it run again, here or elsewhere; that does not count.

    Raises:
        RequeueRequested: always.
    """
    raise RequeueRequested


def respawn() -> NoReturn:
    """End this run of the task, replace this worker, and have the task run again; that does not count.

    Raises:
        RespawnRequested: always.
    """
    raise RespawnRequested


def stop_node(*, hand_back: bool = False) -> NoReturn:
    """End this task, and the node with all its workers when they have ended what they run.

    Args:
        hand_back: have this task run again on another node; otherwise it ends here, with None as its value.

    Raises:
        StopRequested: always.
    """
    raise StopRequested(hand_back)
