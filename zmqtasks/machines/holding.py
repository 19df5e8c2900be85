"""What a node decides about work: which chunk goes to which worker, what is held, and for whom.

Owns the queues of the ventilators, what each worker has, and the inventory. Never opens a body. A chunk is cut only
after a death, by handing out another part of the same body. Called by `node.py` and by the simulation; which workers
there are is decided in `slots.py`.

Fairness: ventilators take turns, a chunk at a time. A busy worker is sent one chunk ahead where both are expected to
be short, so that it never waits for the supervisor; never a long or an unknown one, for another worker may be idle
first. Where one is idle and nothing waits, it gets what another worker has not begun (`balance.py` says when).

Short of memory, it starts less: what was stopped for want of it is kept aside, in front of the queue, until `admission`
says that there is room.

A worker whose task waits for others has lent its place: it gets nothing, and what it has not begun goes to others, for
what its task waits for may be among that. Where such a worker would go on, idle ones are spared for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines.admission import Admission, Stopped
from zmqtasks.machines.balance import Balance
from zmqtasks.machines.holding_moves import (
    Blame,
    Command,
    DrainRequested,
    Emit,
    EndKnown,
    Event,
    Give,
    KillWorker,
    OutcomesSaid,
    PlaceLent,
    PlaceRegained,
    RangesCancelled,
    RoomTold,
    RoomWanted,
    SessionReplaced,
    SinkCongested,
    Spare,
    SpareGone,
    TakeBack,
    TasksNotBegun,
    TasksTaken,
    TellLate,
    VentilatorGone,
    WorkerLeft,
    WorkerLost,
    WorkerOffered,
    WorkerSacrificed,
    WorkersUnavailable,
    WorkerWithdrawn,
    WorkStopped,
)
from zmqtasks.machines.pieces import KnownJob, Line, Piece, Workplace, part_of
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.machines.resources import Resources
from zmqtasks.messages import (
    Held,
    Job,
    JobId,
    Outcome,
    OutcomeKind,
    PeerId,
    Phase,
)
from zmqtasks.records import replace

INFINITY = float("inf")


class Holding:
    """Hold ranges and give them to workers; see the module.

    Args:
        one_task: each worker gets one task, and nothing after it.
        in_lanes: what is called a worker here is one of several lanes of a process: none gets anything ahead, and
            nothing is taken back from one, for another of its process goes on meanwhile.
        resources: what this node has of what tasks may need, by name.
    """

    def __init__(
        self, *, one_task: bool = False, in_lanes: bool = False, resources: Iterable[tuple[str, float]] = ()
    ) -> None:
        self._one_task = one_task
        self._one_at_a_time = one_task or in_lanes
        self._resources = Resources(resources)
        self._ventilators: dict[PeerId, Line] = {}
        self._turns: deque[PeerId] = deque()
        self._workers: dict[int, Workplace] = {}
        self._spared: dict[int, Workplace] = {}
        self._room_wanted = 0
        self._now = 0.0
        self._draining = False
        self._ends_at = INFINITY
        self._is_late = False
        self._admission = Admission()
        self._was_short = False
        self._balance = Balance()
        self._moves: dict[type[Any], Callable[[Any], list[Command]]] = {
            TasksTaken: self._tasks_taken,
            SessionReplaced: self._session_replaced,
            VentilatorGone: self._ventilator_gone,
            RangesCancelled: self._ranges_cancelled,
            WorkerOffered: self._worker_offered,
            WorkerWithdrawn: self._worker_withdrawn,
            OutcomesSaid: self._outcomes_said,
            WorkerLost: self._worker_lost,
            WorkerLeft: self._worker_left,
            TasksNotBegun: self._tasks_not_begun,
            PlaceLent: self._place_lent,
            PlaceRegained: self._place_regained,
            RoomWanted: self._wanted_room,
            SpareGone: self._spare_gone,
            WorkersUnavailable: self._workers_unavailable,
            SinkCongested: self._sink_congested,
            RoomTold: self._room_told,
            WorkerSacrificed: self._worker_sacrificed,
            DrainRequested: self._drain_requested,
            WorkStopped: self._work_stopped,
            EndKnown: self._end_known,
        }

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; return what to do, in order.

        Raises:
            LocalProtocolError: the event names a worker or a job that is not here.
        """
        self._now = now
        commands = self._moves[type(event)](event) + self._assign()
        self._look_for_idle()
        if self._is_late and not self._draining:
            self._is_late = False
            commands.append(TellLate())
        return commands

    def tick(self, now: float) -> list[Command]:
        """Take back what busy workers have not begun, for those that are idle."""
        self._now = now
        commands: list[Command] = []
        slots = {id(worker.measure_burden()): slot for slot, worker in self._workers.items()}
        for _ in range(self._idle()):
            heaviest = self._balance.due([worker.burden for worker in self._workers.values()], now)
            if heaviest is not None:
                commands.append(TakeBack(slots[id(heaviest)], heaviest.given))
        self._look_for_idle()
        return commands

    def next_deadline(self) -> float:
        """Return the time at which `tick` has something to do."""
        return self._balance.next_deadline()

    # Ventilators

    def _tasks_taken(self, event: TasksTaken) -> list[Command]:
        ventilator = self._ventilators.get(event.ventilator)
        if ventilator is None:
            ventilator = self._ventilators[event.ventilator] = Line()
            self._turns.append(event.ventilator)
        for job in event.jobs:
            held = ventilator.jobs.setdefault(job.id, KnownJob(job))
            held.job, held.ended = job, False
        returned: list[Command] = []
        for chunk in event.chunks:
            if chunk.job not in ventilator.jobs:
                raise LocalProtocolError(f"TasksTaken: {event.ventilator} has not named {chunk.job} in {self!r}")
            piece = Piece(event.ventilator, chunk, ventilator.jobs[chunk.job], chunk.start)
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

    def job(self, ventilator: PeerId, job: JobId) -> Job | None:
        """Return a job that its ventilator has named."""
        return self._ventilators[ventilator].jobs[job].job if self.knows(ventilator, job) else None

    def _enqueue(self, piece: Piece, *, front: bool = False) -> None:
        piece.job.pieces += 1
        self._ventilators[piece.ventilator].put(piece, front=front)

    def _session_replaced(self, event: SessionReplaced) -> list[Command]:
        if ventilator := self._ventilators.get(event.ventilator):
            for held in list(ventilator.jobs.values()):
                # The new session names the jobs it needs anew; the others end with what still runs.
                held.ended = True
                self._forget_if_ended(ventilator, held)
            for piece in ventilator.take_all():
                self._done_with(piece)
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
        """Kill a worker over what it runs now; what was only sent ahead to it may get its turn."""
        pieces = self._workers[slot].pieces
        return self._kill(slot) if pieces and (not pieces[0].job.wanted or pieces[0].may_run_doomed()) else []

    def _kill(self, slot: int) -> list[Command]:
        worker = self._workers[slot]
        earlier, worker.doomed = worker.doomed, True
        return [] if earlier else [KillWorker(slot)]

    def _ranges_cancelled(self, event: RangesCancelled) -> list[Command]:
        ventilator = self._ventilators.get(event.ventilator)
        if ventilator is None:
            return []
        commands: list[Command] = []
        for piece in reversed(ventilator.take_all()):
            unwanted = piece.overlaps(event.ranges)
            if not unwanted:
                ventilator.put(piece, front=True)
                continue
            commands = [*(piece.give_back(a, b) for a, b in unwanted), *commands]
            for a, b in reversed(unwanted.missing(piece.next, piece.chunk.stop)):
                self._enqueue(part_of(piece, a, b), front=True)
            self._done_with(piece)
        for slot in self._workers:
            commands += self._cancel_begun(slot, event)
        return commands

    def _cancel_begun(self, slot: int, event: RangesCancelled) -> list[Command]:
        """Note what is unwanted of the pieces a worker has; kill it as soon as it may be running that."""
        for piece in self._workers[slot].pieces:
            unwanted = piece.overlaps(event.ranges) if piece.ventilator == event.ventilator else RangeSet()
            for start, stop in unwanted:
                piece.unwanted.add(start, stop)
                if event.kill:
                    piece.doomed.add(start, stop)
        return self._kill_if_unwanted(slot)

    def _sink_congested(self, event: SinkCongested) -> list[Command]:
        if ventilator := self._ventilators.get(event.ventilator):
            ventilator.congested = event.congested
        return []

    def _room_told(self, event: RoomTold) -> list[Command]:
        self._was_short = True
        self._admission.told(event.paused, event.room_bytes, event.most_bytes)
        return []

    def _worker_sacrificed(self, event: WorkerSacrificed) -> list[Command]:
        worker = self._worker(event.slot)
        self._was_short = True
        if worker.pieces and not worker.doomed:
            earlier = worker.pieces[0].stopped
            times = 1 + (earlier.times if earlier else 0)
            worker.sacrificed = Stopped(times, event.memory_bytes, self._now)
        return self._kill(event.slot)

    def _workers_unavailable(self, event: WorkersUnavailable) -> list[Command]:
        commands: list[Command] = []
        for ventilator in self._ventilators.values():
            for piece in ventilator.take_all():
                job, attempt = piece.job.job, piece.chunk.attempt
                tasks = range(piece.next, piece.chunk.stop)
                commands += [Blame(job, attempt, index, OutcomeKind.ERROR) for index in tasks]
                self._done_with(piece)
        return commands

    def _drain_requested(self, event: DrainRequested) -> list[Command]:
        self._draining = True
        commands: list[Command] = []
        for ventilator in self._ventilators.values():
            for piece in ventilator.take_all():
                commands.append(piece.give_back(piece.next, piece.chunk.stop))
                self._done_with(piece)
        return commands

    def _work_stopped(self, event: WorkStopped) -> list[Command]:
        return [command for slot, worker in self._workers.items() if worker.pieces for command in self._kill(slot)]

    def _end_known(self, event: EndKnown) -> list[Command]:
        self._ends_at = event.at
        return []

    def _in_time(self, piece: Piece) -> bool:
        """Tell whether a piece can be expected to end before this node does; remember it where one cannot."""
        if self._ends_at == INFINITY or self._now + piece.expected_s() <= self._ends_at:
            return True
        self._is_late = True
        return False

    def _done_with(self, piece: Piece) -> None:
        piece.job.pieces -= 1
        if piece.job.wanted:
            self._forget_if_ended(self._ventilators[piece.ventilator], piece.job)

    def _forget_if_ended(self, ventilator: Line, held: KnownJob) -> None:
        if held.ended and not held.pieces:
            del ventilator.jobs[held.job.id]
            self._forget(held)

    def _forget(self, held: KnownJob) -> None:
        """Let the workers forget a job, each with the next chunk it is given."""
        for worker in (*self._workers.values(), *self._spared.values()):
            if held.job.id in worker.knows:
                worker.knows.discard(held.job.id)
                worker.forget.append(held.job.id)

    # Workers

    def _worker_offered(self, event: WorkerOffered) -> list[Command]:
        if event.slot in self._workers:
            raise LocalProtocolError(f"slot {event.slot} has a worker already in {self!r}")
        spared = self._spared.pop(event.slot) if event.slot in self._spared else None
        self._workers[event.slot] = spared or Workplace()
        return []

    def _worker_withdrawn(self, event: WorkerWithdrawn) -> list[Command]:
        self._worker(event.slot).serving = False
        return []

    def _worker(self, slot: int) -> Workplace:
        if slot not in self._workers:
            raise LocalProtocolError(f"slot {slot} has no worker in {self!r}")
        return self._workers[slot]

    def _outcomes_said(self, event: OutcomesSaid) -> list[Command]:
        worker = self._worker(event.slot)
        worker.burden.heard_at = self._now
        commands: list[Command] = []
        for outcome in event.outcomes:
            piece = self._piece_of(worker, outcome)
            if piece is None:
                raise LocalProtocolError(f"slot {event.slot} told of {_range_of(outcome)}, not its own, in {self!r}")
            piece.next = outcome.stop
            if outcome.kind in (OutcomeKind.OK, OutcomeKind.ERROR, OutcomeKind.RETRY):
                piece.job.measure(outcome.elapsed_s, outcome.stop - outcome.start)
            if piece.job.wanted:
                commands.append(Emit(piece.job.job, (outcome,)))
            if piece.next == piece.chunk.stop:
                worker.pieces.remove(piece)
                self._done_with(piece)
        return commands + self._kill_if_unwanted(event.slot)

    @staticmethod
    def _piece_of(worker: Workplace, outcome: Outcome) -> Piece | None:
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
        guilty = worker.guilty(event.attempt, event.index)
        begun = worker.pieces.index(guilty) if guilty else len(worker.pieces) if event.unaccounted else 0
        commands: list[Command] = []
        for place, piece in reversed(list(enumerate(worker.pieces))):
            if not piece.job.wanted:
                ended: list[Command] = []
            elif piece is guilty:
                ended = self._end_at(piece, event, worker)
            elif place < begun:  # the worker was past it, and what it told was lost
                ended = self._requeue_run(piece, piece.next, piece.chunk.stop)
            else:
                ended = self._requeue(piece, piece.next, piece.chunk.stop)
            commands = ended + commands
            self._done_with(piece)
        return commands

    def _worker_left(self, event: WorkerLeft) -> list[Command]:
        """Queue all that a worker has not told of in front; even at most once, for none of it was run."""
        pieces = self._worker(event.slot).pieces
        del self._workers[event.slot]
        commands: list[Command] = []
        for piece in reversed(pieces):
            if piece.job.wanted:
                commands = self._requeue(piece, piece.next, piece.chunk.stop) + commands
            self._done_with(piece)
        return commands

    def _place_lent(self, event: PlaceLent) -> list[Command]:
        """Queue what lies behind the task that waits in front: what it waits for may be among it.

        What lies behind it in the same piece was there before it began, and cannot be.
        """
        worker = self._worker(event.slot)
        worker.lends = True
        commands: list[Command] = []
        while len(worker.pieces) > 1:
            piece = worker.pieces.pop()
            if piece.job.wanted:
                commands = self._requeue(piece, piece.next, piece.chunk.stop) + commands
            self._done_with(piece)
        for piece in worker.pieces:
            piece.alone = False
        return commands

    def _place_regained(self, event: PlaceRegained) -> list[Command]:
        self._worker(event.slot).lends = False
        return []

    def _wanted_room(self, event: RoomWanted) -> list[Command]:
        self._room_wanted = event.number
        return []

    def _spare_gone(self, event: SpareGone) -> list[Command]:
        self._spared.pop(event.slot, None)
        return []

    def _spare_idle(self) -> list[Command]:
        """Spare idle workers, as far as their places are wanted."""
        idle = [slot for slot, worker in self._workers.items() if worker.is_free][: self._room_wanted]
        for slot in idle:
            self._spared[slot] = self._workers.pop(slot)
        self._room_wanted -= len(idle)
        return [Spare(slot) for slot in idle]

    def _end_at(self, piece: Piece, event: WorkerLost, worker: Workplace) -> list[Command]:
        """Settle a piece whose worker died at a task of it."""
        assert event.index is not None
        blameless = worker.doomed or event.blameless
        if event.loading or event.importing:  # none of it has run
            stop = piece.chunk.stop
            if blameless:
                return self._requeue(piece, piece.next, stop, suspect=event.suspect)
            if event.importing and event.kind is OutcomeKind.TIMEOUT:  # so will it be for each of them
                job, attempt = piece.job.job, piece.chunk.attempt
                return [Blame(job, attempt, index, event.kind) for index in range(piece.next, stop)]
            if piece.cut:  # the guilty one may be in the part that has gone elsewhere
                return self._requeue(piece, piece.next, stop)
            return self._doubt(piece, stop, event.kind)
        last = piece.chunk.stop if event.packing else piece.chunk.stop - 1
        index = min(max(event.index, piece.next), last)
        if blameless:
            begun = index if event.packing else index + 1
            rest = self._requeue(piece, begun, piece.chunk.stop)
            piece.stopped = worker.sacrificed or piece.stopped
            return self._requeue_run(piece, piece.next, begun, suspect=event.suspect) + rest
        if not event.packing:
            return self._lose(piece, index, event.kind)
        if index == piece.next:  # all that had run was told
            return self._requeue(piece, piece.next, piece.chunk.stop)
        if not piece.job.job.options.retry:  # what ran must not run again, so there is nothing to find out
            return self._lose(piece, index - 1, event.kind)
        return self._doubt(piece, index, event.kind)

    def _lose(self, piece: Piece, index: int, kind: OutcomeKind) -> list[Command]:
        rest = self._requeue(piece, index + 1, piece.chunk.stop)
        earlier = self._requeue_run(piece, piece.next, index)
        return [*earlier, Blame(piece.job.job, piece.chunk.attempt, index, kind), *rest]

    def _doubt(self, piece: Piece, stop: int, kind: OutcomeKind) -> list[Command]:
        """Blame the one task that is left before `stop`, or halve what it may have been, and punish nobody yet.

        So the guilty argument or result is soon alone.
        """
        if stop == piece.next + 1:
            return self._lose(piece, piece.next, kind)
        middle = (piece.next + stop) // 2
        rest = self._requeue(piece, stop, piece.chunk.stop)
        rest = self._requeue(piece, middle, stop) + rest
        return self._requeue(piece, piece.next, middle) + rest

    def _requeue_run(self, piece: Piece, start: int, stop: int, *, suspect: bool = False) -> list[Command]:
        """Queue tasks again that may have run, and whose results died with the worker, if that is allowed."""
        if piece.job.job.options.retry:
            return self._requeue(piece, start, stop, suspect=suspect)
        return [piece.give_back(start, stop, OutcomeKind.LOST)] if start < stop else []

    def _requeue(self, piece: Piece, start: int, stop: int, *, suspect: bool = False) -> list[Command]:
        """Queue a part of a piece in front; give back what was cancelled, and all where the node drains."""
        back = RangeSet([(start, stop)] if self._draining else piece.unwanted.common(start, stop))
        for a, b in reversed(back.missing(start, stop)):
            self._enqueue(part_of(piece, a, b, suspect=suspect), front=True)
        return [piece.give_back(a, b) for a, b in back]

    # Balance

    def _idle(self) -> int:
        """Return how many workers could take over something, as nothing waits for them."""
        if self._one_at_a_time or self._is_queued():
            return 0
        if self._was_short and self._is_short():
            return 0
        return len([worker for worker in self._workers.values() if worker.is_free])

    def _is_queued(self) -> bool:
        """Tell whether something waits for a worker, and not for room."""
        for ventilator in self._ventilators.values():  # noqa: SIM110  # each event comes here, and a generator costs more
            if ventilator.queue:
                return True
        return False

    def _look_for_idle(self) -> None:
        idle = self._idle() > 0
        busy = [worker.measure_burden() for worker in self._workers.values()] if idle else ()
        self._balance.look(idle, busy, self._now)

    def _tasks_not_begun(self, event: TasksNotBegun) -> list[Command]:
        """Queue in front what a worker will not begin, in as many parts as there are idle workers."""
        worker, parts = self._worker(event.slot), max(1, self._idle())
        commands: list[Command] = []
        for piece in [piece for piece in reversed(worker.pieces) if piece.position < event.until]:
            start = max(piece.next, piece.chunk.start + event.position - piece.position)
            if start >= piece.chunk.stop:
                break
            if piece.job.wanted:
                commands = self._requeue_parts(piece, start, parts) + commands
            if start > piece.next:
                piece.chunk, piece.cut = replace(piece.chunk, stop=start), True
            else:
                worker.pieces.remove(piece)
                self._done_with(piece)
        return commands

    def _requeue_parts(self, piece: Piece, start: int, parts: int) -> list[Command]:
        commands: list[Command] = []
        stop, parts = piece.chunk.stop, min(parts, piece.chunk.stop - start)
        cuts = [start + (stop - start) * number // parts for number in range(parts + 1)]
        for first, last in reversed(list(pairwise(cuts))):
            commands = self._requeue(piece, first, last) + commands
        return commands

    # Assigning

    def _assign(self) -> list[Command]:
        spared = self._spare_idle() if self._room_wanted else []
        return spared if self._room_wanted else spared + self._give_out()

    def _give_out(self) -> list[Command]:
        if self._was_short and self._is_short():
            return self._assign_carefully()
        commands: list[Command] = []
        for ahead in (0,) if self._one_at_a_time else (0, 1):
            if not self._is_queued():
                return commands
            for slot, worker in self._workers.items():
                free = worker.serving and not (worker.doomed or worker.lends) and len(worker.pieces) == ahead
                if free and not (ahead and worker.burden.is_silent(self._now)) and (piece := self._next_piece(worker)):
                    commands.append(self._give(slot, worker, piece))
        return commands

    def _next_piece(self, worker: Workplace) -> Piece | None:
        """Return the next piece for this worker: ventilators in turn; ahead only short after short.

        Where it is the turn of one that cannot go ahead, nothing goes ahead of it: it would wait for ever.
        """
        for _ in range(len(self._turns)):
            ventilator = self._ventilators[self._turns[0]]
            if piece := self._startable(ventilator, worker):
                if worker.pieces and not (worker.pieces[0].is_short() and piece.is_short()):
                    return None
                if not self._in_time(piece):
                    return None
                self._turns.rotate(-1)
                ventilator.queue.remove(piece)
                return piece
            self._turns.rotate(-1)
        return None

    def _startable(self, ventilator: Line, worker: Workplace) -> Piece | None:
        """Return the first piece of a line that there is enough for here, as far as tasks say what they need."""
        if ventilator.congested or not ventilator.queue:
            return None
        if not ventilator.queue[0].needs:
            return ventilator.queue[0]
        return self._resources.first_startable(ventilator.queue, worker, self._workers.values())

    def _is_short(self) -> bool:
        """Tell whether memory was short and still matters."""
        if self._admission.paused or any(ventilator.aside for ventilator in self._ventilators.values()):
            return True
        return any(piece.alone for worker in self._workers.values() for piece in worker.pieces)

    def _assign_carefully(self) -> list[Command]:
        """Give what there is memory for; nothing ahead, and nothing beside what has to be alone."""
        commands: list[Command] = []
        for slot, worker in self._workers.items():
            free = worker.serving and not worker.doomed and not worker.pieces
            if free and (piece := self._careful_piece(worker)):
                commands.append(self._give(slot, worker, piece))
        return commands

    def _careful_piece(self, worker: Workplace) -> Piece | None:
        # What waits for others counts as nothing: it would wait for ever for what has to be alone.
        begun = [piece for other in self._workers.values() if not other.lends for piece in other.pieces]
        turns = [(id_, self._ventilators[id_]) for id_ in self._turns if not self._ventilators[id_].congested]
        for _, ventilator in turns:
            for piece in ventilator.aside:
                if piece.stopped and self._admission.has_to_be_alone(piece.stopped, self._now):
                    return None if begun else ventilator.take_alone(piece)
        if begun and (self._admission.paused or any(piece.alone for piece in begun)):
            return None
        for id_, ventilator in turns:
            fitting = (p for p in ventilator.aside if p.stopped and (not begun or self._admission.has_room(p.stopped)))
            chosen = next(fitting, None)
            if chosen is not None:
                ventilator.aside.remove(chosen)
            elif (chosen := self._startable(ventilator, worker)) is not None and self._in_time(chosen):
                ventilator.queue.remove(chosen)
            else:
                continue
            self._turns.remove(id_)
            self._turns.append(id_)
            return chosen
        return None

    def _give(self, slot: int, worker: Workplace, piece: Piece) -> Give:
        if self._one_task:
            piece, worker.serving = self._first_task(piece), False
        self._burden(worker, piece)
        worker.pieces.append(piece)
        job = piece.job.job
        jobs = () if job.id in worker.knows else (job,)
        worker.knows.add(job.id)
        # A job that was forgotten and is back is named anew, and not forgotten in the same breath.
        ended = tuple(id_ for id_ in worker.forget if id_ != job.id)
        worker.forget.clear()
        return Give(slot, jobs, piece.chunk, ended, piece.suspect)

    def _burden(self, worker: Workplace, piece: Piece) -> None:
        burden = worker.burden
        piece.position = burden.given
        burden.given += piece.tasks
        if not worker.pieces:
            burden.heard_at = self._now

    def _first_task(self, piece: Piece) -> Piece:
        """Return the first task of a piece; the rest stays in front."""
        if piece.tasks == 1:
            return piece
        self._enqueue(part_of(piece, piece.next + 1, piece.chunk.stop), front=True)
        return part_of(piece, piece.next, piece.next + 1)

    # What is there

    def inventory(self, ventilator: PeerId) -> tuple[Held, ...]:
        """Return what is here of a ventilator, queued or running."""
        known = self._ventilators.get(ventilator)
        queued = [piece.held(Phase.QUEUED) for piece in (known.waiting() if known else ())]
        begun = [p for w in self._workers.values() for p in w.pieces if p.ventilator == ventilator and p.job.wanted]
        running = [piece.held(Phase.RUNNING) for piece in begun]
        return (*running, *queued)

    def occupants(self) -> set[PeerId]:
        """Return the ventilators that have something here, queued or running."""
        return {id_ for id_, line in self._ventilators.items() if any(job.pieces for job in line.jobs.values())}

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
        return sum(piece.tasks for v in self._ventilators.values() for piece in v.waiting())

    def believed(self) -> dict[int, str]:
        """Return what each worker that is not idle has, for people."""
        return {slot: str([p.show() for p in w.pieces]) for slot, w in self._workers.items() if w.pieces}

    def waits_for_room(self) -> bool:
        """Tell whether a task that was stopped for want of memory waits to be run again."""
        return any(ventilator.aside for ventilator in self._ventilators.values())

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        pieces = [p for v in self._ventilators.values() for p in v.waiting()]
        pieces += [p for w in self._workers.values() for p in w.pieces]
        for piece in pieces:
            assert piece.chunk.start <= piece.next < piece.chunk.stop, repr(self)
            if piece.job.wanted:
                assert self._ventilators[piece.ventilator].jobs[piece.chunk.job] is piece.job, repr(self)
                assert piece.job.pieces == sum(1 for p in pieces if p.job is piece.job), repr(self)
        for ventilator in self._ventilators.values():
            assert all(held.pieces or not held.ended for held in ventilator.jobs.values()), repr(self)
            assert all(piece.stopped for piece in ventilator.aside), repr(self)
        assert set(self._turns) == set(self._ventilators), repr(self)
        assert not self._room_wanted or not any(worker.is_free for worker in self._workers.values()), repr(self)
        assert not self._spared.keys() & self._workers.keys(), repr(self)
        assert not any(worker.pieces for worker in self._spared.values()), repr(self)
        for worker in self._workers.values():
            places = [place for p in worker.pieces for place in (p.position, p.position + p.chunk.stop - p.chunk.start)]
            assert [*places, worker.burden.given] == sorted([*places, worker.burden.given]), repr(self)
        begun = [p for w in self._workers.values() if not w.lends for p in w.pieces]
        assert len(begun) == 1 or not any(piece.alone for piece in begun), repr(self)

    def __repr__(self) -> str:
        queues = ", ".join(f"{id_[:6]} {len(v.aside) + len(v.queue)} queued" for id_, v in self._ventilators.items())
        workers = ", ".join(f"{s}: {[p.show() for p in w.pieces]}" for s, w in self._workers.items())
        return f"<Holding [{queues}] workers=[{workers}]>"


def _range_of(outcome: Outcome) -> str:
    return f"{outcome.job}[{outcome.start}..{outcome.stop}) attempt {outcome.attempt}"
