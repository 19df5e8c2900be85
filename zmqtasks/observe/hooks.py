"""Hooks: functions of a program that are called at each step of its tasks and of its nodes.

Owns their names, and the way from ranges to single tasks. Calls only those that a program has written. Made by user
programs, given to `Client(hooks=...)`.

    class Audit(zmqtasks.Hooks):
        def on_result(self, task):
            print(task.id, task.name, task.result, f"{task.task_s:.3f} s on {task.node}")

        def on_timed_out(self, task):
            print(task.id, task.error)

    with zmqtasks.Client(hooks=Audit()) as client: ...
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from zmqtasks.embedded.info import TaskInfo, TaskState, Told, info_of, state_after
from zmqtasks.embedded.watched import NodeInfo, NodeState, TasksMoved

logger = logging.getLogger(__name__)


class Hooks:
    """What a program may have called; override what you want to hear.

    They are called in the thread of the client, in the order of what happens, and hold it up: be quick, and do not wait
    for results there. What one raises is logged. A task ends in exactly one of `on_result`, `on_failed`,
    `on_timed_out`, `on_crashed`, `on_out_of_memory`, `on_lost` and `on_cancelled`, and `on_ended` follows.
    """

    starvation: float | None = None
    """Seconds without any task after which `on_starved` is called, and again after each further such time."""

    def on_opened(self) -> None:
        """The client has its first node."""

    def on_closed(self) -> None:
        """The client has ended; nothing is called any more."""

    def on_submitted(self, task: TaskInfo) -> None:
        """A task exists."""

    def on_sent(self, task: TaskInfo) -> None:
        """It goes to a node, the first time or again."""

    def on_retried(self, task: TaskInfo) -> None:
        """It is run again: over `error`, or because it asked for that itself."""

    def on_result(self, task: TaskInfo) -> None:
        """It returned `result`."""

    def on_failed(self, task: TaskInfo) -> None:
        """It ended with an exception of its own, or could not travel."""

    def on_timed_out(self, task: TaskInfo) -> None:
        """It ran longer than its limit, and is not run again."""

    def on_crashed(self, task: TaskInfo) -> None:
        """Its worker died, or node after node; it is not run again."""

    def on_out_of_memory(self, task: TaskInfo) -> None:
        """It took more memory than its limit, and is not run again."""

    def on_lost(self, task: TaskInfo) -> None:
        """At most once, and nobody can tell whether it ran."""

    def on_cancelled(self, task: TaskInfo) -> None:
        """Nobody wanted it any more."""

    def on_ended(self, task: TaskInfo) -> None:
        """It has ended, however that was; called after the one that says how."""

    def on_node_joined(self, node: NodeInfo) -> None:
        """A node answered, or speaks again."""

    def on_node_suspected(self, node: NodeInfo) -> None:
        """A node is silent; it gets nothing new for now."""

    def on_node_draining(self, node: NodeInfo) -> None:
        """A node ends what it runs, and then itself."""

    def on_node_lost(self, node: NodeInfo) -> None:
        """A node is gone; what it had goes to others."""

    def on_node_refused(self, node: NodeInfo) -> None:
        """A node will not have this client; `reason` says why."""

    def on_starved(self, seconds: float) -> None:
        """There was no task for so long."""

    # What a client calls (`embedded.watched.Watcher`)

    def opened(self) -> None:
        """Call `on_opened`."""
        self.on_opened()

    def closed(self) -> None:
        """Call `on_closed`."""
        self.on_closed()

    def starved(self, seconds: float) -> None:
        """Call `on_starved`."""
        self.on_starved(seconds)

    def node_moved(self, node: NodeInfo) -> None:
        """Call the hook for what a node has come to."""
        getattr(self, _OF_NODES[node.state])(node)

    def tasks_moved(self, moved: TasksMoved) -> None:
        """Call the hooks for each task of a range, if there are any."""
        names = ["on_retried" if moved.again else _OF_TASKS[moved.state], *(["on_ended"] if moved.state.is_end else [])]
        wanted = [getattr(self, name) for name in names if getattr(type(self), name) is not getattr(Hooks, name)]
        if wanted:
            for task in _each(moved):
                for hook in wanted:
                    _call(hook, task)


_OF_TASKS = {
    TaskState.SUBMITTED: "on_submitted",
    TaskState.SENT: "on_sent",
    TaskState.DONE: "on_result",
    TaskState.FAILED: "on_failed",
    TaskState.TIMED_OUT: "on_timed_out",
    TaskState.CRASHED: "on_crashed",
    TaskState.OUT_OF_MEMORY: "on_out_of_memory",
    TaskState.LOST: "on_lost",
    TaskState.CANCELLED: "on_cancelled",
}
_OF_NODES = {
    NodeState.UP: "on_node_joined",
    NodeState.SUSPECT: "on_node_suspected",
    NodeState.DRAINING: "on_node_draining",
    NodeState.LOST: "on_node_lost",
    NodeState.REFUSED: "on_node_refused",
}


def _each(moved: TasksMoved) -> Sequence[TaskInfo]:
    values, errors = moved.found()
    return [_info(moved, place, values, errors.get(place, moved.error)) for place in range(moved.stop - moved.start)]


def _info(moved: TasksMoved, place: int, values: Sequence[Any], error: BaseException | None) -> TaskInfo:
    index = moved.start + place
    submitted_at, sent_at = moved.dates(index)
    told: Told = moved.told._replace(submitted_at=submitted_at, sent_at=sent_at)
    state = state_after(error) if moved.state is TaskState.DONE else moved.state
    return info_of(told, index, state, values[place] if place < len(values) else None, error)


def _call(hook: Callable[[TaskInfo], None], task: TaskInfo) -> None:
    try:
        hook(task)
    except BaseException:  # it is the user's code, and may even call sys.exit()
        logger.exception("%s raised for task %s; the task is not concerned", hook.__qualname__, task.id)
