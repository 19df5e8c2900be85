"""The eyes and the hand of `machines/watch.py`: looks at workers whose tasks have limits, signals them, kills them.

Owns the timer of the watch, and the words for what ended by it. Decides nothing, and starts no worker. `shell.py` tells
it when a worker has come to something, and asks it why one has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from zmqtasks.errors import MemoryLimitExceeded, TaskTimeout, ZmqtasksError
from zmqtasks.machines import watch_moves as moves
from zmqtasks.machines.phases import WorkPhase
from zmqtasks.machines.watch import NEVER, Watch, has_limits
from zmqtasks.machines.watch_moves import Doing, Limit, Place, Sentence
from zmqtasks.messages import Job, OutcomeKind, PeerId
from zmqtasks.peer import Loop, Timer
from zmqtasks.processes.events import WorkerExited
from zmqtasks.processes.loops import GRANULE_NS
from zmqtasks.processes.progress import Progress
from zmqtasks.processes.running import how_far

PARTIAL_S = 0.1
"""How old the sum of what running tasks have told of their progress may be."""


class Watched(Protocol):
    """Workers, as far as they are watched."""

    def progress(self, slot: int) -> Progress:
        """Return what a worker is doing."""

    def memory(self, slot: int) -> int:
        """Return the resident bytes of a worker and all it started; what they share counts more than once."""

    def unique_memory(self, slot: int) -> int:
        """Return the bytes of a worker and all it started, each page once."""

    def interrupt(self, slot: int, chunk: int, index: int, *, stalled: bool) -> None:
        """Have a worker raise in the task it is at, if it still is at it."""

    def dump_stack(self, slot: int) -> bool:
        """Let a worker write down where it is."""

    def stack_bytes(self, slot: int) -> int:
        """Return how much it has written down since it was asked; 0 where it was not, or does not answer."""

    def kill(self, slot: int) -> None:
        """End a worker and its children by force."""


class Verdict(NamedTuple):
    """What a worker was killed for; without an error its task had ended by then, and what it ran is innocent."""

    kind: OutcomeKind
    error: ZmqtasksError | None


class Overseer:
    """Hold workers to the limits of their tasks.

    Args:
        loop: what happens here happens in its thread.
        node: peer id, which goes into errors.
        workers: all of them.
        running: returns the job a worker is at, or None.
    """

    def __init__(self, loop: Loop, node: PeerId, workers: Watched, running: Callable[[int], Job | None]) -> None:
        self._loop = loop
        self._node = node
        self._workers = workers
        self._running = running
        self._watch = Watch()
        self._timer: Timer | None = None
        self._timer_at = NEVER
        self._condemned: dict[int, tuple[Place, MemoryLimitExceeded]] = {}
        self._closed = False
        self._partial = 0.0
        self._partial_at = -NEVER

    def work_begun(self, slot: int) -> None:
        """Take note that a worker was given work, or has come to another chunk of it."""
        job = self._running(slot)
        if job is not None and has_limits(job.options):
            self._tell(moves.WorkBegun(slot, job.options))

    def condemn(self, slot: int, attempt: int, index: int, error: MemoryLimitExceeded) -> bool:
        """Kill a worker over this task, which its node has no memory for; return False where it has ended already."""
        place = _place(self._workers.progress(slot))
        if (place.attempt, place.task) != (attempt, index) or place.phase is WorkPhase.IDLE:
            return False
        self._condemned[slot] = place, error
        self._workers.kill(slot)
        return True

    def worker_exited(self, event: WorkerExited, output: str) -> Verdict | None:
        """Return what the worker was killed for, or None where that was not done here.

        Args:
            event: its end.
            output: what it printed last.
        """
        sentence = self._watch.sentence(event.slot)
        self._tell(moves.WorkerExited(event.slot))
        if condemned := self._condemned.pop(event.slot, None):
            return self._told(*condemned, event, output)
        if sentence is None:
            return None
        kind = OutcomeKind.OUT_OF_MEMORY if sentence.limit is Limit.MEMORY else OutcomeKind.TIMEOUT
        if sentence.doing.place != _place(event.progress):
            return Verdict(kind, None)
        return Verdict(kind, self._explain(sentence, event, output))

    def partial(self, slots: list[int]) -> float:
        """Return how much of the tasks that run on these workers is done, in tasks, as they told."""
        now = self._loop.time()
        if not self._closed and now - self._partial_at >= PARTIAL_S:
            self._partial, self._partial_at = sum(map(self._partial_of, slots)), now
        return self._partial

    def _partial_of(self, slot: int) -> float:
        if self._running(slot) is None:
            return 0.0
        progress = self._workers.progress(slot)
        told = progress.total and progress.phase is WorkPhase.RUNNING
        return min(1.0, progress.done / progress.total) if told else 0.0

    def close(self) -> None:
        """Look no more: the workers may be gone; idempotent."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
            self._timer = None

    # The watch

    def _tell(self, event: moves.Event) -> None:
        self._carry_out_all(self._watch.handle(event, self._loop.time()))

    def _tick(self) -> None:
        self._timer, self._timer_at = None, NEVER
        self._carry_out_all(self._watch.tick(self._loop.time()))

    def _carry_out_all(self, commands: Sequence[moves.Command]) -> None:
        """Carry out commands and what follows from them, and come back when there is more to do."""
        while commands:
            commands = [more for command in commands for more in self._carry_out(command)]
        self._rearm()

    def _rearm(self) -> None:
        """Come back at the next deadline; a timer that fires too early does no harm, and costs less than a new one."""
        deadline = self._watch.next_deadline()
        if deadline < self._timer_at:
            if self._timer:
                self._timer.cancel()
            self._timer, self._timer_at = self._loop.call_at(deadline, self._tick), deadline

    def _carry_out(self, command: moves.Command) -> list[moves.Command]:
        match command:
            case moves.Look(slot):
                return self._watch.handle(self._look_at(slot), self._loop.time())
            case moves.MeasureMemory(slot):
                used = self._workers.unique_memory(slot)
                measured = moves.MemoryMeasured(slot, self._doing(slot), used)
                return self._watch.handle(measured, self._loop.time())
            case moves.Interrupt(slot, place, limit):
                self._workers.interrupt(slot, place.chunk, place.task, stalled=limit is Limit.STALL)
            case moves.DumpStack(slot):
                self._workers.dump_stack(slot)
            case moves.Kill(slot, _):
                self._workers.kill(slot)
        return []

    def _look_at(self, slot: int) -> moves.Event:
        job = self._running(slot)
        if job is None or not has_limits(job.options):
            return moves.WorkerIdle(slot)
        memory = 0 if job.options.max_memory is None else self._workers.memory(slot)
        return moves.WorkerSeen(slot, job.options, self._doing(slot), memory, self._workers.stack_bytes(slot))

    def _doing(self, slot: int) -> Doing:
        progress = self._workers.progress(slot)
        since = (progress.started_ns + GRANULE_NS) / 1e9
        renewed = progress.renewed_ns / 1e9 if progress.renewed_ns else None
        return Doing(_place(progress), since, renewed, progress.done, progress.total)

    # Words

    def _told(self, place: Place, error: MemoryLimitExceeded, event: WorkerExited, output: str) -> Verdict:
        """Complete what was said when the worker was condemned by what is known now that it has ended."""
        if place != _place(event.progress):
            return Verdict(OutcomeKind.OUT_OF_MEMORY, None)
        error.peak_bytes = max(error.peak_bytes, event.peak_bytes)
        error.output, error.node, error.pid = output, self._node, event.pid
        return Verdict(OutcomeKind.OUT_OF_MEMORY, error)

    def _explain(self, sentence: Sentence, event: WorkerExited, output: str) -> ZmqtasksError:
        if sentence.limit is Limit.MEMORY:
            text = (
                f"the worker and what it started held {round(sentence.amount)} bytes while {_what(sentence)}; its "
                f"max_memory is {round(sentence.bound)} bytes"
            )
            peak = max(round(sentence.amount), event.peak_bytes)
            return MemoryLimitExceeded(text, peak_bytes=peak, output=output, node=self._node, pid=event.pid)
        return TaskTimeout(_overrun(sentence), stack=event.stack, output=output, node=self._node, pid=event.pid)

    def __repr__(self) -> str:
        return f"<Overseer {self._watch!r}>"


def _place(progress: Progress) -> Place:
    return Place(progress.chunk, progress.attempt, progress.index, progress.phase)


def _what(sentence: Sentence) -> str:
    match sentence.doing.place.phase:
        case WorkPhase.IMPORTING:
            return "it imported the function of this task"
        case WorkPhase.LOADING:
            return "it loaded the arguments of this task"
        case WorkPhase.PACKING:
            return "it packed the result of this task"
        case _:
            return "it ran this task"


def _overrun(sentence: Sentence) -> str:
    doing, bound = sentence.doing, f"{sentence.bound:g} s"
    if sentence.limit is Limit.STALL:
        text = f"the task showed no progress for {sentence.amount:.1f} s; its stall_timeout is {bound}"
        text += how_far(doing.done, doing.total, told=doing.renewed is not None)
    elif doing.place.phase is WorkPhase.RUNNING:
        text = f"the task ran longer than its timeout of {bound}"
    else:
        text = f"the worker was not done within the timeout of {bound} when {_what(sentence)}"
    if sentence.grace is not None:
        text += f"; it was interrupted, and went on for more than its grace of {sentence.grace:g} s"
    return text
