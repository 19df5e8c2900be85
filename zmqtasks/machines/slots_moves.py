"""Moves of the slots machine: what `Slots` are told, and what they say.

Owns the vocabulary and no behaviour: events are facts in the past tense, commands imperatives. `slots.py` takes the one
and gives the other; the node's shell stands on the other side.
"""

from __future__ import annotations

from zmqtasks.records import Value

# Events


class Opened(Value):
    """The node opens: start the workers."""


class WorkerStarted(Value):
    """The process of a slot exists; its time to be ready begins."""

    slot: int


class WorkerReady(Value):
    """A worker is set up; `chance` in [0, 1) spreads the length of its life."""

    slot: int
    chance: float = 0.5


class TasksEnded(Value):
    """A worker ended tasks; `idle` where it has nothing left to do."""

    slot: int
    tasks: int
    idle: bool


class WorkerLeft(Value):
    """A worker does no more, and ends by its own wish."""

    slot: int


class WorkerStuck(Value):
    """The process of a slot was killed, and does not end."""

    slot: int


class WorkerExited(Value):
    """The process of a slot is gone."""

    slot: int


class ReplacementRequested(Value):
    """The worker of a slot is to be replaced once it is idle."""

    slot: int
    idle: bool


class WaitBegun(Value):
    """The task that a worker runs waits for others."""

    slot: int


class WaitEnded(Value):
    """What the task of a worker waited for is there: it would go on when there is a place, or goes on `at_once`."""

    slot: int
    at_once: bool = False


class WorkerSpared(Value):
    """A worker that served has nothing to do, and gets nothing: its place is free."""

    slot: int


class DrainRequested(Value):
    """Let the workers end what they have, and start no others. `idle` names the slots with nothing to do."""

    idle: frozenset[int]


class EndRequested(Value):
    """End all workers now: those with nothing to do (`idle`, and spares) in order, the others by force."""

    idle: frozenset[int]


Event = (
    Opened
    | WorkerStarted
    | WorkerReady
    | TasksEnded
    | WorkerLeft
    | WorkerStuck
    | WorkerExited
    | ReplacementRequested
    | WaitBegun
    | WaitEnded
    | WorkerSpared
    | DrainRequested
    | EndRequested
)

# Commands


class StartWorker(Value):
    """Start a process in this slot."""

    slot: int


class Serve(Value):
    """The worker of this slot takes work from now on."""

    slot: int


class Retire(Value):
    """The worker of this slot gets no new work."""

    slot: int


class StopWorker(Value):
    """Ask the worker of this slot, which is idle, to end."""

    slot: int


class KillWorker(Value):
    """End the worker of this slot by force: it did not end when asked to."""

    slot: int


class AbandonStart(Value):
    """End the worker of this slot by force, and tell that it cannot be started: it was not ready in time."""

    slot: int


class ReplaceWorker(Value):
    """The worker of this slot is old: answer with `ReplacementRequested`."""

    slot: int


class Lend(Value):
    """The worker of this slot gets nothing while its task waits."""

    slot: int


class Deny(Value):
    """The worker of this slot keeps its place: too many have lent theirs."""

    slot: int


class Resume(Value):
    """The task of this slot's worker goes on."""

    slot: int


class Regain(Value):
    """The worker of this slot has a place again, and may be given more."""

    slot: int


class MakeRoom(Value):
    """So many workers that would go on wait for a place: answer with `WorkerSpared` for as many that are idle."""

    number: int


Command = (
    StartWorker
    | Serve
    | Retire
    | StopWorker
    | KillWorker
    | AbandonStart
    | ReplaceWorker
    | Lend
    | Deny
    | Resume
    | Regain
    | MakeRoom
)
