"""What a node decides about its worker processes: which to start, to let serve, to stop and to kill.

Owns the life of each slot. Compares, at every turn, the workers there are with those there should be, and returns
what closes the gap. Knows no process: `processes/workforce.py` carries it out, `node.py` stands between.

    EMPTY --StartWorker--> STARTING --ready--> SPARE --Serve--> SERVING --Retire--> RETIRING --StopWorker--> STOPPING
      ^                       |                  |                 |                                            |
      +------- exited --------+------------------+-----------------+------------ exited (or killed) ------------+

One slot more than there are workers keeps a hot standby (SPARE): where a serving worker ends, it takes over at once.
Where a serving worker ends and no standby is ready, one more is kept for a while (`reserve.py`).
A serving worker whose task waits for tasks of its own *lends* its place: it serves on, but does not count, so another
one is started. It goes on when there is a place again: that of a worker that has become idle, which is a spare then. So
nothing that waits keeps others from what it waits for. Spares beyond those there should be end after a while.

A worker that leaves by its own wish is STOPPING from then on. One that was killed and does not end is stuck in the
kernel: its slot is LOST until it ends after all, and another number takes its place.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines.reserve import KEEP_S, Reserve
from zmqtasks.records import Entity, Value

FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 10.0
STOP_GRACE_S = 5.0
"""How long a worker may take to end by itself after it was asked to."""
ROOM = 8
"""So many slots may be lost and be replaced; beyond, fewer workers serve."""
NEVER = float("inf")


class Staffing(Value):
    """How many workers, and when one is replaced.

    Args:
        workers: how many serve at once.
        standby: how many more stand ready.
        more: so many may be added to these for a while, where workers end faster than others get ready.
        max_tasks_per_worker: a worker is replaced after about so many tasks; 0 for never.
        max_worker_age_s: a worker is replaced about so many seconds after it was ready.
        spread: both vary by up to this fraction from worker to worker, so that they do not end together.
        start_timeout_s: how long a worker may take from its start until it is ready.
        end_timeout_s: how long it may take to end by itself after it was asked to, or said that it would.
        room: how many slots may be lost and be replaced.
        lenders: how many workers may have lent their places at once.
    """

    workers: int
    standby: int = 0
    max_tasks_per_worker: int = 0
    spread: float = 0.1
    max_worker_age_s: float = NEVER
    start_timeout_s: float = NEVER
    end_timeout_s: float = STOP_GRACE_S
    room: int = ROOM
    more: int = 0
    lenders: int = 0

    def numbers(self) -> range:
        """Return the numbers that slots may have."""
        return range(self.workers + self.standby + self.more + self.lenders + self.room)


class State(StrEnum):
    """Where a slot stands."""

    EMPTY = "empty"
    STARTING = "starting"
    SPARE = "spare"
    SERVING = "serving"
    RETIRING = "retiring"
    STOPPING = "stopping"
    LOST = "lost"


# Events -----------------------------------------------------------------------------------------------------------


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

# Commands ---------------------------------------------------------------------------------------------------------


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


class _Slot(Entity):
    state: State = State.EMPTY
    tasks_left: float = NEVER
    start_at: float = 0.0
    kill_at: float = NEVER
    old_at: float = NEVER
    last: bool = False
    """Whether no other worker follows this one, which is about to end."""
    waits: bool = False
    """Its task waits for others, and it has left what else it had to them."""
    returns: int = 0
    """It would have a place again; the lower the number, the sooner."""
    goes_on: bool = False
    """It does not wait for that: its time was up."""

    @property
    def lends(self) -> bool:
        """Whether it does not count among those that serve, though it does."""
        return self.waits and self.state is State.SERVING


LEGAL: dict[type[Any], frozenset[State]] = {
    WorkerStarted: frozenset({State.STARTING, State.STOPPING}),
    WorkerReady: frozenset({State.STARTING, State.STOPPING}),
    TasksEnded: frozenset({State.SERVING, State.SPARE, State.RETIRING, State.STOPPING}),
    WorkerLeft: frozenset({State.SERVING, State.RETIRING, State.STOPPING}),
    WorkerStuck: frozenset(State) - {State.EMPTY, State.LOST},
    WorkerExited: frozenset(State) - {State.EMPTY},
    ReplacementRequested: frozenset(State) - {State.EMPTY},
    WaitBegun: frozenset({State.SERVING, State.RETIRING, State.STOPPING}),
    WaitEnded: frozenset({State.SERVING, State.RETIRING, State.STOPPING}),
    WorkerSpared: frozenset({State.SERVING}),
}
"""In which states of its slot an event may come; the rest is a defect."""


class Slots:
    """Keep as many workers serving as there should be; see the module."""

    def __init__(self, staffing: Staffing) -> None:
        self._staffing = staffing
        self._reserve = Reserve(staffing.standby, staffing.more)
        self._slots = {number: _Slot() for number in range(staffing.workers + self._reserve.wanted)}
        self._open = False
        self._failures = 0
        self._asked_room = self._returns = 0
        self._keep_until = -NEVER
        """So long no spare is too many."""
        self._moves: dict[type[Any], Callable[[Any, float], list[Command]]] = {
            Opened: self._opened,
            WorkerStarted: self._worker_started,
            WorkerReady: self._worker_ready,
            TasksEnded: self._tasks_ended,
            WorkerLeft: self._worker_left,
            WorkerStuck: self._worker_stuck,
            WorkerExited: self._worker_exited,
            ReplacementRequested: self._replacement_requested,
            WaitBegun: self._wait_begun,
            WaitEnded: self._wait_ended,
            WorkerSpared: self._worker_spared,
            DrainRequested: self._drain_requested,
            EndRequested: self._end_requested,
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
        before = self.serving()
        commands = self._moves[type(event)](event, now) + self._reconcile(now)
        if self._open and self.serving() < before:
            self._reserve.missed(now)
            commands += self._reconcile(now)
        return commands

    def tick(self, now: float) -> list[Command]:
        """Start what waited for its back-off, kill what was not ready or did not end in time, replace what is old."""
        self._reserve.tick(now)
        commands: list[Command] = []
        for number, slot in self._slots.items():
            if slot.kill_at <= now:
                slot.kill_at = NEVER
                commands.append(AbandonStart(number) if slot.state is State.STARTING else KillWorker(number))
            if slot.old_at <= now:
                slot.old_at = NEVER
                commands.append(ReplaceWorker(number))
        return commands + self._reconcile(now)

    def next_deadline(self) -> float:
        """Return the time at which `tick` has something to do."""
        due: list[float] = [s.start_at for s in self._slots.values() if s.state is State.EMPTY and self._open]
        due += [min(slot.kill_at, slot.old_at) for slot in self._slots.values()]
        if self._open and self._kept() > self._wanted() and self._count(State.SPARE):
            due.append(self._keep_until)
        return min(due, default=NEVER) if not self._open else min([*due, self._reserve.next_deadline()])

    def serving(self) -> int:
        """Return how many workers take work."""
        return self._count(State.SERVING) - self.lenders()

    def lenders(self) -> int:
        """Return how many workers have lent their places."""
        return sum([slot.lends for slot in self._slots.values()])

    def is_steady(self, number: int) -> bool:
        """Tell whether a worker serves without end, so that `TasksEnded` of it would change nothing."""
        slot = self._slots.get(number)
        return slot is not None and slot.state is State.SERVING and slot.tasks_left == NEVER

    def all_gone(self) -> bool:
        """Tell whether no process is left that could still end."""
        return self._count(State.EMPTY) + self.lost() == len(self._slots)

    def lost(self) -> int:
        """Return how many slots are held by processes that do not end."""
        return self._count(State.LOST)

    def _opened(self, event: Opened, now: float) -> list[Command]:
        self._open = True
        return []

    def _worker_started(self, event: WorkerStarted, now: float) -> list[Command]:
        slot = self._slots[event.slot]
        if slot.state is State.STARTING:
            slot.kill_at = now + self._staffing.start_timeout_s
        return []

    def _worker_ready(self, event: WorkerReady, now: float) -> list[Command]:
        self._failures = 0
        slot = self._slots[event.slot]
        if slot.state is State.STOPPING:
            return []  # it was asked to end while it started, and its word was on the way
        slot.state = State.SPARE
        slot.kill_at = NEVER
        self._reserve.got_ready(now - slot.start_at)
        spread = 1 + self._staffing.spread * (2 * event.chance - 1)
        slot.old_at = now + self._staffing.max_worker_age_s * spread
        if self._staffing.max_tasks_per_worker:
            slot.tasks_left = max(1, round(self._staffing.max_tasks_per_worker * spread))
        return []

    def _tasks_ended(self, event: TasksEnded, now: float) -> list[Command]:
        slot = self._slots[event.slot]
        slot.tasks_left -= event.tasks
        if slot.state is State.SERVING and slot.tasks_left <= 0:
            return self._retire(event.slot, idle=event.idle, now=now)
        worn_out = slot.state is State.SPARE and slot.tasks_left <= 0  # it was spared with its last task
        if worn_out or (slot.state is State.RETIRING and event.idle):
            return self._stop(event.slot, now)
        return []

    def _worker_left(self, event: WorkerLeft, now: float) -> list[Command]:
        slot = self._slots[event.slot]
        if slot.state is State.STOPPING:
            return []  # both had the same wish
        served = slot.state is State.SERVING
        self._stop(event.slot, now)
        return [Retire(event.slot)] if served else []

    def _worker_stuck(self, event: WorkerStuck, now: float) -> list[Command]:
        slot = self._slots[event.slot]
        start_at = self._next_start(slot, now)
        self._slots[event.slot] = _Slot(State.LOST)
        if not slot.last:
            self._add_slot(start_at)
        return []

    def _worker_exited(self, event: WorkerExited, now: float) -> list[Command]:
        slot = self._slots[event.slot]
        if slot.state is State.LOST or slot.last:
            del self._slots[event.slot]
        else:
            self._slots[event.slot] = _Slot(start_at=self._next_start(slot, now))
        return []

    def _next_start(self, ended: _Slot, now: float) -> float:
        """Return when the next worker may start in place of one that has ended."""
        # A spare has no task to blame: without a pause, one that dies at once would be started without end.
        if ended.state not in (State.STARTING, State.SPARE):
            return now
        # 2 ** failures overflows a float after 1,024 of them; the longest wait is reached long before.
        self._failures += 1
        backoff_s: float = FIRST_BACKOFF_S * 2 ** min(self._failures - 1, 16)
        return now + min(backoff_s, LONGEST_BACKOFF_S)

    def _add_slot(self, start_at: float) -> None:
        numbers = self._staffing.numbers()
        number = next((number for number in numbers if number not in self._slots), None)
        if number is not None:
            self._slots[number] = _Slot(start_at=start_at)

    def _replacement_requested(self, event: ReplacementRequested, now: float) -> list[Command]:
        state = self._slots[event.slot].state
        if state is State.SERVING:
            return self._retire(event.slot, idle=event.idle, now=now)
        return self._stop(event.slot, now) if state in (State.STARTING, State.SPARE) else []

    def _wait_begun(self, event: WaitBegun, now: float) -> list[Command]:
        slot = self._slots[event.slot]
        if self.lenders() >= self._staffing.lenders and not slot.lends:
            return [Deny(event.slot)]
        slot.waits, slot.returns, slot.goes_on = True, 0, False
        return [Lend(event.slot)]

    def _wait_ended(self, event: WaitEnded, now: float) -> list[Command]:
        slot = self._slots[event.slot]
        if not slot.waits:
            return []  # it was denied, and had what it waited for before it knew
        if not slot.lends:  # who retires has a place of its own
            slot.waits = False
            return [Resume(event.slot), Regain(event.slot)]
        if not slot.returns:
            self._returns += 1
            slot.returns = self._returns
        if not event.at_once or slot.goes_on:
            return []
        slot.goes_on = True
        return [Resume(event.slot)]

    def _regain(self, number: int) -> list[Command]:
        """Have a worker that would go on have a place."""
        slot = self._slots[number]
        goes_on = slot.goes_on
        slot.waits, slot.returns, slot.goes_on = False, 0, False
        return [*([] if goes_on else [Resume(number)]), Regain(number)]

    def _worker_spared(self, event: WorkerSpared, now: float) -> list[Command]:
        self._slots[event.slot].state = State.SPARE
        self._keep_until = now + KEEP_S
        return []

    def _drain_requested(self, event: DrainRequested, now: float) -> list[Command]:
        self._open = False
        commands: list[Command] = []
        for number, slot in self._slots.items():
            if slot.state is State.SERVING:
                commands += self._retire(number, idle=number in event.idle, now=now)
            elif slot.state in (State.STARTING, State.SPARE):
                commands += self._stop(number, now)
        return commands

    def _end_requested(self, event: EndRequested, now: float) -> list[Command]:
        self._open = False
        commands: list[Command] = []
        for number, slot in self._slots.items():
            if slot.state is State.SPARE or (slot.state is State.SERVING and number in event.idle):
                commands += self._stop(number, now)
            elif slot.state in (State.STARTING, State.SERVING, State.RETIRING):
                slot.state, slot.kill_at, slot.old_at = State.STOPPING, NEVER, NEVER
                slot.waits, slot.returns, slot.goes_on = False, 0, False
                commands.append(KillWorker(number))
        return commands

    def _retire(self, number: int, *, idle: bool, now: float) -> list[Command]:
        slot = self._slots[number]
        resumed = self._regain(number) if slot.returns else []
        slot.state, slot.old_at = State.RETIRING, NEVER
        return [*resumed, Retire(number), *(self._stop(number, now) if idle else [])]

    def _stop(self, number: int, now: float) -> list[Command]:
        slot = self._slots[number]
        slot.state, slot.old_at = State.STOPPING, NEVER
        slot.kill_at = now + self._staffing.end_timeout_s
        return [StopWorker(number)]

    def _reconcile(self, now: float) -> list[Command]:
        """Compare what there is with what there should be."""
        if not self._open:
            return []
        served = self._resume_those_who_wait()
        self._drop_empty()
        for _ in range(self._wanted() - self._kept()):
            self._add_slot(now)
        others: list[Command] = []
        for number, slot in self._slots.items():
            if slot.state is State.EMPTY and slot.start_at <= now:
                slot.state, slot.start_at = State.STARTING, now
                others.append(StartWorker(number))
            elif slot.state is State.SPARE and self.serving() < self._staffing.workers:
                slot.state = State.SERVING
                served.append(Serve(number))
            elif slot.state is State.SPARE and self._kept() > self._wanted() and now >= self._keep_until:
                slot.last = True
                others += self._stop(number, now)
        return served + others  # tasks may wait for the first; nobody for the others

    def _resume_those_who_wait(self) -> list[Command]:
        """Give places that are free to workers that would go on, before others; ask for as many as are missing."""
        commands: list[Command] = []
        returning = sorted((slot.returns, number) for number, slot in self._slots.items() if slot.returns)
        while returning and self.serving() < self._staffing.workers:
            commands += self._regain(returning.pop(0)[1])
        if len(returning) != self._asked_room:
            self._asked_room = len(returning)
            commands.append(MakeRoom(self._asked_room))
        return commands

    def _drop_empty(self) -> None:
        """Start nobody in place of those that are not missed: who had lent its place was one too many."""
        for number in [number for number, slot in self._slots.items() if slot.state is State.EMPTY]:
            if self._kept() > self._wanted():
                del self._slots[number]

    def _wanted(self) -> int:
        """Return how many workers there should be."""
        return self._staffing.workers + self._reserve.wanted + self.lenders()

    def _kept(self) -> int:
        """Return how many slots have a worker, or will have one again."""
        return sum(1 for slot in self._slots.values() if slot.state is not State.LOST and not slot.last)

    def _count(self, state: State) -> int:
        return sum(1 for slot in self._slots.values() if slot.state is state)

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        assert self.serving() <= self._staffing.workers, repr(self)
        spares = self._open and self._count(State.SPARE)
        assert not (spares and self.serving() < self._staffing.workers), repr(self)
        waiting = self._open and any(slot.returns for slot in self._slots.values())
        assert not (waiting and self.serving() < self._staffing.workers), repr(self)
        assert self.lenders() <= self._staffing.lenders, repr(self)
        assert set(self._slots) <= set(self._staffing.numbers()), repr(self)
        all_taken = len(self._slots) == len(self._staffing.numbers())
        assert self._kept() >= self._wanted() or all_taken or not self._open, repr(self)
        for slot in self._slots.values():
            assert slot.kill_at == NEVER or slot.state in (State.STARTING, State.STOPPING), repr(self)
            assert not slot.last or slot.state is State.STOPPING, repr(self)
            assert slot.old_at == NEVER or slot.state in (State.SPARE, State.SERVING), repr(self)
            assert slot.lends or not slot.returns, repr(self)
            assert slot.returns or not slot.goes_on, repr(self)
            assert not slot.waits or slot.state in (State.SERVING, State.RETIRING, State.STOPPING), repr(self)

    def __repr__(self) -> str:
        states = " ".join(f"{n}:{slot.state}{' lent' if slot.lends else ''}" for n, slot in self._slots.items())
        return f"<Slots {states} failures={self._failures}>"
