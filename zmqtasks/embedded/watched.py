"""What happens to tasks and nodes of a client that somebody watches, in words; and a receiver that tells it.

Owns the words, by ranges, and the dates of tasks that have not ended. Decides nothing. `watching.py` makes receivers,
`observe/hooks.py` and `observe/meter.py` hear the words.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from zmqtasks.embedded.dates import Dates
from zmqtasks.embedded.info import TaskState, Told, state_after
from zmqtasks.messages import JobId, Outcome, PeerId
from zmqtasks.options import Limits
from zmqtasks.wire import payload


class Found(NamedTuple):
    """What the tasks of a range returned: values, and by position what could not be opened."""

    values: Sequence[Any]
    errors: Mapping[int, BaseException]


class TasksMoved(NamedTuple):
    """Consecutive tasks have come to something.

    Args:
        state: that they are in now; SUBMITTED again for one that is to be run again.
        told: what they have in common.
        start, stop: which ones.
        again: whether they had been sent before; then `error` is what they are run again for, or None where they
            asked for it themselves.
        error: what they ended with.
        dates: returns when one of them was submitted, and when sent.
        found: returns what they returned, where they are DONE.
    """

    state: TaskState
    told: Told
    start: int
    stop: int
    again: bool = False
    error: BaseException | None = None
    dates: Callable[[int], tuple[float | None, float | None]] = lambda index: (None, None)
    found: Callable[[], Found] = lambda: Found((), {})


class NodeState(StrEnum):
    """How a client sees a node."""

    UP = "up"
    SUSPECT = "suspect"
    DRAINING = "draining"
    REFUSED = "refused"
    LOST = "lost"


class NodeInfo(NamedTuple):
    """A node as its client sees it."""

    state: NodeState
    node: PeerId
    """Empty for one that never answered."""
    endpoint: str
    workers: int = 0
    reason: str = ""
    """Why it refused us."""


class Watcher(Protocol):
    """Who watches a client."""

    starvation: float | None
    """Seconds without any task after which `starved` is called, and again after each further such time; or None."""

    def opened(self) -> None:
        """The client has its first node."""

    def tasks_moved(self, moved: TasksMoved) -> None:
        """Tasks have come to something."""

    def node_moved(self, node: NodeInfo) -> None:
        """A node has come to something."""

    def starved(self, seconds: float) -> None:
        """There was no task for so long."""

    def closed(self) -> None:
        """The client has ended."""


class Receiver(Protocol):
    """Where the results of one job go."""

    serializer: str
    kind: str
    """How a journal calls it."""

    def sent(self, start: int, stop: int, nbytes: int) -> list[int] | None:
        """Tasks go to a node; return those that shall not after all."""

    def succeed(self, outcome: Outcome, start: int, stop: int) -> None:
        """Take the results of a part of an OK outcome."""

    def fail(self, start: int, stop: int, error: BaseException, outcome: Outcome | None = None) -> None:
        """Take the end of tasks by an error, which an outcome told or this side decided."""

    def cancelled(self, start: int, stop: int) -> None:
        """Take it that nobody has begun these tasks, and nobody will."""

    def fail_all(self, error: BaseException) -> None:
        """Nothing more will come."""


class WatchedReceiver:
    """A receiver whose tasks somebody watches: tells of each range, then passes it on.

    Args:
        receiver: of the results of one job.
        name: of its function.
        tell: hears what has happened.
    """

    def __init__(self, receiver: Receiver, name: str, tell: Callable[[TasksMoved], None]) -> None:
        self.serializer, self.kind = receiver.serializer, receiver.kind
        self.job_id: JobId = ""
        self._receiver = receiver
        self._name = name
        self._tell_moved = tell
        self._submitted = 0
        self._submitted_at, self._sent_at = Dates(), Dates()
        self._tried: dict[int, tuple[PeerId, int, Outcome | None]] = {}
        """Tasks that did not succeed, while it is decided whether that was the end: with the outcome of a failure."""

    def submitted(self, count: int) -> None:
        """The next tasks exist."""
        start, stop, now = self._submitted, self._submitted + count, time.time()
        self._submitted = stop
        self._submitted_at.put(start, stop, now)
        self._tell(TaskState.SUBMITTED, start, stop)

    def sent(self, start: int, stop: int, nbytes: int) -> list[int] | None:
        """Tasks go to a node."""
        for index in [index for index in self._tried if start <= index < stop]:
            self.judged(index)
        self._sent_at.put(start, stop, time.time())
        unwanted = self._receiver.sent(start, stop, nbytes) or []
        for first in unwanted:
            self.cancelled_alone(first, first + 1)
        self._tell(TaskState.SENT, start, stop)
        return unwanted

    def succeed(self, outcome: Outcome, start: int, stop: int) -> None:
        """Tasks have returned something."""
        first, last = start - outcome.start, stop - outcome.start

        def found() -> Found:
            opened = payload.unpack(outcome.body, first=first, last=last, serializer=self.serializer)
            return Found(opened.values, opened.errors)

        self._end(TaskState.DONE, start, stop, outcome, found=found)
        self._receiver.succeed(outcome, start, stop)

    def fail(self, start: int, stop: int, error: BaseException, outcome: Outcome | None = None) -> None:
        """Tasks have failed for good."""
        for index in [index for index in self._tried if start <= index < stop]:
            del self._tried[index]
        self._end(state_after(error), start, stop, outcome, error=error)
        self._receiver.fail(start, stop, error, outcome)

    def cancelled(self, start: int, stop: int) -> None:
        """Tasks were cancelled."""
        self.cancelled_alone(start, stop)
        self._receiver.cancelled(start, stop)

    def cancelled_alone(self, start: int, stop: int) -> None:
        """Tasks were cancelled, and the receiver knows."""
        self._end(TaskState.CANCELLED, start, stop, error=CancelledError())

    def fail_all(self, error: BaseException) -> None:
        """Nothing more will come."""
        self.end_rest(state_after(error), error)
        self._receiver.fail_all(error)

    def end_rest(self, state: TaskState, error: BaseException) -> None:
        """Tell that all that has not ended ended so."""
        for start, stop in self._submitted_at.ranges():
            self._end(state, start, stop, error=error)

    def tried(self, index: int, node: PeerId, attempt: int, failure: Outcome | None) -> None:
        """A task failed, or asked to be run again; it is about to be decided what follows."""
        self._tried[index] = node, attempt, failure

    def judged(self, index: int) -> None:
        """A task that was tried is run again, unless it has ended by now."""
        if found := self._tried.pop(index, None):
            node, attempt, failure = found
            error = payload.unpack_failure(failure.body, Limits(), self.serializer) if failure else None
            told = Told(self.job_id, self._name, node=node, attempt=attempt)
            self._tell_moved(
                TasksMoved(TaskState.SUBMITTED, told, index, index + 1, again=True, error=error, dates=self._dates)
            )

    def ended(self, index: int) -> None:
        """A task that was tried has ended, and it will be told how."""
        self._tried.pop(index, None)

    def _dates(self, index: int) -> tuple[float | None, float | None]:
        return self._submitted_at.of(index), self._sent_at.of(index)

    def _tell(self, state: TaskState, start: int, stop: int) -> None:
        moved = TasksMoved(state, Told(self.job_id, self._name), start, stop, dates=self._dates)
        self._tell_moved(moved)

    def _end(
        self,
        state: TaskState,
        start: int,
        stop: int,
        outcome: Outcome | None = None,
        *,
        error: BaseException | None = None,
        found: Callable[[], Found] = lambda: Found((), {}),
    ) -> None:
        told = Told(self.job_id, self._name, ended_at=time.time())
        if outcome is not None:
            task_s = outcome.elapsed_s / (outcome.stop - outcome.start)
            told = told._replace(task_s=task_s, node=outcome.node, attempt=outcome.attempt)
        moved = TasksMoved(state, told, start, stop, error=error, dates=self._dates, found=found)
        self._tell_moved(moved)
        self._submitted_at.drop(start, stop)
        self._sent_at.drop(start, stop)
