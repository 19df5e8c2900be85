"""What a node decides about its worker processes: which to start, to let serve, to stop and to kill.

Owns the life of each slot. Compares, at every turn, the workers there are with those there should be, and returns
what closes the gap. Knows no process: `processes/workforce.py` carries it out, `node/` stands between.

    EMPTY --StartWorker--> STARTING --ready--> SPARE --Serve--> SERVING --Retire--> RETIRING --StopWorker--> STOPPING
      ^                       |                  |                 |                                            |
      +------- exited --------+------------------+-----------------+------------ exited (or killed) ------------+

One slot more than there are workers keeps a hot standby (SPARE): where a serving worker ends, it takes over at once.
Where a serving worker ends and no standby is ready, one more is kept for a while (`reserve.py`).
A serving worker whose task waits for tasks of its own *lends* its place (`lending.py`), and another one is started. It
goes on when there is a place again: that of a worker that has become idle, which is a spare then. So nothing that waits
keeps others from what it waits for. Spares beyond those there should be end after a while.

A worker that leaves by its own wish is STOPPING from then on. One that was killed and does not end is stuck in the
kernel: its slot is LOST until it ends after all, and another number takes its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines.lending import Lending
from zmqtasks.machines.reserve import KEEP_S, Reserve
from zmqtasks.machines.slots_moves import (
    AbandonStart,
    Command,
    DrainRequested,
    EndRequested,
    Event,
    KillWorker,
    Opened,
    ReplacementRequested,
    ReplaceWorker,
    Retire,
    Serve,
    StartWorker,
    StopWorker,
    TasksEnded,
    WaitBegun,
    WaitEnded,
    WorkerExited,
    WorkerLeft,
    WorkerReady,
    WorkerSpared,
    WorkerStarted,
    WorkerStuck,
)
from zmqtasks.machines.staffing import NEVER, Slot, Staffing, State

FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 10.0

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
        self._slots = {number: Slot() for number in range(staffing.workers + self._reserve.wanted)}
        self._lending = Lending(self._slots, staffing.lenders)
        self.lenders = self._lending.lenders
        self._open = False
        self._failures = 0
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
        self._slots[event.slot] = Slot(State.LOST)
        if not slot.last:
            self._add_slot(start_at)
        return []

    def _worker_exited(self, event: WorkerExited, now: float) -> list[Command]:
        slot = self._slots[event.slot]
        if slot.state is State.LOST or slot.last:
            del self._slots[event.slot]
        else:
            self._slots[event.slot] = Slot(start_at=self._next_start(slot, now))
        return []

    def _next_start(self, ended: Slot, now: float) -> float:
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
            self._slots[number] = Slot(start_at=start_at)

    def _replacement_requested(self, event: ReplacementRequested, now: float) -> list[Command]:
        state = self._slots[event.slot].state
        if state is State.SERVING:
            return self._retire(event.slot, idle=event.idle, now=now)
        return self._stop(event.slot, now) if state in (State.STARTING, State.SPARE) else []

    def _wait_begun(self, event: WaitBegun, now: float) -> list[Command]:
        return self._lending.begin(event.slot)

    def _wait_ended(self, event: WaitEnded, now: float) -> list[Command]:
        return self._lending.end(event.slot, at_once=event.at_once)

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
                slot.end_wait()
                commands.append(KillWorker(number))
        return commands

    def _retire(self, number: int, *, idle: bool, now: float) -> list[Command]:
        slot = self._slots[number]
        resumed = self._lending.regain(number) if slot.returns else []
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
        served = self._lending.give_places(self._staffing.workers - self.serving())
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
        self._lending.check()
        assert set(self._slots) <= set(self._staffing.numbers()), repr(self)
        all_taken = len(self._slots) == len(self._staffing.numbers())
        assert self._kept() >= self._wanted() or all_taken or not self._open, repr(self)
        for slot in self._slots.values():
            assert slot.kill_at == NEVER or slot.state in (State.STARTING, State.STOPPING), repr(self)
            assert not slot.last or slot.state is State.STOPPING, repr(self)
            assert slot.old_at == NEVER or slot.state in (State.SPARE, State.SERVING), repr(self)
            assert not slot.waits or slot.state in (State.SERVING, State.RETIRING, State.STOPPING), repr(self)

    def __repr__(self) -> str:
        states = " ".join(f"{n}:{slot.state}{' lent' if slot.lends else ''}" for n, slot in self._slots.items())
        return f"<Slots {states} failures={self._failures}>"
