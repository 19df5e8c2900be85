"""Figures of a client: how many tasks ended how, and how long they took.

Owns the counting of one client, by ranges. Made by user programs, given to `Client(hooks=...)`.

    meter = zmqtasks.Meter()
    with zmqtasks.Client(hooks=meter) as client: ...
    print(meter.metrics.done, meter.metrics.task_s.mean, meter.metrics.to_json())
"""

from __future__ import annotations

from zmqtasks.embedded.info import TaskState
from zmqtasks.embedded.watched import NodeInfo, TasksMoved
from zmqtasks.metrics import Metrics, Moments
from zmqtasks.records import replace


class Meter:
    """Counts what becomes of the tasks of a client, or of several that are given the same one.

    It costs a client a microsecond a range of tasks, and opens no result.
    """

    starvation: float | None = None

    def __init__(self) -> None:
        self.metrics = Metrics()
        """The figures so far: a value, which stays as it is; read it from any thread."""
        self.nodes_lost = 0
        """Nodes that were lost while the client was open."""

    def tasks_moved(self, moved: TasksMoved) -> None:
        """Count a range."""
        count, figures = moved.stop - moved.start, self.metrics
        if moved.again:
            self.metrics = replace(figures, retried=figures.retried + count)
        elif moved.state is TaskState.DONE:
            took = Moments.of(moved.told.task_s, count) if moved.told.task_s is not None else Moments()
            self.metrics = replace(figures, done=figures.done + count, task_s=figures.task_s + took)
        elif moved.state.is_end:
            self.metrics = replace(figures, **{moved.state.value: getattr(figures, moved.state.value) + count})

    def node_moved(self, node: NodeInfo) -> None:
        """Count a node that is lost."""
        self.nodes_lost += node.state == "lost"

    def opened(self) -> None:
        """Do nothing."""

    def closed(self) -> None:
        """Do nothing."""

    def starved(self, seconds: float) -> None:
        """Do nothing."""
