"""The worker processes of a node as its shell sees them, and how many of them its options ask for."""

from __future__ import annotations

from typing import Protocol

from zmqtasks.machines.staffing import Staffing
from zmqtasks.messages import Buffer, PeerId, Tasks
from zmqtasks.node.crosscheck import Resting
from zmqtasks.node.overseer import Watched
from zmqtasks.options import NodeOptions
from zmqtasks.processes.memory import MemoryUsage

MOST_MORE = 4
"""So many standbys may be added for a while to those that the options ask for; none where they ask for none."""
END_MARGIN_S = 0.5
"""A worker that hangs at its end says where before it ends itself; so much later it is killed."""


class Workers(Watched, Resting, Protocol):
    """The worker processes, as the node sees them; `processes.workforce` and `testing` have this face."""

    def start(self, slot: int) -> None:
        """Start a process in a slot."""

    def send(self, slot: int, tasks: Tasks, *, alone: bool = False) -> None:
        """Give chunks to a worker; with `alone`, when nothing runs beside them in its process."""

    def take_back(self, slot: int, given: int) -> int:
        """Have a worker not begin half of what it has not begun of `given` tasks; return from which one on it will not.

        `given` where that cannot be told at once: `WorkerSkipped` tells it then.
        """

    def stop(self, slot: int) -> None:
        """Ask an idle worker to end."""

    def resume(self, slot: int) -> None:
        """Have the task of a worker go on that has waited; what the worker has not begun has gone to others."""

    def deny(self, slot: int) -> None:
        """Tell a worker that it keeps its place while its task waits."""

    def answer(self, slot: int, number: int, body: Buffer) -> None:
        """Give a worker the answer to what it asked by this number."""

    def tell_lost(self, slot: int, ventilator: PeerId) -> None:
        """Tell a worker that all it asked this ventilator, and has no answer to, is lost."""

    def usage(self, limit_bytes: int | None, threshold: float) -> MemoryUsage:
        """Return what is used of a limit, or of what this host has; shared pages count once above the threshold."""

    def close(self) -> None:
        """End all of them."""


def staffing_of(options: NodeOptions) -> Staffing:
    """Return what the options say of workers."""
    workers = options.worker_count() * options.lanes
    return Staffing(
        workers,
        options.standby,
        options.max_tasks_per_worker,
        max_worker_age_s=float("inf") if options.max_worker_age is None else options.max_worker_age,
        start_timeout_s=options.start_timeout,
        end_timeout_s=options.end_timeout + END_MARGIN_S,
        more=min(workers, MOST_MORE) if options.standby else 0,
        lenders=options.max_waiting,
    )
