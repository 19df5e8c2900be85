"""What a node decides about a worker whose task has limits: when to look, to interrupt it, and to kill it.

Owns, for each slot, what was seen of it and how far its end has come. Told what others have seen; knows no process and
reads no clock. Called by `overseer.py`.

    WATCHED --late, with grace--> INTERRUPTED --grace over--> DUMPED --stack---> KILLED --exited--> gone
     ^ | |                             |                       ^ |                ^
     | | +---- late, without grace ----|-----------------------+ |                |
     | +------ too much memory --------|-------------------------|----------------+
     +-------- it ended, or showed progress --------------------+

A task is the victim only while its worker is still at it: chunk, index and phase are compared each time.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines.phases import WorkPhase
from zmqtasks.machines.watch_moves import (
    Command,
    Doing,
    DumpStack,
    Event,
    Interrupt,
    Kill,
    Limit,
    Look,
    MeasureMemory,
    MemoryMeasured,
    Place,
    Sentence,
    WorkBegun,
    WorkerExited,
    WorkerIdle,
    WorkerSeen,
)
from zmqtasks.options import TaskOptions
from zmqtasks.records import Entity, field

MEMORY_LOOK_S = 0.1
"""How often memory is looked at while a task with a limit runs: some 50 us a worker each time."""
STACK_DUMP_S = 0.1
"""How long a worker gets to write down where it is before it is killed."""
STACK_LOOK_S = 0.005
"""How often it is looked at whether it has: a stack that has not grown since the last look is complete."""
MEASURE_AGAIN_S = 1.0
"""After memory that was suspected and is not there, it is measured again only after so long,"""
MEASURE_AGAIN_GROWTH = 1.05
"""or when it has grown by so much: to measure costs up to 10 ms a process."""
SECOND_LOOK_S = 0.05
"""A worker that loads or packs is judged only when it is at it at a second look, too: it may have waited for us."""
IMPORT_S = 30.0
"""How long the function may take to be imported where `timeout` is shorter: that is not the doing of the task."""
NEVER = float("inf")


class State(StrEnum):
    """How far the end of a worker has come."""

    WATCHED = "watched"
    INTERRUPTED = "interrupted"
    DUMPED = "dumped"
    KILLED = "killed"


class _Slot(Entity):
    state: State = State.WATCHED
    look_at: float = NEVER
    until: float = NEVER
    """INTERRUPTED and DUMPED: when the next step is due."""
    sentence: Sentence | None = None
    stack_bytes: int = 0
    """DUMPED: what it had written down at the last look."""
    interrupted: Sentence | None = None
    """Of the task it was last interrupted for, which gets no second grace."""
    seen: WorkerSeen | None = None
    doubted: tuple[Place, float] | None = None
    """Where it loads or packs beyond its limit, and from when on that counts."""
    measured: tuple[int, float] = field(default=(0, -NEVER))
    """Memory that was suspected and not confirmed, and when."""


LEGAL: dict[type[Any], frozenset[State]] = {
    WorkBegun: frozenset(State),
    WorkerSeen: frozenset(State) - {State.KILLED},
    MemoryMeasured: frozenset(State) - {State.KILLED},
    WorkerIdle: frozenset(State) - {State.KILLED},
    WorkerExited: frozenset(State),
}
"""In which states of its slot an event may come; the rest is a defect."""


def has_limits(options: TaskOptions) -> bool:
    """Tell whether tasks with these options have to be watched."""
    return options.timeout is not None or options.max_memory is not None or options.stall_timeout is not None


class Watch:
    """Decide about workers whose tasks have limits; see the module."""

    def __init__(self) -> None:
        self._slots: dict[int, _Slot] = {}
        self._moves: dict[type[Any], Callable[[Any, _Slot, float], list[Command]]] = {
            WorkBegun: self._work_begun,
            WorkerSeen: self._worker_seen,
            MemoryMeasured: self._memory_measured,
            WorkerIdle: self._worker_idle,
            WorkerExited: self._worker_exited,
        }

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; return what to do, in order.

        Raises:
            LocalProtocolError: the event is not legal in the state of its slot.
        """
        slot = self._slots.get(event.slot)
        if isinstance(event, WorkBegun):
            slot = self._slots.setdefault(event.slot, _Slot())
        elif isinstance(event, WorkerExited):
            slot = slot or _Slot()
        if slot is None or slot.state not in LEGAL[type(event)]:
            raise LocalProtocolError(f"{event} is not legal in {self!r}")
        return self._moves[type(event)](event, slot, now)

    def tick(self, now: float) -> list[Command]:
        """Return which workers to look at now; each look is answered by `WorkerSeen` or `WorkerIdle`."""
        due = [number for number, slot in sorted(self._slots.items()) if slot.look_at <= now]
        for number in due:
            self._slots[number].look_at = NEVER
        return [Look(number) for number in due]

    def next_deadline(self) -> float:
        """Return the time at which `tick` has something to do."""
        return min((slot.look_at for slot in self._slots.values()), default=NEVER)

    def sentence(self, slot: int) -> Sentence | None:
        """Return why the worker of a slot was killed, if it was."""
        watched = self._slots.get(slot)
        return watched.sentence if watched and watched.state is State.KILLED else None

    def _work_begun(self, event: WorkBegun, slot: _Slot, now: float) -> list[Command]:
        if slot.state is not State.KILLED:
            slot.look_at = min(slot.look_at, _next_look(event.options, None, now))
        return []

    def _worker_idle(self, event: WorkerIdle, slot: _Slot, now: float) -> list[Command]:
        del self._slots[event.slot]
        return []

    def _worker_exited(self, event: WorkerExited, slot: _Slot, now: float) -> list[Command]:
        self._slots.pop(event.slot, None)
        return []

    def _worker_seen(self, event: WorkerSeen, slot: _Slot, now: float) -> list[Command]:
        slot.seen = event
        late = self._late(event, slot, now)
        commands: list[Command] = []
        if slot.state is not State.WATCHED:
            commands = self._go_on(event, slot, late, now)
        elif late:
            commands = self._begin_end(event, slot, late, now)
        if slot.state is not State.KILLED:
            slot.look_at = min(slot.until, _next_look(event.options, event.doing, now))
            if slot.state is State.DUMPED:
                slot.look_at = min(slot.look_at, now + STACK_LOOK_S)
            if slot.doubted and slot.state is State.WATCHED:
                slot.look_at = min(slot.look_at, slot.doubted[1])
            if self._suspects_memory(event, slot, now):
                commands.append(MeasureMemory(event.slot))
        return commands

    def _late(self, event: WorkerSeen, slot: _Slot, now: float) -> Sentence | None:
        """Return what can be said against the task a worker is at, of its time."""
        options, doing = event.options, event.doing
        doubted, slot.doubted = slot.doubted, None
        timeout, stall = _timeout(options, doing.place.phase), options.stall_timeout
        if timeout is not None and doing.place.phase is not WorkPhase.IDLE and now >= doing.since + timeout:
            if doing.place.phase is not WorkPhase.RUNNING:
                slot.doubted = doubted if doubted and doubted[0] == doing.place else (doing.place, now + SECOND_LOOK_S)
            if slot.doubted is None or now >= slot.doubted[1]:
                return Sentence(Limit.TIMEOUT, doing, timeout, now - doing.since)
        if stall is not None and doing.place.phase is WorkPhase.RUNNING and now >= _shown(doing) + stall:
            return Sentence(Limit.STALL, doing, stall, now - _shown(doing))
        return None

    def _begin_end(self, event: WorkerSeen, slot: _Slot, late: Sentence, now: float) -> list[Command]:
        grace, place = event.options.grace, late.doing.place
        had_grace = slot.interrupted is not None and slot.interrupted.doing.place == place
        if grace is None or had_grace or place.phase is not WorkPhase.RUNNING:
            return self._dump(event.slot, slot, late, now)
        slot.state, slot.sentence, slot.until = State.INTERRUPTED, late, now + grace
        slot.interrupted = late
        return [Interrupt(event.slot, place, late.limit)]

    def _dump(self, number: int, slot: _Slot, sentence: Sentence, now: float) -> list[Command]:
        slot.state, slot.sentence, slot.until = State.DUMPED, sentence, now + STACK_DUMP_S
        slot.stack_bytes = 0
        return [DumpStack(number)]

    def _go_on(self, event: WorkerSeen, slot: _Slot, late: Sentence | None, now: float) -> list[Command]:
        """Take the next step towards the end, unless the task has ended, or shows progress again."""
        sentence = slot.sentence
        assert sentence is not None
        ended = sentence.doing.place != event.doing.place
        if ended or (late is None and slot.state is State.DUMPED and sentence.grace is None):
            slot.state, slot.sentence, slot.until = State.WATCHED, None, NEVER
            return self._begin_end(event, slot, late, now) if late else []
        earlier, slot.stack_bytes = slot.stack_bytes, event.stack_bytes
        written = slot.state is State.DUMPED and 0 < earlier == event.stack_bytes
        if now < slot.until and not written:
            return []
        if slot.state is State.INTERRUPTED:
            graced = Sentence(sentence.limit, event.doing, sentence.bound, sentence.amount, event.options.grace)
            return self._dump(event.slot, slot, graced, now)
        return self._kill(event.slot, slot, sentence)

    @staticmethod
    def _kill(number: int, slot: _Slot, sentence: Sentence) -> list[Command]:
        slot.state, slot.sentence = State.KILLED, sentence
        slot.until = slot.look_at = NEVER
        return [Kill(number, sentence)]

    @staticmethod
    def _suspects_memory(event: WorkerSeen, slot: _Slot, now: float) -> bool:
        most = event.options.max_memory
        if most is None or event.memory_bytes <= most or event.doing.place.phase is WorkPhase.IDLE:
            return False
        suspected, at = slot.measured
        return event.memory_bytes >= suspected * MEASURE_AGAIN_GROWTH or now >= at + MEASURE_AGAIN_S

    def _memory_measured(self, event: MemoryMeasured, slot: _Slot, now: float) -> list[Command]:
        seen = slot.seen
        assert seen is not None
        most = seen.options.max_memory
        assert most is not None
        if event.memory_bytes > most and event.doing.place.phase is not WorkPhase.IDLE:
            sentence = Sentence(Limit.MEMORY, event.doing, most, event.memory_bytes)
            return self._kill(event.slot, slot, sentence)
        slot.measured = seen.memory_bytes, now
        return []

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        for slot in self._slots.values():
            assert (slot.sentence is None) == (slot.state is State.WATCHED), repr(self)
            assert (slot.until < NEVER) == (slot.state in (State.INTERRUPTED, State.DUMPED)), repr(self)
            assert slot.state is not State.KILLED or slot.look_at == NEVER, repr(self)

    def __repr__(self) -> str:
        return f"<Watch {' '.join(f'{number}:{slot.state}' for number, slot in sorted(self._slots.items()))}>"


def _timeout(options: TaskOptions, phase: WorkPhase) -> float | None:
    importing = phase is WorkPhase.IMPORTING
    return max(options.timeout, IMPORT_S) if importing and options.timeout is not None else options.timeout


def _shown(doing: Doing) -> float:
    """Return when a task last showed progress; that it began counts."""
    return doing.since if doing.renewed is None else max(doing.since, doing.renewed)


def _next_look(options: TaskOptions, doing: Doing | None, now: float) -> float:
    """Return when a limit can be reached next; a task that has not begun begins now at the earliest."""
    due = NEVER if options.max_memory is None else now + MEMORY_LOOK_S
    # Who is idle may begin a task at once, and so may who imports.
    pending = doing is None or doing.place.phase in (WorkPhase.IDLE, WorkPhase.IMPORTING)
    since = now if doing is None or pending else doing.since
    if options.timeout is not None:
        end = since + options.timeout
        due = min(due, end if end > now else now + STACK_DUMP_S)
    if options.stall_timeout is not None:
        running = doing is not None and doing.place.phase is WorkPhase.RUNNING
        end = (_shown(doing) if doing and running else now) + options.stall_timeout
        due = min(due, end if end > now else now + STACK_DUMP_S)
    return due
