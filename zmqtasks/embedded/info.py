"""What is known of one task: how far it has come, when, where, and what came of it.

Owns the words. Told by `TaskFuture.info` and to hooks; made by `submitted.py` and `watching.py`.
"""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError
from enum import StrEnum
from typing import Any, NamedTuple

from zmqtasks.errors import MemoryLimitExceeded, NodeKiller, TaskLost, TaskTimeout, WorkerCrashed
from zmqtasks.messages import JobId, PeerId
from zmqtasks.records import Value


class TaskState(StrEnum):
    """How far a task has come."""

    SUBMITTED = "submitted"
    SENT = "sent"
    """A node has it: it waits there, or runs."""
    DONE = "done"
    FAILED = "failed"
    """By an exception of its own, because it could not travel, or had not begun in time."""
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out_of_memory"
    LOST = "lost"
    CANCELLED = "cancelled"

    @property
    def is_end(self) -> bool:
        """Whether nothing follows it."""
        return self not in (TaskState.SUBMITTED, TaskState.SENT)


def state_after(error: BaseException | None) -> TaskState:
    """Return the state of a task that ended, by its error."""
    match error:
        case None:
            return TaskState.DONE
        case TaskTimeout():
            return TaskState.TIMED_OUT
        case WorkerCrashed() | NodeKiller():
            return TaskState.CRASHED
        case MemoryLimitExceeded():
            return TaskState.OUT_OF_MEMORY
        case TaskLost():
            return TaskState.LOST
        case CancelledError():
            return TaskState.CANCELLED
        case _:
            return TaskState.FAILED


class Told(NamedTuple):
    """What the tasks of a range have in common; kept by their futures, in the place of who could cancel them."""

    job: JobId
    name: str
    submitted_at: float | None = None
    sent_at: float | None = None
    ended_at: float | None = None
    task_s: float | None = None
    node: PeerId = ""
    attempt: int = 0

    def told_of(self, index: int) -> Told:
        """Return itself."""
        return self

    def withdrawn(self, index: int, *, kill: bool) -> None:
        """Do nothing: the task has ended."""

    def wanted_back(self, index: int, answered: threading.Event | None) -> None:
        """Tell that it has ended."""
        if answered is not None:
            answered.set()

    def wanted_no_more(self, index: int) -> None:
        """Do nothing: the task has ended."""


class TaskInfo(Value):
    """One task, as far as its client knows. Dates are Unix times of the client's clock, None where not known (yet).

    Args:
        job: its job.
        index: its number there.
        name: of the function.
        state: how far it has come.
        submitted_at: when the client's thread took it, at most some milliseconds after `submit` returned.
        sent_at: when it was sent to a node, the last time.
        ended_at: when its end was known here.
        task_s: seconds in the function; of short tasks that travelled together, the mean.
        node: peer id of the node that told its end.
        attempt: number of the dispatch that ended it, among all of the client; 0 while it has not ended.
        result: what it returned.
        error: what it ended with instead.
    """

    job: JobId
    index: int
    name: str
    state: TaskState
    submitted_at: float | None = None
    sent_at: float | None = None
    ended_at: float | None = None
    task_s: float | None = None
    node: PeerId = ""
    attempt: int = 0
    result: Any = None
    error: BaseException | None = None

    @property
    def id(self) -> str:
        """Name the task, uniquely in the mesh."""
        return f"{self.job}#{self.index}"

    @property
    def seconds(self) -> float | None:
        """Return the time from submission to end, or None where it has not ended."""
        return None if self.submitted_at is None or self.ended_at is None else self.ended_at - self.submitted_at


def info_of(
    told: Told, index: int, state: TaskState, result: Any = None, error: BaseException | None = None
) -> TaskInfo:
    """Return what is known of one task of a range."""
    return TaskInfo(told.job, index, told.name, state, *told[2:], result, error)
