"""What a node decides about work: which chunk goes to which worker, what is held, and for whom.

Owns the queues of the ventilators, what each worker has, and the inventory. Never opens a body. A chunk is cut only
after a death, by handing out another part of the same body. Called by `node.py` and by the simulation; which workers
there are is decided in `slots.py`.

Fairness: ventilators take turns, a chunk at a time. A busy worker is sent one chunk ahead where both are expected to
be short, so that it never waits for the supervisor; never a long or an unknown one, for another worker may be idle
first. What has waited longest of a job, by its place in it, goes first: so does what is tried again after a crash.

A worker that stands by is told the jobs whose function has been loaded elsewhere without harm, and loads it too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines.holding_moves import (
    Blame,
    Command,
    DrainRequested,
    Emit,
    Event,
    Give,
    GiveBack,
    Introduce,
    KillWorker,
    OutcomesSaid,
    RangesCancelled,
    SessionReplaced,
    SinkCongested,
    TasksTaken,
    VentilatorGone,
    WorkerLost,
    WorkerOffered,
    WorkerSpared,
    WorkersUnavailable,
    WorkerWithdrawn,
)
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import (
    Chunk,
    Held,
    Job,
    JobId,
    Outcome,
    OutcomeKind,
    PeerId,
    Phase,
    Range,
)

AHEAD_S = 0.05
"""A chunk expected to take longer is never sent ahead to a busy worker."""


@dataclass(slots=True, eq=False)
class _Piece:
    """A part of a chunk that is here: tasks [next, stop) have not been told of yet, `unwanted` was cancelled."""

    ventilator: PeerId
    chunk: Chunk
    job: _Job
    next: int
    unwanted: RangeSet = field(default_factory=RangeSet)

    @property
    def tasks(self) -> int:
        return self.chunk.stop - self.next

    def is_short(self) -> bool:
        return self.job.task_s is not None and self.job.task_s * self.tasks <= AHEAD_S

    def overlaps(self, ranges: tuple[Range, ...]) -> RangeSet:
        """Return the parts of what is left that lie in the ranges."""
        parts = ((max(self.next, r.start), min(self.chunk.stop, r.stop)) for r in ranges if r.job == self.chunk.job)
        return RangeSet(parts)

    def give_back(self, start: int, stop: int, kind: OutcomeKind = OutcomeKind.RETURNED) -> GiveBack:
        return GiveBack(self.job.job, self.chunk.attempt, start, stop, kind)


@dataclass(slots=True, eq=False)
class _Job:
    """A job while it is known.

    `pieces` counts those that are here, `wanted` is False once its ventilator is gone, `harmless` tells whether its
    function is known to load: True after the first outcome, False after a worker died that stood by.
    """

    job: Job
    task_s: float | None = None
    measured: tuple[float, int] = (0.0, 0)
    ended: bool = False
    wanted: bool = True
    harmless: bool | None = None
    pieces: int = 0

    def measure(self, elapsed_s: float, tasks: int) -> None:
        spent, number = self.measured[0] + elapsed_s, self.measured[1] + tasks
        self.task_s = spent / number
        self.measured = (spent, number) if spent < 1.0 else (spent / 2, max(1, number // 2))


@dataclass(slots=True, eq=False)
class _Ventilator:
    queue: deque[_Piece] = field(default_factory=deque)
    jobs: dict[JobId, _Job] = field(default_factory=dict)
    congested: bool = False


@dataclass(slots=True, eq=False)
class _Worker:
    pieces: deque[_Piece] = field(default_factory=deque)
    knows: set[JobId] = field(default_factory=set)
    forget: list[JobId] = field(default_factory=list)
    serving: bool = False
    spare: bool = True
    doomed: bool = False
    """It is being killed over something nobody wants; whatever else it has is innocent."""


class Holding:
    """Hold ranges and give them to workers; see the module.

    Args:
        one_task: whether each worker runs one task and no more.
    """

    def __init__(self, *, one_task: bool = False) -> None:
        self._one_task = one_task
        self._ventilators: dict[PeerId, _Ventilator] = {}
        self._turns: deque[PeerId] = deque()
        self._workers: dict[int, _Worker] = {}
        self._draining = False
        self._moves: dict[type[Any], Callable[[Any], list[Command]]] = {
            TasksTaken: self._tasks_taken,
            SessionReplaced: self._session_replaced,
            VentilatorGone: self._ventilator_gone,
            RangesCancelled: self._ranges_cancelled,
            WorkerSpared: self._worker_spared,
            WorkerOffered: self._worker_offered,
            WorkerWithdrawn: self._worker_withdrawn,
            OutcomesSaid: self._outcomes_said,
            WorkerLost: self._worker_lost,
            WorkersUnavailable: self._workers_unavailable,
            SinkCongested: self._sink_congested,
            DrainRequested: self._drain_requested,
        }

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; return what to do, in order.

        Raises:
            LocalProtocolError: the event names a worker or a job that is not here.
        """
        return self._moves[type(event)](event) + self._assign()

    def tick(self, now: float) -> list[Command]:
        """Nothing is ever due: work moves when something happens."""
        return []

    def next_deadline(self) -> float:
        """Return infinity: nothing is ever due."""
        return float("inf")

    # Ventilators

    def _tasks_taken(self, event: TasksTaken) -> list[Command]:
        ventilator = self._ventilators.get(event.ventilator)
        if ventilator is None:
            ventilator = self._ventilators[event.ventilator] = _Ventilator()
            self._turns.append(event.ventilator)
        for job in event.jobs:
            held = ventilator.jobs.setdefault(job.id, _Job(job))
            held.job, held.ended = job, False
        returned: list[Command] = []
        for chunk in event.chunks:
            if chunk.job not in ventilator.jobs:
                raise LocalProtocolError(f"TasksTaken: {event.ventilator} has not named {chunk.job} in {self!r}")
            piece = _Piece(event.ventilator, chunk, ventilator.jobs[chunk.job], chunk.start)
            if self._draining:
                returned.append(piece.give_back(chunk.start, chunk.stop))
            else:
                self._enqueue(piece)
        for job_id in event.ended:
            if ending := ventilator.jobs.get(job_id):
                ending.ended = True
                self._forget_if_ended(ventilator, ending)
        return returned

    def knows(self, ventilator: PeerId, job: JobId) -> bool:
        """Tell whether chunks of this job can be taken: its ventilator has named it."""
        return ventilator in self._ventilators and job in self._ventilators[ventilator].jobs

    def _enqueue(self, piece: _Piece, *, front: bool = False) -> None:
        piece.job.pieces += 1
        queue = self._ventilators[piece.ventilator].queue
        if front or (queue and queue[0].job is piece.job and piece.next < queue[0].next):
            queue.appendleft(piece)
        else:
            queue.append(piece)

    def _session_replaced(self, event: SessionReplaced) -> list[Command]:
        if ventilator := self._ventilators.get(event.ventilator):
            for held in list(ventilator.jobs.values()):
                # The new session names the jobs it needs anew; the others end with what still runs.
                held.ended = True
                self._forget_if_ended(ventilator, held)
            while ventilator.queue:
                self._done_with(ventilator.queue.popleft())
        return []

    def _ventilator_gone(self, event: VentilatorGone) -> list[Command]:
        ventilator = self._ventilators.pop(event.ventilator, None)
        if ventilator is None:
            return []
        self._turns.remove(event.ventilator)
        for held in ventilator.jobs.values():
            held.wanted = False
            self._forget(held)
        return [command for slot in self._workers for command in self._kill_if_unwanted(slot)]

    def _kill_if_unwanted(self, slot: int) -> list[Command]:
        """Kill a worker over what it runs now; what was only sent ahead to it is short, and harms nobody."""
        pieces = self._workers[slot].pieces
        return self._kill(slot) if pieces and not pieces[0].job.wanted else []

    def _kill(self, slot: int) -> list[Command]:
        worker = self._workers[slot]
        earlier, worker.doomed = worker.doomed, True
        return [] if earlier else [KillWorker(slot)]

    def _ranges_cancelled(self, event: RangesCancelled) -> list[Command]:
        ventilator = self._ventilators.get(event.ventilator)
        if ventilator is None:
            return []
        commands: list[Command] = []
        queue, ventilator.queue = ventilator.queue, deque()
        for piece in queue:
            unwanted = piece.overlaps(event.ranges)
            if not unwanted:
                ventilator.queue.append(piece)
                continue
            commands += [piece.give_back(a, b) for a, b in unwanted]
            for a, b in unwanted.missing(piece.next, piece.chunk.stop):
                self._enqueue(_part(piece, a, b))
            self._done_with(piece)
        for slot in self._workers:
            commands += self._cancel_begun(slot, event)
        return commands

    def _cancel_begun(self, slot: int, event: RangesCancelled) -> list[Command]:
        """Note what is unwanted of the pieces a worker has; kill it where it may be running that."""
        hit = False
        for place, piece in enumerate(self._workers[slot].pieces):
            unwanted = piece.overlaps(event.ranges) if piece.ventilator == event.ventilator else RangeSet()
            for start, stop in unwanted:
                piece.unwanted.add(start, stop)
            # Results of at-most-once tasks are told one by one: there, `next` is what runs.
            running = bool(unwanted) if piece.job.job.options.retry else piece.next in unwanted
            hit |= place == 0 and running
        return self._kill(slot) if hit and event.kill else []

    def _sink_congested(self, event: SinkCongested) -> list[Command]:
        if ventilator := self._ventilators.get(event.ventilator):
            ventilator.congested = event.congested
        return []

    def _workers_unavailable(self, event: WorkersUnavailable) -> list[Command]:
        commands: list[Command] = []
        for ventilator in self._ventilators.values():
            while ventilator.queue:
                piece = ventilator.queue.popleft()
                job, attempt = piece.job.job, piece.chunk.attempt
                tasks = range(piece.next, piece.chunk.stop)
                commands += [Blame(job, attempt, index, OutcomeKind.ERROR) for index in tasks]
                self._done_with(piece)
        return commands

    def _drain_requested(self, event: DrainRequested) -> list[Command]:
        self._draining = True
        commands: list[Command] = []
        for ventilator in self._ventilators.values():
            while ventilator.queue:
                piece = ventilator.queue.popleft()
                commands.append(piece.give_back(piece.next, piece.chunk.stop))
                self._done_with(piece)
        return commands

    def _done_with(self, piece: _Piece) -> None:
        piece.job.pieces -= 1
        if piece.job.wanted:
            self._forget_if_ended(self._ventilators[piece.ventilator], piece.job)

    def _forget_if_ended(self, ventilator: _Ventilator, held: _Job) -> None:
        if held.ended and not held.pieces:
            del ventilator.jobs[held.job.id]
            self._forget(held)

    def _forget(self, held: _Job) -> None:
        """Let the workers forget a job, each with the next chunk it is given."""
        for worker in self._workers.values():
            if held.job.id in worker.knows:
                worker.knows.discard(held.job.id)
                worker.forget.append(held.job.id)

    # Workers

    def _worker_spared(self, event: WorkerSpared) -> list[Command]:
        if event.slot in self._workers:
            raise LocalProtocolError(f"slot {event.slot} has a worker already in {self!r}")
        self._workers[event.slot] = _Worker()
        harmless = [held for v in self._ventilators.values() for held in v.jobs.values() if held.harmless]
        return self._introduce(event.slot, harmless)

    def _introduce(self, slot: int, jobs: list[_Job]) -> list[Command]:
        worker = self._workers[slot]
        worker.knows.update(held.job.id for held in jobs)
        ended = tuple(id_ for id_ in worker.forget if id_ not in worker.knows)
        worker.forget.clear()
        return [Introduce(slot, tuple(held.job for held in jobs), ended)] if jobs else []

    def _loaded(self, held: _Job) -> list[Command]:
        """Note that a function has been loaded and called; those who stand by can do so, too."""
        if held.harmless is not None or not held.wanted:
            return []
        held.harmless = True
        spares = [slot for slot, worker in self._workers.items() if worker.spare and held.job.id not in worker.knows]
        return [command for slot in spares for command in self._introduce(slot, [held])]

    def _worker_offered(self, event: WorkerOffered) -> list[Command]:
        worker = self._workers.setdefault(event.slot, _Worker())
        if not worker.spare:
            raise LocalProtocolError(f"slot {event.slot} has a worker already in {self!r}")
        worker.spare, worker.serving = False, True
        return []

    def _worker_withdrawn(self, event: WorkerWithdrawn) -> list[Command]:
        self._worker(event.slot).serving = False
        return []

    def _worker(self, slot: int) -> _Worker:
        if slot not in self._workers:
            raise LocalProtocolError(f"slot {slot} has no worker in {self!r}")
        return self._workers[slot]

    def _outcomes_said(self, event: OutcomesSaid) -> list[Command]:
        worker = self._worker(event.slot)
        commands: list[Command] = []
        for outcome in event.outcomes:
            piece = self._piece_of(worker, outcome)
            if piece is None:
                raise LocalProtocolError(f"slot {event.slot} told of {_range_of(outcome)}, not its own, in {self!r}")
            piece.next = outcome.stop
            if outcome.kind in (OutcomeKind.OK, OutcomeKind.ERROR):
                piece.job.measure(outcome.elapsed_s, outcome.stop - outcome.start)
                commands += self._loaded(piece.job)
            if piece.job.wanted:
                commands.append(Emit(piece.job.job, (outcome,)))
            if piece.next == piece.chunk.stop:
                worker.pieces.remove(piece)
                self._done_with(piece)
        return commands + self._kill_if_unwanted(event.slot)

    @staticmethod
    def _piece_of(worker: _Worker, outcome: Outcome) -> _Piece | None:
        """Return the piece an outcome continues; attempts are numbered by each ventilator for itself."""
        for piece in worker.pieces:
            told = (piece.chunk.job, piece.chunk.attempt, piece.next) == (outcome.job, outcome.attempt, outcome.start)
            if told and outcome.start < outcome.stop <= piece.chunk.stop:
                return piece
        return None

    def _worker_lost(self, event: WorkerLost) -> list[Command]:
        """Blame the task that ran, keep what was told, and queue the rest in front, unpunished."""
        worker = self._workers.pop(event.slot, None)
        if worker is None:
            return []
        if worker.spare and not event.in_order:
            self._distrust(worker.knows)
        guilty = _guilty(worker, event)
        begun = worker.pieces.index(guilty) if guilty else 0
        commands: list[Command] = []
        for place, piece in reversed(list(enumerate(worker.pieces))):
            if not piece.job.wanted:
                ended: list[Command] = []
            elif piece is guilty:
                ended = self._end_at(piece, event, blameless=worker.doomed)
            elif place < begun:  # the worker was past it, and what it told was lost
                ended = self._requeue_run(piece, piece.next, piece.chunk.stop)
            else:
                ended = self._requeue(piece, piece.next, piece.chunk.stop)
            commands = ended + commands
            self._done_with(piece)
        return commands

    def _distrust(self, jobs: set[JobId]) -> None:
        """Do not have these functions loaded ahead again: a worker that stood by died, perhaps over one of them."""
        for ventilator in self._ventilators.values():
            for job_id in jobs & ventilator.jobs.keys():
                ventilator.jobs[job_id].harmless = False

    def _end_at(self, piece: _Piece, event: WorkerLost, *, blameless: bool) -> list[Command]:
        """Settle a piece whose worker died at a task of it."""
        assert event.index is not None
        last = piece.chunk.stop if event.packing else piece.chunk.stop - 1
        index = min(max(event.index, piece.next), last)
        if blameless:
            begun = index if event.packing else index + 1
            rest = self._requeue(piece, begun, piece.chunk.stop)
            return self._requeue_run(piece, piece.next, begun) + rest
        return self._lose_packing(piece, index, event.kind) if event.packing else self._lose(piece, index, event.kind)

    def _lose(self, piece: _Piece, index: int, kind: OutcomeKind) -> list[Command]:
        rest = self._requeue(piece, index + 1, piece.chunk.stop)
        earlier = self._requeue_run(piece, piece.next, index)
        return [*earlier, Blame(piece.job.job, piece.chunk.attempt, index, kind), *rest]

    def _lose_packing(self, piece: _Piece, index: int, kind: OutcomeKind) -> list[Command]:
        """Halve what it may have been, so that the guilty result is soon alone, and its neighbours are not blamed."""
        if index == piece.next:  # all that had run was told
            return self._requeue(piece, piece.next, piece.chunk.stop)
        if index == piece.next + 1 or not piece.job.job.options.retry:
            return self._lose(piece, index - 1, kind)
        middle = (piece.next + index) // 2
        rest = self._requeue(piece, index, piece.chunk.stop)
        rest = self._requeue(piece, middle, index) + rest
        return self._requeue(piece, piece.next, middle) + rest

    def _requeue_run(self, piece: _Piece, start: int, stop: int) -> list[Command]:
        """Queue tasks again that may have run, and whose results died with the worker, if that is allowed."""
        if piece.job.job.options.retry:
            return self._requeue(piece, start, stop)
        return [piece.give_back(start, stop, OutcomeKind.LOST)] if start < stop else []

    def _requeue(self, piece: _Piece, start: int, stop: int) -> list[Command]:
        """Queue a part of a piece in front; give back what was cancelled, and all where the node drains."""
        back = RangeSet([(start, stop)] if self._draining else piece.unwanted.common(start, stop))
        for a, b in reversed(back.missing(start, stop)):
            self._enqueue(_part(piece, a, b), front=True)
        return [piece.give_back(a, b) for a, b in back]

    # Assigning

    def _assign(self) -> list[Command]:
        if not any(ventilator.queue for ventilator in self._ventilators.values()):
            return []
        commands: list[Command] = []
        for ahead in (0,) if self._one_task else (0, 1):
            for slot, worker in self._workers.items():
                free = worker.serving and not worker.doomed and len(worker.pieces) == ahead
                if free and (piece := self._next_piece(worker)):
                    commands.append(self._give(slot, worker, piece))
        return commands

    def _next_piece(self, worker: _Worker) -> _Piece | None:
        """Return the next piece for this worker: ventilators in turn; ahead only short after short."""
        for _ in range(len(self._turns)):
            ventilator = self._ventilators[self._turns[0]]
            self._turns.rotate(-1)
            if not ventilator.queue or ventilator.congested:
                continue
            if not worker.pieces or (worker.pieces[0].is_short() and ventilator.queue[0].is_short()):
                return self._cut_one(ventilator) if self._one_task else ventilator.queue.popleft()
        return None

    def _cut_one(self, ventilator: _Ventilator) -> _Piece:
        """Take the first task of the first piece; the rest stays in front."""
        piece = ventilator.queue.popleft()
        if piece.tasks == 1:
            return piece
        ventilator.queue.appendleft(_part(piece, piece.next + 1, piece.chunk.stop))
        piece.job.pieces += 1
        return _part(piece, piece.next, piece.next + 1)

    def _give(self, slot: int, worker: _Worker, piece: _Piece) -> Give:
        worker.pieces.append(piece)
        worker.serving = not self._one_task
        job = piece.job.job
        jobs = () if job.id in worker.knows else (job,)
        worker.knows.add(job.id)
        # A job that was forgotten and is back is named anew, and not forgotten in the same breath.
        ended = tuple(id_ for id_ in worker.forget if id_ != job.id)
        worker.forget.clear()
        return Give(slot, jobs, piece.chunk, ended)

    # What is there

    def inventory(self, ventilator: PeerId) -> tuple[Held, ...]:
        """Return what is here of a ventilator, queued or running."""
        known = self._ventilators.get(ventilator)
        queued = [_held(piece, Phase.QUEUED) for piece in (known.queue if known else ())]
        begun = [p for w in self._workers.values() for p in w.pieces if p.ventilator == ventilator and p.job.wanted]
        running = [_held(piece, Phase.RUNNING) for piece in begun]
        return (*running, *queued)

    def running(self, slot: int) -> Job | None:
        """Return the job of the chunk a worker has begun, or None where it is idle or nobody wants it."""
        worker = self._workers.get(slot)
        held = worker.pieces[0].job if worker and worker.pieces else None
        return held.job if held and held.wanted else None

    def busy(self) -> int:
        """Return how many workers have something to do."""
        return sum(1 for worker in self._workers.values() if worker.pieces)

    def is_idle(self, slot: int) -> bool:
        """Tell whether the worker of a slot has nothing to do."""
        return not self._worker(slot).pieces

    def queued(self) -> int:
        """Return how many tasks wait here."""
        return sum(piece.tasks for v in self._ventilators.values() for piece in v.queue)

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        pieces = [p for v in self._ventilators.values() for p in v.queue]
        pieces += [p for w in self._workers.values() for p in w.pieces]
        for piece in pieces:
            assert piece.chunk.start <= piece.next < piece.chunk.stop, repr(self)
            if piece.job.wanted:
                assert self._ventilators[piece.ventilator].jobs[piece.chunk.job] is piece.job, repr(self)
                assert piece.job.pieces == sum(1 for p in pieces if p.job is piece.job), repr(self)
        for ventilator in self._ventilators.values():
            assert all(held.pieces or not held.ended for held in ventilator.jobs.values()), repr(self)
        assert set(self._turns) == set(self._ventilators), repr(self)

    def __repr__(self) -> str:
        queues = ", ".join(f"{id_[:6]} {len(v.queue)} queued" for id_, v in self._ventilators.items())
        workers = ", ".join(f"{s}: {[_show(p) for p in w.pieces]}" for s, w in self._workers.items())
        return f"<Holding [{queues}] workers=[{workers}]>"


def _part(piece: _Piece, start: int, stop: int) -> _Piece:
    return _Piece(piece.ventilator, replace(piece.chunk, start=start, stop=stop), piece.job, start)


def _guilty(worker: _Worker, event: WorkerLost) -> _Piece | None:
    """Return the piece whose task ran when the worker died; one dispatch may have come as several pieces."""
    if event.index is None:
        return None
    same = [piece for piece in worker.pieces if piece.chunk.attempt == event.attempt]
    exact = [piece for piece in same if piece.chunk.start <= event.index <= piece.chunk.stop]
    return next(iter(exact + same), None)


def _held(piece: _Piece, phase: Phase) -> Held:
    return Held(piece.chunk.job, piece.next, piece.chunk.stop, piece.chunk.attempt, phase)


def _range_of(outcome: Outcome) -> str:
    return f"{outcome.job}[{outcome.start}..{outcome.stop}) attempt {outcome.attempt}"


def _show(piece: _Piece) -> str:
    return f"{piece.chunk.job}[{piece.next}..{piece.chunk.stop})"
