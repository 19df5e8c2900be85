"""Moves of the dispatch machine: what a `Dispatch` is told, and what it says.

Owns the vocabulary and no behaviour: events are facts in the past tense, commands imperatives. `dispatch.py` takes the
one and gives the other; its shell and the simulation stand on the other side.
"""

from __future__ import annotations

from typing import NamedTuple

from zmqtasks.machines.absence import Missing
from zmqtasks.messages import (
    Flight,
    Held,
    JobId,
    Offer,
    OutcomeKind,
    PeerId,
    Range,
    Settled,
    Window,
)
from zmqtasks.options import TaskOptions
from zmqtasks.records import Value

UNKNOWN_ATTEMPT = 0
"""A sink that was asked what it has tells successes under this: it keeps no attempts of them."""

END_OF_ANSWER = (1 << 63) - 1
"""Attempt of a RETURNED with which such a sink says that this was all it has of a job; no ventilator sends it."""

# Events


class JobOpened(Value):
    """A job exists; tasks are added later. `task_s` is what a task of this function took before, if known.

    `reader` is the minor version of Python that can read its function; empty for any.
    """

    job: JobId
    options: TaskOptions
    task_s: float | None = None
    reader: str = ""


class TasksAdded(Value):
    """The next `count` tasks of the job exist."""

    job: JobId
    count: int


class TasksRecorded(Value):
    """Tasks that are about to be added ended in an earlier life of this ventilator, and were recorded."""

    job: JobId
    start: int
    stop: int


class TasksDoubted(Value):
    """Tasks that are about to be added may be aboard nodes, since an earlier life: let nodes answer first."""

    job: JobId
    start: int
    stop: int


class DoubtsEnded(Value):
    """Whoever could know of tasks of this job has answered, or had time enough. What nobody has is not aboard."""

    job: JobId


class OutcomeMissed(Value):
    """An outcome concerns tasks that are not added yet: the node that told it does not have them any more."""

    settled: Settled


class JobClosed(Value):
    """No more tasks will be added."""

    job: JobId


class Encoded(Value):
    """The range of an attempt was encoded, and travels with this many bytes."""

    attempt: int
    nbytes: int


class EncodingFailed(Value):
    """Tasks of an attempt cannot be encoded; they have ended, with an error of their own."""

    attempt: int
    start: int
    stop: int


class NodeOpened(Value):
    """A session with a node is up. `have` is what it still runs for us from an earlier session.

    `flight` is what ran when its predecessor died, where that is known; `reader` the minor version of its Python.
    """

    node: PeerId
    workers: int
    window: Window
    have: tuple[Held, ...] = ()
    flight: Flight | None = None
    reader: str = ""
    offer: Offer = Offer()


class NodesCounted(Value):
    """Whether every node that is known has answered, or had time enough."""

    all_answered: bool


class NodeHeard(Value):
    """A node told its state; `open` is False where it takes no new work (suspect, draining).

    `have` is what it has of ours, or None where it did not say. `progress` is the last message it had processed then,
    and the last it was sent; None where whatever it loses is known to be told.
    """

    node: PeerId
    workers: int
    window: Window
    open: bool = True
    have: tuple[Held, ...] | None = None
    progress: tuple[int, int] | None = None


class NodeSuspected(Value):
    """A node has been silent for a while."""

    node: PeerId


class NodeLost(Value):
    """The session with a node is over; `died` where its process is known to be gone."""

    node: PeerId
    died: bool = False


class OutcomeSettled(Value):
    """A sink has recorded (or seen again) an outcome."""

    settled: Settled


class TasksCancelled(Value):
    """Nobody wants these tasks any more: they have ended. With `kill`, they are to be stopped where they run, too."""

    job: JobId
    start: int
    stop: int
    kill: bool = False


class CancelRequested(Value):
    """Nobody wants these tasks any more, if they were not begun; the others go on."""

    ranges: tuple[Range, ...]


class QueueHeld(Value):
    """Nothing of a queue shall be sent, or it may go on."""

    queue: str
    held: bool


class CancelWithdrawn(Value):
    """Who wanted these tasks back waits no longer: they go on."""

    ranges: tuple[Range, ...]


Event = (
    JobOpened
    | TasksAdded
    | TasksRecorded
    | TasksDoubted
    | DoubtsEnded
    | OutcomeMissed
    | JobClosed
    | Encoded
    | EncodingFailed
    | NodeOpened
    | NodeHeard
    | NodesCounted
    | NodeSuspected
    | NodeLost
    | OutcomeSettled
    | TasksCancelled
    | CancelRequested
    | CancelWithdrawn
    | QueueHeld
)

# Commands


class Cut(NamedTuple):
    """A range that goes to a node under a new attempt."""

    job: JobId
    attempt: int
    start: int
    stop: int
    runs: int = 0
    """How often each of its tasks was run before, as far as that counts."""


class Send(Value):
    """Encode these cuts and send them to the node in one message."""

    node: PeerId
    cuts: tuple[Cut, ...]


class Finish(Value):
    """These tasks have ended: hand on what `kind` says, and let go of their arguments.

    RETURNED says that they were cancelled, and not begun. Failures arrive here only when they are final. `attempt` and
    `node` are those of the outcome. NODE_KILLER, EXHAUSTED, EXPIRED, UNREADABLE and most LOST are decided here and have
    no outcome of their own: they carry the attempt and the node that were lost, or asked for one more, so that a sink
    finds them newer than any failure before.
    """

    job: JobId
    start: int
    stop: int
    kind: OutcomeKind
    attempt: int = 0
    node: PeerId = ""


class Restore(Value):
    """Hand on how these tasks ended in an earlier life, and let go of their arguments."""

    job: JobId
    start: int
    stop: int


class Recall(Value):
    """Tell the node that these ranges are not wanted any more; with `kill`, not even where they run."""

    node: PeerId
    ranges: tuple[Range, ...]
    kill: bool = False


class Deny(Value):
    """Tell who wanted these tasks back that they were begun, or have ended."""

    job: JobId
    start: int
    stop: int


class Inquire(Value):
    """Ask the sink about tasks that a node has no more: what it has of them, and after that whether they are missing.

    It answers the latter as an outcome RETURNED of no node.
    """

    missing: tuple[Missing, ...]


class TellHomeless(Value):
    """Tell people that none of the nodes that are here can ever run this job, and why (of some): its tasks wait."""

    job: JobId
    reasons: tuple[str, ...]
    nodes: int


class FinishJob(Value):
    """All tasks of a closed job have ended; `task_s` is what one took, as far as known."""

    job: JobId
    task_s: float | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FinishJob) and self.job == other.job  # what was measured is not what is said

    def __hash__(self) -> int:
        return hash(self.job)


Command = Send | Finish | Restore | Recall | Deny | Inquire | TellHomeless | FinishJob
