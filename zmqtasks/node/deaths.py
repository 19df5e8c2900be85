"""What the end of a worker means for the task it had: how it is told to the machine, and with which error."""

from __future__ import annotations

from zmqtasks.errors import WorkerCrashed, ZmqtasksError
from zmqtasks.machines import holding_moves as moves
from zmqtasks.messages import OutcomeKind, PeerId
from zmqtasks.node.overseer import Verdict
from zmqtasks.processes.events import WorkerExited
from zmqtasks.processes.exits import describe_end
from zmqtasks.processes.progress import WorkPhase

OUTPUT_LINES = 50
"""Of what a worker printed last, so much goes into the error of the task it died over."""


def loss_of(
    event: WorkerExited, verdict: Verdict | None, node: PeerId
) -> tuple[moves.WorkerLost, ZmqtasksError | None]:
    """Return what is lost with a worker that had tasks, and the error of the task that is to blame, if any.

    Args:
        event: the end of its process, with its last progress.
        verdict: why this node has killed it, if so.
        node: this one.
    """
    progress = event.progress
    if progress.phase is WorkPhase.IDLE:
        return moves.WorkerLost(event.slot), None
    kind, error = OutcomeKind.CRASHED, _crash(event, node)
    suspect = event.suspect and verdict is None
    blameless = suspect or event.innocent if verdict is None else verdict.error is None
    if verdict and verdict.error:
        kind, error = verdict.kind, verdict.error
    lost = moves.WorkerLost(
        event.slot,
        progress.attempt,
        progress.index,
        kind,
        packing=progress.phase is WorkPhase.PACKING,
        loading=progress.phase is WorkPhase.LOADING,
        importing=progress.phase is WorkPhase.IMPORTING,
        blameless=blameless,
        suspect=suspect,
    )
    return lost, error


def last_output(event: WorkerExited) -> str:
    """Return the last lines that a worker has printed over its task."""
    return "".join(event.output_tail.splitlines(keepends=True)[-OUTPUT_LINES:])


def _crash(event: WorkerExited, node: PeerId) -> ZmqtasksError:
    """Say how a worker died."""
    ended = describe_end(event.signal, event.exit_code)
    return WorkerCrashed(
        f"the worker process (pid {event.pid} of node {node}) {ended} while it ran this task",
        signal=event.signal,
        exit_code=event.exit_code,
        output=last_output(event),
        stack=event.stack,
        peak_bytes=event.peak_bytes,
        node=node,
        pid=event.pid,
    )
