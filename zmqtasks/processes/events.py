"""What a workforce tells its node: facts about workers, in the past tense, frozen.

Owns no behaviour. `workforce.py` makes them, `node/shell.py` takes them.
"""

from __future__ import annotations

from zmqtasks.messages import Buffer, JobId, Outcome, Printed
from zmqtasks.processes.progress import Progress
from zmqtasks.records import Value


class WorkerStarted(Value):
    """A process exists; it is not ready yet."""

    slot: int
    pid: int


class WorkerReady(Value):
    """The worker has run its initializer and waits for tasks."""

    slot: int


class WorkerSaid(Value):
    """Outcomes came from a worker, in the order of its work."""

    slot: int
    outcomes: tuple[Outcome, ...]
    lane: int = 0
    """Of the worker, where it has several."""


class WorkerAsked(Value):
    """A task of a worker asks the ventilator that owns this job; the answer bears this number."""

    slot: int
    number: int
    job: JobId
    body: Buffer


class WorkerWaits(Value):
    """The task of a worker waits for what it has asked: another worker may serve meanwhile."""

    slot: int
    lane: int = 0


class WorkerBack(Value):
    """The task of a worker has what it waited for: it goes on when its worker has a place again, or `at_once`."""

    slot: int
    at_once: bool
    lane: int = 0


class WorkerPrinted(Value):
    """A worker printed something over a job whose client wants to hear it."""

    slot: int
    piece: Printed


class WorkerFailedToStart(Value):
    """The worker will never be ready.

    Args:
        slot: its place.
        pid: its process, whose `WorkerExited` follows; None where there is none, and then the slot is free.
        reason: one sentence.
        failure: the initializer's exception as made by `payload.pack_failure`, or nothing.
    """

    slot: int
    pid: int | None
    reason: str
    failure: bytes = b""


class WorkerLeft(Value):
    """The worker takes no more, and is about to end: what it was sent and has not told of was not started."""

    slot: int
    reason: str


class WorkerSkipped(Value):
    """The worker has passed over what was taken back: it begins nothing between these positions."""

    slot: int
    position: int
    until: int


class WorkerStuck(Value):
    """The process was killed long ago and does not end: the kernel holds it. `WorkerExited` follows if it ever does.

    Args:
        slot: its place; not free before it ends.
        state: of the process, as /proc shows it: "D" for uninterruptible sleep; or nothing where nobody knows.
        end: its end as far as it can be told now.
    """

    slot: int
    state: str
    end: WorkerExited


class JobRefused(Value):
    """A worker does not call the function of a job.

    Args:
        slot: its place.
        job: whose tasks end with that.
        reason: why.
    """

    slot: int
    job: JobId
    reason: str


class NodeStopRequested(Value):
    """A task asks for the end of the node."""

    slot: int


class WorkerExited(Value):
    """The process has ended, all it had said was handed over, and the slot is free: exactly once a worker.

    Args:
        slot: its place.
        pid: its process, reaped by now.
        signal: number of the signal that ended it, or None.
        exit_code: its exit code, or None when a signal ended it.
        output_tail: the last lines that the task it was at printed, standard output and error together.
        stack: where it was, as `faulthandler` wrote it at a fatal signal or when asked; or nothing.
        peak_bytes: the most resident memory it ever had; 0 where nobody knows.
        progress: what it was doing.
        uptime_s: seconds from its start to its end.
        lanes: what each of its lanes was doing.
        innocent: it was killed over a task of another lane.
        suspect: tasks of several lanes ran when it died by itself, and nobody knows which is to blame.
    """

    slot: int
    pid: int
    signal: int | None
    exit_code: int | None
    output_tail: str
    progress: Progress
    uptime_s: float
    stack: str = ""
    peak_bytes: int = 0
    lanes: tuple[Progress, ...] = ()
    innocent: bool = False
    suspect: bool = False


WorkerEvent = (
    WorkerStarted
    | WorkerReady
    | WorkerSaid
    | WorkerAsked
    | WorkerWaits
    | WorkerBack
    | WorkerFailedToStart
    | WorkerLeft
    | WorkerSkipped
    | JobRefused
    | NodeStopRequested
    | WorkerStuck
    | WorkerPrinted
    | WorkerExited
)
