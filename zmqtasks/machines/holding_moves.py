"""Moves of the holding machine: what a `Holding` is told, and what it says.

Owns the vocabulary and no behaviour: events are facts in the past tense, commands imperatives. `holding.py` takes the
one and gives the other; its shell and the simulation stand on the other side.
"""

from __future__ import annotations

from zmqtasks.messages import (
    Chunk,
    Job,
    JobId,
    Outcome,
    OutcomeKind,
    PeerId,
    Range,
)
from zmqtasks.records import Value

# Events


class TasksTaken(Value):
    """A ventilator sent jobs, chunks, and names of jobs that ended."""

    ventilator: PeerId
    jobs: tuple[Job, ...] = ()
    chunks: tuple[Chunk, ...] = ()
    ended: tuple[JobId, ...] = ()


class SessionReplaced(Value):
    """A ventilator opened a newer session: its queue is dropped (it has it too), what runs goes on."""

    ventilator: PeerId


class VentilatorGone(Value):
    """A ventilator left, or its lease ended: nobody wants its work."""

    ventilator: PeerId


class RangesCancelled(Value):
    """A ventilator gives up ranges; with `kill`, also where they run."""

    ventilator: PeerId
    ranges: tuple[Range, ...]
    kill: bool = False


class WorkerOffered(Value):
    """A worker is ready and serves from now on."""

    slot: int


class WorkerWithdrawn(Value):
    """The worker of a slot gets no more chunks; what it has, it ends."""

    slot: int


class OutcomesSaid(Value):
    """A worker tells outcomes."""

    slot: int
    outcomes: tuple[Outcome, ...]


class WorkerLost(Value):
    """The worker of a slot is dead, and all it wrote was read.

    `attempt` and `index` name the task it ran when it died, from its progress slot; None where it ran none. With
    `packing` it died over the results of tasks before `index`, with `loading` over the arguments of the chunk that
    begins with it, and nobody knows which; with `importing` over their function. `blameless`: it was killed over a task
    that had ended by then, so what it ran when it died is innocent.
    """

    slot: int
    attempt: int | None = None
    index: int | None = None
    kind: OutcomeKind = OutcomeKind.CRASHED
    packing: bool = False
    loading: bool = False
    blameless: bool = False
    importing: bool = False
    suspect: bool = False
    """Other tasks ran in the same process: it is to be run again with none beside it, to see whether it is to blame."""
    unaccounted: bool = False
    """It was ended because it did not know of what it had: nobody is to blame, and nobody knows what has run."""


class WorkerLeft(Value):
    """The worker of a slot ends by its own wish: it told of all it ran, and starts nothing more of what it has."""

    slot: int


class TasksNotBegun(Value):
    """The worker of a slot will not begin what lies between these positions; the rest it has begun, or will.

    Positions count the tasks it was ever given, in the order of their giving.
    """

    slot: int
    position: int
    until: int


class PlaceLent(Value):
    """The task of a slot's worker waits for others: whatever else that worker has, others have to run."""

    slot: int


class PlaceRegained(Value):
    """The task of a slot's worker goes on, and its worker may be given more."""

    slot: int


class RoomWanted(Value):
    """So many workers would go on, and have no place: idle ones are spared for them before any is given more."""

    number: int


class SpareGone(Value):
    """The worker of a slot is dead, and had been spared."""

    slot: int


class WorkersUnavailable(Value):
    """No worker can be started here: what is queued ends with an error rather than wait for ever."""


class SinkCongested(Value):
    """Results for a ventilator's sink pile up unacknowledged (or no longer do)."""

    ventilator: PeerId
    congested: bool


class RoomTold(Value):
    """How much memory there is for more: see `pressure.Admit`."""

    paused: bool
    room_bytes: int
    most_bytes: int


class WorkerSacrificed(Value):
    """The worker of a slot has to go, for want of memory: what it runs is run again when there is room, unpunished."""

    slot: int
    memory_bytes: int


class DrainRequested(Value):
    """Nothing new is started; what has not started goes back, uncounted."""


class WorkStopped(Value):
    """The node has no more time: what runs is ended, and goes back like what has not started."""


class EndKnown(Value):
    """What begins from now on has to end before this time."""

    at: float


Event = (
    TasksTaken
    | SessionReplaced
    | VentilatorGone
    | RangesCancelled
    | WorkerOffered
    | WorkerWithdrawn
    | OutcomesSaid
    | WorkerLost
    | WorkerLeft
    | TasksNotBegun
    | PlaceLent
    | PlaceRegained
    | RoomWanted
    | SpareGone
    | WorkersUnavailable
    | SinkCongested
    | RoomTold
    | WorkerSacrificed
    | DrainRequested
    | WorkStopped
    | EndKnown
)

# Commands


class Give(Value):
    """Send a chunk to a worker; `jobs` has its job where this worker has not seen it yet.

    `alone`: nothing is to run beside it in the same process.
    """

    slot: int
    jobs: tuple[Job, ...]
    chunk: Chunk
    ended: tuple[JobId, ...] = ()
    alone: bool = False


class TakeBack(Value):
    """Have a worker not begin about half of what it has not begun yet, up to the position `given`.

    `TasksNotBegun` follows, at once or when the worker comes to it, or never where it has begun all.
    """

    slot: int
    given: int


class Emit(Value):
    """Send outcomes to the sink of their job."""

    job: Job
    outcomes: tuple[Outcome, ...]


class Blame(Value):
    """Report that this task ended through no outcome of its own (`kind`), to the sink of its job."""

    job: Job
    attempt: int
    index: int
    kind: OutcomeKind


class GiveBack(Value):
    """Report these tasks as RETURNED (not started) or LOST (at-most-once, and nobody knows)."""

    job: Job
    attempt: int
    start: int
    stop: int
    kind: OutcomeKind = OutcomeKind.RETURNED


class KillWorker(Value):
    """End the worker of this slot: what it runs is not wanted any more."""

    slot: int


class TellLate(Value):
    """Tell that what waits cannot be expected to end in time."""


class Spare(Value):
    """The worker of this slot is idle, and gets nothing until it is offered again: its place is wanted."""

    slot: int


Command = Give | TakeBack | Emit | Blame | GiveBack | KillWorker | TellLate | Spare
