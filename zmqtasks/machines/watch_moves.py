"""Moves of the watch: what a `Watch` is told, and what it says.

Owns the vocabulary and no behaviour: events are facts in the past tense, commands imperatives. `watch.py` takes the one
and gives the other; `overseer.py` stands on the other side.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from zmqtasks.machines.phases import WorkPhase
from zmqtasks.options import TaskOptions
from zmqtasks.records import Value


class Limit(StrEnum):
    """Which limit was passed; the value is the option's name."""

    TIMEOUT = "timeout"
    STALL = "stall_timeout"
    MEMORY = "max_memory"


class Place(NamedTuple):
    """What a worker is at: chunks are counted by it from 1, `attempt` and `task` are as in its outcomes."""

    chunk: int
    attempt: int
    task: int
    phase: WorkPhase


class Doing(NamedTuple):
    """What was seen of a worker; times in seconds, of the same clock as `now`."""

    place: Place
    since: float
    """When it came there."""
    renewed: float | None = None
    """When the task last told of its progress, and what; None for never."""
    done: int = 0
    total: int = 0


class Sentence(Value):
    """Why a worker is killed, and over which task.

    Args:
        limit: the one that was passed.
        doing: what was seen then.
        bound: the limit in seconds or bytes.
        amount: how long it was, or how much.
        grace: seconds that the task had after it was interrupted; None where it was not.
    """

    limit: Limit
    doing: Doing
    bound: float
    amount: float
    grace: float | None = None


# Events


class WorkBegun(Value):
    """The worker of a slot has come to a chunk with these options."""

    slot: int
    options: TaskOptions


class WorkerSeen(Value):
    """A worker was looked at.

    `memory_bytes` is what it and all it started hold, at most, where it has a limit; `stack_bytes` is what it has
    written down since it was last asked where it is.
    """

    slot: int
    options: TaskOptions
    doing: Doing
    memory_bytes: int = 0
    stack_bytes: int = 0


class MemoryMeasured(Value):
    """What a worker and all it started hold, each page counted once, and what it did just after that was found."""

    slot: int
    doing: Doing
    memory_bytes: int


class WorkerIdle(Value):
    """A worker was looked at, and has nothing with a limit."""

    slot: int


class WorkerExited(Value):
    """The process of a slot is gone."""

    slot: int


Event = WorkBegun | WorkerSeen | MemoryMeasured | WorkerIdle | WorkerExited

# Commands


class Look(Value):
    """See what this worker does."""

    slot: int


class MeasureMemory(Value):
    """Find out what this worker really holds."""

    slot: int


class Interrupt(Value):
    """Have the worker raise in the task it is at, which passed `limit`."""

    slot: int
    place: Place
    limit: Limit


class DumpStack(Value):
    """Let the worker write down where it is."""

    slot: int


class Kill(Value):
    """End the worker by force."""

    slot: int
    sentence: Sentence


Command = Look | MeasureMemory | Interrupt | DumpStack | Kill
