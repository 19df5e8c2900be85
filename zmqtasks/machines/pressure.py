"""What a node does when its memory runs short: start less, replace what leaks, stop what is too much.

Owns two marks and what follows from them. Knows no process and reads no figure itself: `memory_watch.py` tells what is
used of how much and by which worker, carries out what comes back, and looks again when `next_deadline` says so.

    OPEN --above the pause mark--> PAUSED --below it again--> OPEN          above the stop mark: somebody has to go

Who goes: a task that is over the mark even if all others were gone, and the only one that runs, are to blame and end
as such (`Condemn`). Otherwise the youngest that may be run again, and that holds enough to make a difference, goes back
to the queue, unpunished (`Sacrifice`). What must not be run twice goes last, and the largest of it first. Nobody goes
where that would not help, as when another program has taken the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from zmqtasks.errors import LocalProtocolError
from zmqtasks.records import Value

LOOK_S = 0.2
"""How often memory is looked at while something runs."""
LOOK_SOON_S = 0.05
"""The same above the pause mark, and at first."""
LOOK_LEAST_S = 0.01
"""Memory fills at up to several GB/s: after a fast growth the next look is as soon as this."""
FILL_BYTES_S = 4e9
"""So fast memory may fill from one look to the next, even where it did not grow before."""
STUCK_S = 5.0
"""The memory of a worker that is being killed counts as free for so long."""
RESUME_PART = 0.02
"""So much of the limit below the pause mark starts resume, lest they flutter."""


class Task(NamedTuple):
    """What a worker runs: the dispatch and the number of the task."""

    attempt: int
    number: int


class WorkerSeen(Value):
    """A worker that serves, and what it holds with all it started."""

    slot: int
    memory_bytes: int
    task: Task | None = None
    since: float = 0.0
    """When it began the task."""
    retriable: bool = True


# Events -----------------------------------------------------------------------------------------------------------


class WorkBegun(Value):
    """A worker was given work."""


class MemorySeen(Value):
    """So much is used of so much; `busy` where any worker has work, `waiting` where work waits for room."""

    used_bytes: int
    limit_bytes: int
    workers: tuple[WorkerSeen, ...] = ()
    busy: bool = True
    waiting: bool = False


class WorkerGone(Value):
    """The worker of a slot has ended, whatever for."""

    slot: int


class WorkerSpared(Value):
    """A worker that was condemned lives on: its task ended in the last moment."""

    slot: int


Event = WorkBegun | MemorySeen | WorkerGone | WorkerSpared

# Commands ---------------------------------------------------------------------------------------------------------


class Admit(Value):
    """Start nothing more while `paused`, unless nothing runs; what needs more than `room_bytes` has to wait.

    `most_bytes` is the room there is at best: what needs more can only be run alone.
    """

    paused: bool
    room_bytes: int
    most_bytes: int


class Replace(Value):
    """The worker of this slot holds more than its share: replace it after its task."""

    slot: int


class Sacrifice(Value):
    """Stop the worker of this slot; its task is run again later, unpunished."""

    slot: int
    memory_bytes: int


class Condemn(Value):
    """Stop the worker of this slot over its task, which ends with an error."""

    slot: int
    task: Task
    memory_bytes: int


Command = Admit | Replace | Sacrifice | Condemn


class Pressure:
    """Keep the memory of a node below its limit; see the module.

    Args:
        pause: part of the limit above which nothing new is started.
        stop: part of the limit above which something is stopped.
        workers: how many workers share the memory.
        fill_bytes_s: how fast memory may fill all of a sudden.
    """

    def __init__(self, pause: float, stop: float, workers: int, *, fill_bytes_s: float = FILL_BYTES_S) -> None:
        self._fill_bytes_s = fill_bytes_s
        self._pause, self._stop, self._workers = pause, stop, workers
        self._paused = False
        self._look_at = float("inf")
        self._rest_until = float("-inf")
        """A look that found nobody at work holds until then, also for work that begins meanwhile."""
        self._earlier: tuple[float, int] | None = None
        self._ending: dict[int, float] = {}
        self._replaced: set[int] = set()
        self._moves: dict[type[Any], Callable[[Any, float], list[Command]]] = {
            WorkBegun: self._work_begun,
            MemorySeen: self._memory_seen,
            WorkerGone: self._worker_gone,
            WorkerSpared: self._worker_spared,
        }

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; return what to do, in order.

        Raises:
            LocalProtocolError: a worker is spared that was not to end.
        """
        return self._moves[type(event)](event, now)

    def tick(self, now: float) -> list[Command]:
        """Nothing is due but a look, and that is an event."""
        return []

    def next_deadline(self) -> float:
        """Return when memory has to be looked at; infinity while nothing runs."""
        return self._look_at

    def is_ending(self, slot: int) -> bool:
        """Tell whether the worker of a slot is being stopped."""
        return slot in self._ending

    def _work_begun(self, event: WorkBegun, now: float) -> list[Command]:
        self._look_at = min(self._look_at, max(now, self._rest_until))
        return []

    def _worker_gone(self, event: WorkerGone, now: float) -> list[Command]:
        self._ending.pop(event.slot, None)
        self._replaced.discard(event.slot)
        return []

    def _worker_spared(self, event: WorkerSpared, now: float) -> list[Command]:
        if event.slot not in self._ending:
            raise LocalProtocolError(f"{event} is not legal in {self!r}")
        del self._ending[event.slot]
        return []

    def _memory_seen(self, event: MemorySeen, now: float) -> list[Command]:
        ending = {slot for slot, since in self._ending.items() if now - since < STUCK_S}
        used = event.used_bytes - sum(worker.memory_bytes for worker in event.workers if worker.slot in ending)
        pause, stop = self._pause * event.limit_bytes, self._stop * event.limit_bytes
        self._plan_look(event.busy, used, pause, stop, now)
        commands: list[Command] = []
        running = [worker for worker in event.workers if worker.task and worker.slot not in self._ending]
        while used > stop and sum(worker.memory_bytes for worker in running) >= used - stop:
            victim, command = _choose(running, used, pause, stop)
            self._ending[victim.slot] = now
            running.remove(victim)
            used -= victim.memory_bytes
            commands.append(command)
        leaky = self._replace_large(event.workers, used, pause)
        return commands + leaky + self._admit(event, used, pause, changed=bool(commands))

    def _plan_look(self, busy: bool, used: int, pause: float, stop: float, now: float) -> None:
        """Come back the sooner, the faster memory fills: before it can have filled half of what is left."""
        earlier, self._earlier = self._earlier, (now, used) if busy else None
        interval_s = LOOK_SOON_S if used > pause or earlier is None else LOOK_S
        left_bytes = max(0.0, stop - used)
        interval_s = min(interval_s, left_bytes / self._fill_bytes_s)
        if not busy:
            # Tasks that come one by one, each as the last has ended, must not cost a look each.
            self._look_at, self._rest_until = float("inf"), now + max(interval_s, LOOK_LEAST_S)
            return
        if earlier is not None and used > earlier[1]:
            interval_s = min(interval_s, left_bytes * (now - earlier[0]) / (used - earlier[1]) / 2)
        self._look_at = now + max(interval_s, LOOK_LEAST_S)

    def _replace_large(self, workers: Sequence[WorkerSeen], used: int, pause: float) -> list[Command]:
        """Let workers that hold more than their share end after their task: it may have leaked."""
        if used <= pause:
            return []
        leaving = self._replaced | self._ending.keys()
        large = [w.slot for w in workers if w.memory_bytes > pause / self._workers and w.slot not in leaving]
        self._replaced.update(large)
        return [Replace(slot) for slot in large]

    def _admit(self, event: MemorySeen, used: int, pause: float, *, changed: bool) -> list[Command]:
        earlier = self._paused
        # What was just stopped has not gone yet: whatever the sum says, the next look decides.
        self._paused = changed or used > pause - (RESUME_PART * event.limit_bytes if earlier else 0)
        if self._paused == earlier and not changed and not event.waiting:
            return []
        return [Admit(self._paused, max(0, int(pause - used)), int(pause))]

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        assert 0 < self._pause <= self._stop <= 1, repr(self)
        assert self._earlier is None or self._look_at < float("inf"), repr(self)

    def __repr__(self) -> str:
        state = "paused" if self._paused else "open"
        return f"<Pressure {state} ending={sorted(self._ending)} replaced={sorted(self._replaced)}>"


def _choose(running: list[WorkerSeen], used: int, pause: float, stop: float) -> tuple[WorkerSeen, Command]:
    """Return who goes first, and how."""
    largest = max(running, key=lambda worker: worker.memory_bytes)
    retriable = [worker for worker in running if worker.retriable]
    others = used - sum(worker.memory_bytes for worker in running)
    too_large = others <= pause and others + largest.memory_bytes > stop
    if len(running) == 1 or not retriable or (too_large and largest.retriable):
        assert largest.task is not None
        return largest, Condemn(largest.slot, largest.task, largest.memory_bytes)
    share = (used - pause) / len(running)
    helping = [worker for worker in retriable if worker.memory_bytes >= share] or retriable
    youngest = max(helping, key=lambda worker: worker.since)
    return youngest, Sacrifice(youngest.slot, youngest.memory_bytes)
