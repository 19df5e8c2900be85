"""What happens to the calls of a client and to its nodes, told to those who watch.

Owns the words for it, by ranges, and the order of telling. Nothing here is made or called for a client that nobody
watches. Whoever watches is called in the loop's thread and holds it up; what it raises is logged, and harms nobody.
`registry.py` and `thread.py` tell; `observe/hooks.py` and `observe/metrics.py` watch.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError

from zmqtasks.embedded.info import TaskState
from zmqtasks.embedded.watched import NodeInfo, NodeState, Receiver, TasksMoved, WatchedReceiver, Watcher
from zmqtasks.messages import Address, JobId, OutcomeKind, PeerId, PeerState, Settled, Status

logger = logging.getLogger(__name__)


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
        return WatchedReceiver(receiver, name, self.tasks_moved)

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
