"""What a task may ask and say while it runs: which one it is, how far it is, and that it wants to be run again, or its
worker or node ended.

Owns the words only: the worker that runs the task puts itself in the place of `running`. Outside a worker `progress`
does nothing and `current_task` finds none, so that a function can be called anywhere; the others raise what nobody
there understands.

    def convert(path):
        for done, page in enumerate(pages := load(path)):
            zmqtasks.progress(done, len(pages))
            ...
        if server_is_busy():
            zmqtasks.retry(delay=30)
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from zmqtasks.errors import ControlFlow, RequeueRequested, RespawnRequested, RetryRequested, StopRequested
from zmqtasks.records import Value, field

if TYPE_CHECKING:
    from datetime import datetime

    from zmqtasks.processes.messenger import Messenger


class Task(Value):
    """What is known of one task; all of it stays the same wherever the task is run again, but for `run_count`.

    Args:
        id: of the task in its mesh: "client:job#index".
        run_count: how often it was run before, as far as that counts against its `retries`: 0 at first, also after
            `requeue`, a node that drains, a worker or node that dies.
        submitted_at: when it was submitted, as Unix time by the clock of its client.
        trace_id: as `options(trace_id=...)` of the client said; nothing where it said none.
        args: of the call, where it is run by a `Worker`; a function has its own.
        kwargs: the same.
        name: of the function, for people.
    """

    id: str = ""
    run_count: int = 0
    submitted_at: float = 0.0
    trace_id: str = ""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    name: str = ""

    @property
    def date(self) -> datetime:
        """When it was submitted, in UTC."""
        from datetime import UTC, datetime  # a worker starts without it

        return datetime.fromtimestamp(self.submitted_at, UTC)


class Running(Protocol):
    """The worker, as a task sees it."""

    def progress(self, done: int, total: int) -> None:
        """Show how far the task is; `total` is 0 where nobody knows."""

    def current_task(self) -> Task | None:
        """Return the task at hand; None between two."""

    def runs_again(self, error: BaseException) -> bool | None:
        """Tell whether the task at hand is run again if it raises this; None where there are no retries for it."""

    def restart_clock(self) -> None:
        """Have the time of the task at hand begin now."""

    def why_cancelled(self) -> str:
        """Return why the coroutine of the task at hand was cancelled; nothing where its time was not up."""


class Parting(ControlFlow):
    """Raised by the object of a task class: the task has ended so, and a handler asked for what comes then.

    Args:
        value: what the task returned.
        error: what it raised instead, or asks for; None for nothing.
        stop: the node shall end; otherwise, another worker shall take the place of this one.
    """

    def __init__(self, value: object, error: BaseException | None, *, stop: bool) -> None:
        super().__init__()
        self.value, self.error, self.stop = value, error, stop


running: Running | None = None
"""The worker of this process, or None outside of one."""
messenger: Messenger | None = None
"""What carries the words of a task to the program that owns it, or None outside of a worker."""


def current_task() -> Task | None:
    """Return what is known of the task that calls this; None outside of a worker. Costs about a microsecond."""
    return None if running is None else running.current_task()


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
    raise RetryRequested(_checked(delay))


def requeue(delay: float = 0.0) -> NoReturn:
    """End this run of the task, and have it run again after `delay` seconds, here or elsewhere; that does not count.

    Raises:
        RequeueRequested: always.
        ValueError: `delay` is negative, or no number.
    """
    raise RequeueRequested(_checked(delay))


def _checked(delay: float) -> float:
    if not 0 <= delay < inf:
        raise ValueError(f"delay must be 0 seconds or more, not {delay}")
    return delay


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
