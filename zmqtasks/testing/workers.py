"""Worker processes that live on a fake clock: they call the real functions, in fake time, and die when told to.

Owns what each of them is doing, and a ledger of every task that was ever begun. Starts no process. It has the face of
`node.Workers`; its workers go on while their node is stopped, as processes do.

A worker runs its chunk in stretches: as many tasks as fit in before its results are due to be flushed. What it had
flushed when it died still reaches the node, what it had not is lost.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import accumulate
from typing import Any, NamedTuple

from zmqtasks.errors import LocalProtocolError
from zmqtasks.messages import Buffer, Chunk, Flight, Held, Job, JobId, Outcome, PeerId, Phase, Tasks
from zmqtasks.options import GIB, MIB
from zmqtasks.peer import Loop
from zmqtasks.processes.events import WorkerEvent, WorkerExited, WorkerReady, WorkerSaid, WorkerStarted
from zmqtasks.processes.memory import MemoryUsage
from zmqtasks.processes.progress import Progress, WorkPhase
from zmqtasks.testing.clock import FakeClock
from zmqtasks.testing.stretches import Fate, Stretch, outcomes_of
from zmqtasks.testing.worker_process import WorkerProcess
from zmqtasks.wire import payload

FLUSH_S = 0.005
"""As `processes.execution`: results wait no longer than this for company."""
PACK_S = 0.00002
"""What it takes to pack and write the results of a stretch."""
TELL_S = 0.0001
"""How long what a worker wrote may wait until its node reads it."""
UNFENCED = 0.3
"""How often a node cannot tell at once what it has taken back: then what the worker tells is all that counts."""
IDLE = Progress(0, 0, 0, WorkPhase.IDLE, 0)
SIGKILL = 9
RESIDENT_BYTES = 32 * MIB
HOST_BYTES = 1024 * GIB


class Executed(NamedTuple):
    """A task that was begun."""

    node: PeerId
    slot: int
    job: JobId
    task: int
    attempt: int
    told_at_s: float = 0.0
    """When it was known that it had begun: together with others of its chunk, or at its end."""


class SimWorkers:
    """The workers of one node.

    Args:
        clock: the workers live on it.
        loop: the node's; events are delivered on it.
        node: peer id of the node.
        on_event: takes what happens to workers.
        chance: when exactly a worker is ready or killed.
        fate: what happens to a task, by job and index; asked each time one is given to a worker.
        start_s: how long a process takes to be ready.
        ledger: every task that is begun is added to it.
    """

    def __init__(
        self,
        clock: FakeClock,
        loop: Loop,
        node: PeerId,
        on_event: Callable[[WorkerEvent], None],
        chance: random.Random,
        *,
        fate: Callable[[JobId, int], Fate] = lambda job, index: Fate(),
        start_s: float = 0.01,
        ledger: list[Executed] | None = None,
    ) -> None:
        self.ledger: list[Executed] = [] if ledger is None else ledger
        self.answers: list[tuple[int, int, bytes]] = []
        """What tasks were answered, by slot and number; 0 where what they asked is lost."""
        self._clock = clock
        self._loop = loop
        self._node = node
        self._on_event = on_event
        self._chance = chance
        self._fate = fate
        self._start_s = start_s
        self._workers: dict[int, WorkerProcess] = {}
        self._functions: dict[tuple[bytes, str], Callable[..., Any]] = {}
        self._pids = 1
        self._closed = False

    # The face of node.Workers

    def start(self, slot: int) -> None:
        """Start a worker in a free slot.

        Raises:
            LocalProtocolError: the slot is taken, or this is closed.
        """
        if self._closed or slot in self._workers:
            raise LocalProtocolError(f"cannot start a worker in slot {slot}: {'closed' if self._closed else 'taken'}")
        self._pids += 1
        worker = self._workers[slot] = WorkerProcess(slot, self._pids, self._clock.time())
        self._say(WorkerStarted(slot, worker.pid))
        worker.timer = self._clock.call_later(self._start_s * (1 + self._chance.random()), self._ready, worker)

    def send(self, slot: int, tasks: Tasks, *, alone: bool = False) -> None:
        """Give chunks to a worker; it runs one after the other."""
        worker = self._worker(slot)
        for ended in tasks.ended:
            worker.jobs.pop(ended, None)
        worker.jobs |= {job.id: job for job in tasks.jobs}
        for chunk in tasks.chunks:
            worker.chunks.append(chunk)
        if not worker.dead and worker.stretch is None and worker.ready:
            self._begin(worker)

    def take_back(self, slot: int, given: int) -> int:
        """Have a worker not begin half of what it has not begun, by the agreement of `processes.claims`."""
        return self._worker(slot).take_back(given, fenced=self._chance.random() >= UNFENCED)

    def stop(self, slot: int) -> None:
        """Have a worker end when it has nothing left to do."""
        worker = self._worker(slot)
        worker.stopping = True
        if worker.ready and worker.stretch is None and not worker.dead:
            self._exit(worker, code=0)

    def answer(self, slot: int, number: int, body: Buffer) -> None:
        """Keep an answer, for whoever plays the tasks."""
        self.answers.append((slot, number, bytes(body)))

    def tell_lost(self, slot: int, ventilator: PeerId) -> None:
        """Keep that what a worker asked is lost."""
        self.answers.append((slot, 0, ventilator.encode()))

    def resume(self, slot: int) -> None:
        """Nothing waits here: what tasks do is up to whoever plays them."""

    def deny(self, slot: int) -> None:
        """The same."""

    def kill(self, slot: int) -> None:
        """End a worker by force."""
        worker = self._worker(slot)
        self._clock.call_later(0.001 * self._chance.random(), self._killed, worker)

    def dump_stack(self, slot: int) -> bool:
        """Tell whether the worker could write down where it is; nothing is written."""
        return self._worker(slot).ready

    def stack_bytes(self, slot: int) -> int:
        """Return 0: nothing is written."""
        self._worker(slot)
        return 0

    def progress(self, slot: int) -> Progress:
        """Return what the worker in a slot is doing."""
        worker = self._workers.get(slot)
        return IDLE if worker is None else self._progress_of(worker)

    def is_at_rest(self, slot: int) -> bool:
        """Tell whether a worker waits for work, and all it wrote was read."""
        worker = self._workers.get(slot)
        return (
            worker is not None
            and worker.ready
            and not (worker.dead or worker.stretch or worker.chunks or worker.written)
        )

    def memory(self, slot: int) -> int:
        """Return the resident bytes of a worker: always the same."""
        self._worker(slot)
        return RESIDENT_BYTES

    def unique_memory(self, slot: int) -> int:
        """Return the same: nothing is shared."""
        return self.memory(slot)

    def interrupt(self, slot: int, chunk: int, index: int, *, stalled: bool) -> None:
        """Do nothing: these tasks do not listen."""
        self._worker(slot)

    def usage(self, limit_bytes: int | None, threshold: float) -> MemoryUsage:
        """Return what the workers hold: always the same each."""
        held = dict.fromkeys(self._workers, RESIDENT_BYTES)
        return MemoryUsage(sum(held.values()), limit_bytes or HOST_BYTES, held)

    def close(self) -> None:
        """End all workers at once, without a word; idempotent."""
        self._closed = True
        for worker in self._workers.values():
            self._end(worker)
        self._workers.clear()

    # For tests

    def running(self) -> list[int]:
        """Return the slots whose worker is in the middle of something."""
        return [slot for slot, worker in self._workers.items() if worker.stretch is not None and not worker.dead]

    def living(self) -> list[int]:
        """Return the slots that have a worker."""
        return [slot for slot, worker in self._workers.items() if not worker.dead]

    def flight(self) -> Flight:
        """Return what a flight recorder would tell, did the node die now."""
        begun: list[Held] = []
        for worker in self._workers.values():
            said = [event for event in worker.written if isinstance(event, WorkerSaid)]
            told = [outcome for event in said for outcome in event.outcomes]
            begun += [Held(o.job, o.start, o.stop, o.attempt, Phase.FINISHED) for o in told]
            if worker.stretch is not None:
                stop, stretch = worker.stretch.begun(self._clock.time()), worker.stretch
                begun.append(Held(stretch.job.id, stretch.start, stop, stretch.chunk.attempt, Phase.RUNNING))
        return Flight(self._node, tuple(begun))

    def crash(self, slot: int, *, packing: bool = False) -> None:
        """Let a worker die, as by SIGKILL from outside: now, or when it next packs results."""
        worker = self._worker(slot)
        if packing:
            worker.dies_packing = True
        else:
            self._killed(worker)

    # A worker's life

    def _worker(self, slot: int) -> WorkerProcess:
        if slot not in self._workers:
            raise LocalProtocolError(f"there is no worker in slot {slot}")
        return self._workers[slot]

    def _ready(self, worker: WorkerProcess) -> None:
        worker.ready, worker.timer = True, None
        self._say(WorkerReady(worker.slot))
        self._begin(worker)  # as a real one does with what was written to its pipe before

    def _begin(self, worker: WorkerProcess) -> None:
        """Begin the next chunk that was not taken back, if there is one."""
        while worker.chunks:
            chunk = worker.chunks.popleft()
            worker.begun += 1
            worker.claims.open(chunk.start, chunk.stop)
            if self._stretch(worker, chunk, worker.jobs[chunk.job], chunk.start):
                return
        if worker.stopping:
            self._exit(worker, code=0)

    def _stretch(self, worker: WorkerProcess, chunk: Chunk, job: Job, start: int) -> bool:
        """Run tasks from `start` on until results are due; False where all of them were taken back."""
        now = self._clock.time()
        fates: list[Fate] = []
        spent_s = 0.0
        for index in range(start, chunk.stop):
            if worker.claims.claim(index, index + 1) == index:
                self._await_reading(worker)
                break
            fates.append(self._fate(job.id, index))
            spent_s += fates[-1].seconds
            if fates[-1].crashes or spent_s > FLUSH_S or not job.options.retry:
                break
        if not fates:
            return False
        ends = list(accumulate((fate.seconds for fate in fates), initial=now))[1:]
        worker.stretch = Stretch(chunk, job, start, now, fates, ends)
        # A task that ends its worker is caught in the middle of it.
        due = ends[-1] - fates[-1].seconds / 2 if fates[-1].crashes else ends[-1] + PACK_S
        worker.timer = self._clock.call_at(due, self._stretch_ended, worker, worker.stretch)
        return True

    def _stretch_ended(self, worker: WorkerProcess, stretch: Stretch) -> None:
        if stretch.fates[-1].crashes or worker.dies_packing:
            self._exit(worker, signal=SIGKILL)
            return
        self._note_begun(worker, stretch, stretch.stop)
        self._write(worker, tuple(outcomes_of(stretch, self._function(stretch.job), self._node)))
        worker.stretch = None
        more = stretch.stop < stretch.chunk.stop
        if not more or not self._stretch(worker, stretch.chunk, stretch.job, stretch.stop):
            self._begin(worker)

    def _function(self, job: Job) -> Callable[..., Any]:
        key = bytes(job.function), job.options.serializer
        if key not in self._functions:
            self._functions[key] = payload.unpack_function(*key)
        return self._functions[key]

    def _note_begun(self, worker: WorkerProcess, stretch: Stretch, stop: int) -> None:
        job, attempt, now = stretch.job.id, stretch.chunk.attempt, self._clock.time()
        self.ledger += [Executed(self._node, worker.slot, job, i, attempt, now) for i in range(stretch.start, stop)]

    def _write(self, worker: WorkerProcess, outcomes: tuple[Outcome, ...]) -> None:
        worker.written.append(WorkerSaid(worker.slot, outcomes))
        self._await_reading(worker)

    def _await_reading(self, worker: WorkerProcess) -> None:
        self._clock.call_later(TELL_S * self._chance.random(), self._read, worker)

    def _read(self, worker: WorkerProcess) -> None:
        """Let the node read the next thing a worker wrote."""
        if worker.written:
            self._say(worker.written.popleft())

    def _progress_of(self, worker: WorkerProcess) -> Progress:
        now = self._clock.time()
        return worker.stretch.progress(worker.begun, now, self._loop.time() - now) if worker.stretch else IDLE

    def _killed(self, worker: WorkerProcess) -> None:
        if not worker.dead:
            self._exit(worker, signal=SIGKILL)

    def _exit(self, worker: WorkerProcess, *, code: int | None = None, signal: int | None = None) -> None:
        """End a worker: what it wrote is read first, then its end is seen."""
        progress = self._progress_of(worker)
        self._end(worker)
        while worker.written:
            self._read(worker)
        uptime_s = self._clock.time() - worker.started_at
        exited = WorkerExited(worker.slot, worker.pid, signal, code, "", progress, uptime_s)
        self._loop.call_soon(self._vacate, worker, exited)

    def _end(self, worker: WorkerProcess) -> None:
        worker.dead = True
        if worker.timer is not None:
            worker.timer.cancel()
        if worker.stretch is not None:
            self._note_begun(worker, worker.stretch, worker.stretch.begun(self._clock.time()))
            worker.stretch = None

    def _vacate(self, worker: WorkerProcess, exited: WorkerExited) -> None:
        if not self._closed:
            del self._workers[worker.slot]
            self._on_event(exited)

    def _say(self, event: WorkerEvent) -> None:
        self._loop.call_soon(self._hear, event)

    def _hear(self, event: WorkerEvent) -> None:
        if not self._closed:
            self._on_event(event)
