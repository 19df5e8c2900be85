"""What a ventilator knows of a job that has not ended, and why it ends tasks itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError

from zmqtasks.errors import IncompatibleVersion, NodeKiller, RetriesExhausted, TaskExpired, TaskLost
from zmqtasks.machines import dispatch_moves as moves
from zmqtasks.messages import Job, OutcomeKind, PeerId
from zmqtasks.options import TaskOptions
from zmqtasks.records import Entity
from zmqtasks.ventilator.source import Source


class OpenJob(Entity):
    """A job as it travels, its arguments, and who is told of its tasks; see `Ventilator.open_job`."""

    wire: Job
    source: Source
    on_sent: Callable[[int, int, int], Sequence[int] | None]
    on_finish: Callable[[moves.Finish, BaseException | None], None]
    on_end: Callable[[float | None], None]
    on_denied: Callable[[int, int], None]
    on_restored: Callable[[int, int], None]
    comes_home: bool
    """Results come to this program, whatever sink there is."""


def error_of(
    finish: moves.Finish, options: TaskOptions, own: PeerId, pythons: Callable[[], tuple[str, str]]
) -> Exception | None:
    """Return the error of tasks that the ventilator has ended itself, or None where it is told by who ended them.

    Args:
        finish: as the machine has decided.
        options: of their job.
        own: the ventilator, which may stand in for a node.
        pythons: says which Python this program has, and which the nodes have.
    """
    match finish.kind:
        case OutcomeKind.LOST if not finish.node:
            return TaskLost(
                "this program died when it had perhaps sent this at-most-once task: it may have run, or not"
            )
        case OutcomeKind.LOST:
            lost = "what the sink had to tell of" if finish.node == own else "the node that had"
            return TaskLost(f"{lost} this at-most-once task was lost: it may have run, or not")
        case OutcomeKind.NODE_KILLER:
            return NodeKiller("each of several nodes died with this as its only task")
        case OutcomeKind.EXHAUSTED:
            often = f"retries={options.retries}"
            return RetriesExhausted(f"the task asked to be run again, and had been already as often as {often} allows")
        case OutcomeKind.UNREADABLE:
            here, there = pythons()
            return IncompatibleVersion(
                f"this function travels by value, as code of Python {here}, and no node can read that: {there}; "
                "use nodes of the same minor version, or a function of a module that nodes can import"
            )
        case OutcomeKind.EXPIRED:
            return TaskExpired(f"the task had not begun within expires={options.expires:g} s")
        case OutcomeKind.RETURNED:
            return CancelledError("it was taken out of its queue before it had begun")
        case _:
            return None


def recorded_kind(kind: OutcomeKind) -> OutcomeKind:
    """Return as what an end is recorded: what was handed back and shall not run has been cancelled."""
    return OutcomeKind.CANCELLED if kind is OutcomeKind.RETURNED else kind
