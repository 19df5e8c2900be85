"""What a node decides about its worker processes: which to start, to let serve, to stop and to kill.

Owns the life of each slot. Compares, at every turn, the workers there are with those there should be, and returns
what closes the gap. Knows no process: `processes/workforce.py` carries it out, `node.py` stands between.

    EMPTY --StartWorker--> STARTING --ready--> SPARE --Serve--> SERVING --Retire--> RETIRING --StopWorker--> STOPPING
      ^                       |                  |                 |                                            |
      +------- exited --------+------------------+-----------------+------------ exited (or killed) ------------+

One slot more than there are workers keeps a hot standby (SPARE): where a serving worker ends, it takes over at once.
Where workers end one after the other, faster than others start, `reserve` more slots do so as well, for a while.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from zmqtasks.errors import LocalProtocolError

FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 10.0
HASTE_S = 0.5
"""Two workers that end within this time call the reserve, which goes when none has ended for as long."""
MOST_RESERVE = 4
STOP_GRACE_S = 5.0
"""How long a worker may take to end by itself after it was asked to."""


@dataclass(frozen=True, slots=True)
class Staffing:
    """How many workers, and when one is replaced.

    Args:
        workers: how many serve at once.
        standby: how many more stand ready; 0 for no reserve either.
        max_tasks_per_worker: a worker is replaced after about so many tasks; 0 for never.
        spread: that number varies by up to this fraction from worker to worker, so that they do not end together.
    """

    workers: int
    standby: int = 0
    max_tasks_per_worker: int = 0
    spread: float = 0.1

    def reserve(self) -> int:
        """Return how many more stand ready while workers end often."""
        return min(self.workers, MOST_RESERVE) if self.standby else 0

    def slots(self) -> int:
        """Return how many workers there can be at once."""
        return self.workers + self.standby + self.reserve()


class State(StrEnum):
    """Where a slot stands."""

    EMPTY = "empty"
    STARTING = "starting"
    SPARE = "spare"
    SERVING = "serving"
    RETIRING = "retiring"
    STOPPING = "stopping"


# Events -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opened:
    """The node opens: start the workers."""


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker is set up; `chance` in [0, 1) spreads the length of its life."""

    slot: int
    chance: float = 0.5


@dataclass(frozen=True, slots=True)
class TasksEnded:
    """A worker ended tasks; `idle` where it has nothing left to do."""

    slot: int
    tasks: int
    idle: bool


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """The process of a slot is gone."""

    slot: int


@dataclass(frozen=True, slots=True)
class ReplacementRequested:
    """The worker of a slot is to be replaced once it is idle."""

    slot: int
    idle: bool


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """Let the workers end what they have, and start no others. `idle` names the slots with nothing to do."""

    idle: frozenset[int]


Event = Opened | WorkerReady | TasksEnded | WorkerExited | ReplacementRequested | DrainRequested

# Commands ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Start a process in this slot."""

    slot: int


@dataclass(frozen=True, slots=True)
class Serve:
    """The worker of this slot takes work from now on."""

    slot: int


@dataclass(frozen=True, slots=True)
class Retire:
    """The worker of this slot gets no new work."""

    slot: int


@dataclass(frozen=True, slots=True)
class StopWorker:
    """Ask the worker of this slot, which is idle, to end."""

    slot: int


@dataclass(frozen=True, slots=True)
class KillWorker:
    """End the worker of this slot by force: it did not end when asked to."""

    slot: int


Command = StartWorker | Serve | Retire | StopWorker | KillWorker


@dataclass(slots=True, eq=False)
class _Slot:
    state: State = State.EMPTY
    tasks_left: float = float("inf")
    start_at: float = 0.0
    kill_at: float = float("inf")
    waits: bool = False
    """Whether it is empty because its last worker failed to start, and the next has to wait until `start_at`."""


LEGAL: dict[type[Any], frozenset[State]] = {
    WorkerReady: frozenset({State.STARTING, State.STOPPING}),
    TasksEnded: frozenset({State.SERVING, State.RETIRING, State.STOPPING}),
    WorkerExited: frozenset(State) - {State.EMPTY},
    ReplacementRequested: frozenset(State) - {State.EMPTY},
}
"""In which states of its slot an event may come; the rest is a defect."""


class Slots:
    """Keep as many workers serving as there should be; see the module."""

    def __init__(self, staffing: Staffing) -> None:
        self._staffing = staffing
        self._slots = {number: _Slot() for number in range(staffing.slots())}
        self._last_end = float("-inf")
        self._hasty_until = float("-inf")
        self._open = False
        self._failures = 0
        self._moves: dict[type[Any], Callable[[Any, float], list[Command]]] = {
            Opened: self._opened,
            WorkerReady: self._worker_ready,
            TasksEnded: self._tasks_ended,
            WorkerExited: self._worker_exited,
            ReplacementRequested: self._replacement_requested,
            DrainRequested: self._drain_requested,
        }

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; return what to do, in order.

        Raises:
            LocalProtocolError: the event is not legal in the state of its slot.
        """
        legal = LEGAL.get(type(event))
        if legal is not None:
            slot = self._slots.get(event.slot)  # type: ignore[union-attr]
            if slot is None or slot.state not in legal:
                raise LocalProtocolError(f"{event} is not legal in {self!r}")
        return self._moves[type(event)](event, now) + self._reconcile(now)

    def tick(self, now: float) -> list[Command]:
        """Start what waited for its back-off, kill what did not end when asked to."""
        commands: list[Command] = []
        for number, slot in self._slots.items():
            if slot.kill_at <= now:
                slot.kill_at = float("inf")
                commands.append(KillWorker(number))
        return commands + self._reconcile(now)

    def next_deadline(self) -> float:
        """Return the time at which `tick` has something to do."""
        times = [s.start_at for s in self._slots.values() if s.waits and self._open]
        if self._open and self._count(State.SPARE) > self._staffing.standby:
            times.append(self._hasty_until)
        return min([*times, *(s.kill_at for s in self._slots.values())], default=float("inf"))

    def serving(self) -> int:
        """Return how many workers take work."""
        return self._count(State.SERVING)

    def is_spare(self, slot: int) -> bool:
        """Tell whether the worker of a slot stands by."""
        return self._slots[slot].state is State.SPARE

    def all_gone(self) -> bool:
        """Tell whether no process is left."""
        return self._count(State.EMPTY) == len(self._slots)

    def _opened(self, event: Opened, now: float) -> list[Command]:
        self._open = True
        return []

    def _worker_ready(self, event: WorkerReady, now: float) -> list[Command]:
        self._failures = 0
        slot = self._slots[event.slot]
        if slot.state is State.STOPPING:
            return []  # it was asked to end while it started, and its word was on the way
        slot.state = State.SPARE
        if self._staffing.max_tasks_per_worker:
            spread = 1 + self._staffing.spread * (2 * event.chance - 1)
            slot.tasks_left = max(1, round(self._staffing.max_tasks_per_worker * spread))
        return []

    def _tasks_ended(self, event: TasksEnded, now: float) -> list[Command]:
        slot = self._slots[event.slot]
        slot.tasks_left -= event.tasks
        if slot.state is State.SERVING and slot.tasks_left <= 0:
            return self._retire(event.slot, idle=event.idle, now=now)
        if slot.state is State.RETIRING and event.idle:
            return self._stop(event.slot, now)
        return []

    def _worker_exited(self, event: WorkerExited, now: float) -> list[Command]:
        slot = self._slots[event.slot]
        # A spare has no task to blame: without a pause, one that dies at once would be started without end.
        failed = slot.state in (State.STARTING, State.SPARE)
        if slot.state in (State.SERVING, State.RETIRING) or slot.tasks_left <= 0:
            self._note_end(now)
        self._slots[event.slot] = fresh = _Slot(start_at=now)
        if failed:
            # 2 ** failures overflows a float after 1,024 of them; the longest wait is reached long before.
            self._failures += 1
            fresh.waits = True
            fresh.start_at = now + min(FIRST_BACKOFF_S * 2 ** min(self._failures - 1, 16), LONGEST_BACKOFF_S)
        return []

    def _note_end(self, now: float) -> None:
        """Take note that a worker that served has ended, and whether that happens often."""
        if now - self._last_end < HASTE_S:
            self._hasty_until = now + HASTE_S
        self._last_end = now

    def _replacement_requested(self, event: ReplacementRequested, now: float) -> list[Command]:
        state = self._slots[event.slot].state
        if state is State.SERVING:
            return self._retire(event.slot, idle=event.idle, now=now)
        return self._stop(event.slot, now) if state in (State.STARTING, State.SPARE) else []

    def _drain_requested(self, event: DrainRequested, now: float) -> list[Command]:
        self._open = False
        commands: list[Command] = []
        for number, slot in self._slots.items():
            if slot.state is State.SERVING:
                commands += self._retire(number, idle=number in event.idle, now=now)
            elif slot.state in (State.STARTING, State.SPARE):
                commands += self._stop(number, now)
        return commands

    def _retire(self, number: int, *, idle: bool, now: float) -> list[Command]:
        self._slots[number].state = State.RETIRING
        return [Retire(number), *(self._stop(number, now) if idle else [])]

    def _stop(self, number: int, now: float) -> list[Command]:
        slot = self._slots[number]
        slot.state = State.STOPPING
        slot.kill_at = now + STOP_GRACE_S
        return [StopWorker(number)]

    def _reconcile(self, now: float) -> list[Command]:
        """Compare what there is with what there should be."""
        if not self._open:
            return []
        commands: list[Command] = []
        if now >= self._hasty_until:
            self._hasty_until = float("-inf")
        for number, slot in self._slots.items():
            if slot.state is State.SPARE and self._count(State.SERVING) < self._staffing.workers:
                slot.state = State.SERVING
                commands.append(Serve(number))
        for number, slot in self._slots.items():
            slot.waits &= slot.start_at > now
            if slot.state is State.EMPTY and not slot.waits and self._present() < self._wanted():
                slot.state = State.STARTING
                commands.append(StartWorker(number))
            elif slot.state is State.SPARE and self._count(State.SPARE) > self._wanted() - self._staffing.workers:
                commands += self._stop(number, now)
        return commands

    def _present(self) -> int:
        """Return how many slots are taken; in haste, without those of workers that are about to end."""
        ending = (State.RETIRING, State.STOPPING) if self._is_hasty() else ()
        return sum(1 for s in self._slots.values() if s.waits or s.state not in (State.EMPTY, *ending))

    def _wanted(self) -> int:
        reserve = self._staffing.reserve() if self._is_hasty() else 0
        return self._staffing.workers + self._staffing.standby + reserve

    def _is_hasty(self) -> bool:
        return self._hasty_until > float("-inf")

    def _count(self, state: State) -> int:
        return sum(1 for slot in self._slots.values() if slot.state is state)

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        assert self._count(State.SERVING) <= self._staffing.workers, repr(self)
        spares = self._open and self._count(State.SPARE)
        assert not (spares and self._count(State.SERVING) < self._staffing.workers), repr(self)
        for slot in self._slots.values():
            assert slot.kill_at == float("inf") or slot.state is State.STOPPING, repr(self)

    def __repr__(self) -> str:
        usual = self._staffing.workers + self._staffing.standby
        shown = [f"{n}:{s.state}" for n, s in self._slots.items() if n < usual or s.state is not State.EMPTY]
        return f"<Slots {' '.join(shown)} failures={self._failures}>"
