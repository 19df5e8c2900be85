"""Moves of the dispatch machine: what a `Dispatch` is told, and what it says.

Owns the vocabulary and no behaviour: events are facts in the past tense, commands imperatives. `dispatch.py` takes the
one and gives the other; its shell and the simulation stand on the other side.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from zmqtasks.messages import (
    Held,
    JobId,
    OutcomeKind,
    PeerId,
    Range,
    Settled,
    Window,
)
from zmqtasks.options import TaskOptions

UNKNOWN_ATTEMPT = 0
"""A sink that was asked what it has tells successes under this: it keeps no attempts of them."""

# Events


@dataclass(frozen=True, slots=True)
class JobOpened:
    """A job exists; tasks are added later. `task_s` is what a task of this function took before, if known."""

    job: JobId
    options: TaskOptions
    task_s: float | None = None


@dataclass(frozen=True, slots=True)
class TasksAdded:
    """The next `count` tasks of the job exist."""

    job: JobId
    count: int


@dataclass(frozen=True, slots=True)
class JobClosed:
    """No more tasks will be added."""

    job: JobId


@dataclass(frozen=True, slots=True)
class Encoded:
    """The range of an attempt was encoded, and travels with this many bytes."""

    attempt: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class EncodingFailed:
    """Tasks of an attempt cannot be encoded; they have ended, with an error of their own."""

    attempt: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class NodeOpened:
    """A session with a node is up. `have` is what it still runs for us from an earlier session."""

    node: PeerId
    workers: int
    window: Window
    have: tuple[Held, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeHeard:
    """A node told its state; `open` is False where it takes no new work (suspect, draining).

    `have` is what it has of ours, or None where it did not say.
    """

    node: PeerId
    workers: int
    window: Window
    open: bool = True
    have: tuple[Held, ...] | None = None


@dataclass(frozen=True, slots=True)
class NodeSuspected:
    """A node has been silent for a while."""

    node: PeerId


@dataclass(frozen=True, slots=True)
class NodeLost:
    """The session with a node is over; `died` where its process is known to be gone."""

    node: PeerId
    died: bool = False


@dataclass(frozen=True, slots=True)
class OutcomeSettled:
    """A sink has recorded (or seen again) an outcome."""

    settled: Settled


@dataclass(frozen=True, slots=True)
class TasksCancelled:
    """Nobody wants these tasks any more: they have ended. With `kill`, they are to be stopped where they run, too."""

    job: JobId
    start: int
    stop: int
    kill: bool = False


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Nobody wants these tasks any more, if they were not begun; the others go on."""

    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class CancelWithdrawn:
    """Who wanted these tasks back waits no longer: they go on."""

    ranges: tuple[Range, ...]


Event = (
    JobOpened
    | TasksAdded
    | JobClosed
    | Encoded
    | EncodingFailed
    | NodeOpened
    | NodeHeard
    | NodeSuspected
    | NodeLost
    | OutcomeSettled
    | TasksCancelled
    | CancelRequested
    | CancelWithdrawn
)

# Commands


class Cut(NamedTuple):
    """A range that goes to a node under a new attempt."""

    job: JobId
    attempt: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Send:
    """Encode these cuts and send them to the node in one message."""

    node: PeerId
    cuts: tuple[Cut, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """These tasks have ended: hand on what `kind` says, and let go of their arguments.

    RETURNED says that they were cancelled, and not begun. Failures arrive here only when they are final. `attempt` and
    `node` are those of the outcome. NODE_KILLER, EXHAUSTED and most LOST are decided here and have no outcome of their
    own: they carry the attempt and the node that were lost, or asked for one more, so that a sink finds them newer than
    any failure before.
    """

    job: JobId
    start: int
    stop: int
    kind: OutcomeKind
    attempt: int = 0
    node: PeerId = ""


@dataclass(frozen=True, slots=True)
class Recall:
    """Tell the node that these ranges are not wanted any more; with `kill`, not even where they run."""

    node: PeerId
    ranges: tuple[Range, ...]
    kill: bool = False


@dataclass(frozen=True, slots=True)
class Deny:
    """Tell who wanted these tasks back that they were begun, or have ended."""

    job: JobId
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class FinishJob:
    """All tasks of a closed job have ended; `task_s` is what one took, as far as known."""

    job: JobId
    task_s: float | None = field(default=None, compare=False)


Command = Send | Finish | Recall | Deny | FinishJob
