"""Moves of the holding machine: what a `Holding` is told, and what it says.

Owns the vocabulary and no behaviour: events are facts in the past tense, commands imperatives. `holding.py` takes the
one and gives the other; its shell and the simulation stand on the other side.
"""

from __future__ import annotations

from dataclasses import dataclass

from zmqtasks.messages import (
    Chunk,
    Job,
    JobId,
    Outcome,
    OutcomeKind,
    PeerId,
    Range,
)

# Events


@dataclass(frozen=True, slots=True)
class TasksTaken:
    """A ventilator sent jobs, chunks, and names of jobs that ended."""

    ventilator: PeerId
    jobs: tuple[Job, ...] = ()
    chunks: tuple[Chunk, ...] = ()
    ended: tuple[JobId, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionReplaced:
    """A ventilator opened a newer session: its queue is dropped (it has it too), what runs goes on."""

    ventilator: PeerId


@dataclass(frozen=True, slots=True)
class VentilatorGone:
    """A ventilator left, or its lease ended: nobody wants its work."""

    ventilator: PeerId


@dataclass(frozen=True, slots=True)
class RangesCancelled:
    """A ventilator gives up ranges; with `kill`, also where they run."""

    ventilator: PeerId
    ranges: tuple[Range, ...]
    kill: bool = False


@dataclass(frozen=True, slots=True)
class WorkerSpared:
    """A worker is ready and stands by: what it loads now, its first task need not wait for."""

    slot: int


@dataclass(frozen=True, slots=True)
class WorkerOffered:
    """A worker is ready and serves from now on."""

    slot: int


@dataclass(frozen=True, slots=True)
class WorkerWithdrawn:
    """The worker of a slot gets no more chunks; what it has, it ends."""

    slot: int


@dataclass(frozen=True, slots=True)
class OutcomesSaid:
    """A worker tells outcomes."""

    slot: int
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """The worker of a slot is dead, and all it wrote was read.

    `attempt` and `index` name the task it ran when it died, from its progress slot; None where it ran none. With
    `packing` it died over the results of tasks before `index`, and nobody knows which. `in_order` where it ended
    because it was asked to.
    """

    slot: int
    attempt: int | None = None
    index: int | None = None
    kind: OutcomeKind = OutcomeKind.CRASHED
    packing: bool = False
    in_order: bool = False


@dataclass(frozen=True, slots=True)
class WorkersUnavailable:
    """No worker can be started here: what is queued ends with an error rather than wait for ever."""


@dataclass(frozen=True, slots=True)
class SinkCongested:
    """Results for a ventilator's sink pile up unacknowledged (or no longer do)."""

    ventilator: PeerId
    congested: bool


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """Nothing new is started; what has not started goes back, uncounted."""


Event = (
    TasksTaken
    | SessionReplaced
    | VentilatorGone
    | RangesCancelled
    | WorkerSpared
    | WorkerOffered
    | WorkerWithdrawn
    | OutcomesSaid
    | WorkerLost
    | WorkersUnavailable
    | SinkCongested
    | DrainRequested
)

# Commands


@dataclass(frozen=True, slots=True)
class Give:
    """Send a chunk to a worker; `jobs` has its job where this worker has not seen it yet."""

    slot: int
    jobs: tuple[Job, ...]
    chunk: Chunk
    ended: tuple[JobId, ...] = ()


@dataclass(frozen=True, slots=True)
class Introduce:
    """Let a worker that stands by load the functions of these jobs, and forget those that ended."""

    slot: int
    jobs: tuple[Job, ...]
    ended: tuple[JobId, ...] = ()


@dataclass(frozen=True, slots=True)
class Emit:
    """Send outcomes to the sink of their job."""

    job: Job
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Blame:
    """Report that this task ended through no outcome of its own (`kind`), to the sink of its job."""

    job: Job
    attempt: int
    index: int
    kind: OutcomeKind


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Report these tasks as RETURNED (not started) or LOST (at-most-once, and nobody knows)."""

    job: Job
    attempt: int
    start: int
    stop: int
    kind: OutcomeKind = OutcomeKind.RETURNED


@dataclass(frozen=True, slots=True)
class KillWorker:
    """End the worker of this slot: what it runs is not wanted any more."""

    slot: int


Command = Give | Introduce | Emit | Blame | GiveBack | KillWorker
