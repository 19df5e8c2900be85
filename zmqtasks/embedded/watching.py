"""What happens to the calls of a client and to its nodes, told to those who watch.

Owns the words for it, by ranges, and the order of telling. Nothing here is made or called for a client that nobody
watches. Whoever watches is called in the loop's thread and holds it up; what it raises is logged, and harms nobody.
`registry.py` and `thread.py` tell; `observe/hooks.py` and `observe/metrics.py` watch.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from zmqtasks.embedded.dates import Dates
from zmqtasks.embedded.info import TaskState, Told, state_after
from zmqtasks.messages import Address, JobId, Outcome, OutcomeKind, PeerId, PeerState, Settled, Status
from zmqtasks.options import Limits
from zmqtasks.wire import payload

logger = logging.getLogger(__name__)


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


class Watching:
    """All who watch one client.

    Args:
        watchers: told in this order.
    """

    def __init__(self, watchers: Iterable[Watcher]) -> None:
        self._watchers = tuple(watchers)
        self._nodes: dict[str, NodeInfo] = {}
        self._jobs: dict[JobId, WatchedReceiver] = {}
        self._outstanding = 0
        self._idle_since = 0.0
        self._timers: list[asyncio.TimerHandle] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def _tell(self, call: Callable[[Watcher], None]) -> None:
        for watcher in self._watchers:
            try:
                call(watcher)
            except BaseException:  # it is the user's code, and may even call sys.exit()
                logger.exception("%s raised; it goes on being told", type(watcher).__name__)

    def opened(self, loop: asyncio.AbstractEventLoop) -> None:
        """The client is open; time passes on this loop."""
        self._loop = loop
        self._tell(lambda watcher: watcher.opened())
        self._await_starvation()

    def closed(self) -> None:
        """The client has ended."""
        self._loop = None
        self._stop_timers()
        self._tell(lambda watcher: watcher.closed())

    # Tasks

    def watch(self, receiver: Receiver, name: str) -> WatchedReceiver:
        """Return what stands before the receiver of a job."""
        return WatchedReceiver(receiver, name, self)

    def tasks_moved(self, moved: TasksMoved) -> None:
        """Tell all, and see whether there are tasks still."""
        self._tell(lambda watcher: watcher.tasks_moved(moved))
        if moved.state is TaskState.SUBMITTED and not moved.again:
            self._outstanding += moved.stop - moved.start
            self._stop_timers()
        elif moved.state.is_end:
            self._outstanding -= moved.stop - moved.start
            if not self._outstanding:
                self._await_starvation()

    def settle(self, said: Settled, settle: Callable[[Settled], None]) -> None:
        """Have an outcome settled; where a task asks to be run again, nobody else hears of it."""
        receiver = self._jobs.get(said.job) if said.kind is OutcomeKind.RETRY else None
        if receiver:
            receiver.tried(said.start, said.node, said.attempt, None)
        settle(said)
        if receiver:
            receiver.judged(said.start)

    def job_opened(self, job: JobId, receiver: WatchedReceiver) -> None:
        """Take note of the name of a job."""
        receiver.job_id, self._jobs[job] = job, receiver

    def job_ended(self, job: JobId) -> None:
        """Forget a job; what it had still nobody wanted."""
        if receiver := self._jobs.pop(job, None):
            receiver.end_rest(TaskState.CANCELLED, CancelledError())

    def _await_starvation(self) -> None:
        self._stop_timers()
        if self._loop is None:
            return
        self._idle_since = self._loop.time()
        for watcher in self._watchers:
            if watcher.starvation is not None:
                self._timers.append(self._loop.call_later(watcher.starvation, self._starved, watcher))

    def _starved(self, watcher: Watcher) -> None:
        if self._loop is None or watcher.starvation is None:
            return
        seconds = self._loop.time() - self._idle_since
        self._timers.append(self._loop.call_later(watcher.starvation, self._starved, watcher))
        del self._timers[: -len(self._watchers)]
        self._tell(lambda one: one.starved(seconds) if one is watcher else None)

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    # Nodes

    def nodes_seen(self, nodes: Iterable[NodeInfo]) -> None:
        """Compare the nodes there are with those there were, and tell what is new."""
        seen = {node.endpoint: node for node in nodes}
        for endpoint, earlier in list(self._nodes.items()):
            now = seen.get(endpoint)
            if now is None or (now.node != earlier.node and earlier.state is not NodeState.LOST):
                del self._nodes[endpoint]
                if earlier.state is not NodeState.LOST:
                    self._tell_node(earlier._replace(state=NodeState.LOST))
        for endpoint, now in seen.items():
            before = self._nodes.get(endpoint)
            self._nodes[endpoint] = now
            if before is None or (before.node, before.state) != (now.node, now.state):
                self._tell_node(now)

    def _tell_node(self, node: NodeInfo) -> None:
        self._tell(lambda watcher: watcher.node_moved(node))


def watching_by(hooks: Watcher | Iterable[Watcher]) -> Watching | None:
    """Return those who watch, given as one or several, or None for nobody."""
    watchers = tuple(hooks) if isinstance(hooks, Iterable) else (hooks,)
    return Watching(watchers) if watchers else None


def node_info(address: Address, partner: PeerId, status: Status, *, heard: bool) -> NodeInfo:
    """Return how a client sees a node that has answered."""
    endpoint = address.endpoints[0] if address.endpoints else partner
    state = NodeState.DRAINING if status.state is not PeerState.UP else NodeState.UP if heard else NodeState.SUSPECT
    return NodeInfo(state, partner, endpoint, status.load.workers)


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
    """A receiver whose tasks somebody watches: tells of each range, then passes it on."""

    def __init__(self, receiver: Receiver, name: str, watching: Watching) -> None:
        self.serializer, self.kind = receiver.serializer, receiver.kind
        self.job_id: JobId = ""
        self._receiver = receiver
        self._name = name
        self._watching = watching
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
            self._watching.tasks_moved(
                TasksMoved(TaskState.SUBMITTED, told, index, index + 1, again=True, error=error, dates=self._dates)
            )

    def ended(self, index: int) -> None:
        """A task that was tried has ended, and it will be told how."""
        self._tried.pop(index, None)

    def _dates(self, index: int) -> tuple[float | None, float | None]:
        return self._submitted_at.of(index), self._sent_at.of(index)

    def _tell(self, state: TaskState, start: int, stop: int) -> None:
        moved = TasksMoved(state, Told(self.job_id, self._name), start, stop, dates=self._dates)
        self._watching.tasks_moved(moved)

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
        self._watching.tasks_moved(moved)
        self._submitted_at.drop(start, stop)
        self._sent_at.drop(start, stop)
