"""What a node decides about work: which chunk goes to which worker, what is held, and for whom.

Takes each event to what decides about it: `giving` (who gets what), `remains` (what becomes of what a worker has not
ended) and `unwanted` (what is given back, and who is killed over it), all on one `Stock` (where each piece is). Decides
itself what comes in, when jobs end, what an outcome changes, and when an idle worker takes over from a busy one
(`balance.py` says when).

Never opens a body. A chunk is cut only after a death, by handing out another part of the same body. Called by `node/`
and by the simulation; which workers there are is decided in `slots.py`.

A worker whose task waits for others has lent its place: it gets nothing, and what it has not begun goes to others, for
what its task waits for may be among that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines.admission import Stopped
from zmqtasks.machines.balance import Balance
from zmqtasks.machines.giving import Giving
from zmqtasks.machines.holding_moves import (
    Blame,
    Command,
    DrainRequested,
    Emit,
    EndKnown,
    Event,
    OutcomesSaid,
    PlaceLent,
    PlaceRegained,
    RangesCancelled,
    RoomTold,
    RoomWanted,
    SessionReplaced,
    SinkCongested,
    SpareGone,
    TakeBack,
    TasksNotBegun,
    TasksTaken,
    VentilatorGone,
    WorkerLeft,
    WorkerLost,
    WorkerOffered,
    WorkerSacrificed,
    WorkersUnavailable,
    WorkerWithdrawn,
    WorkStopped,
)
from zmqtasks.machines.pieces import KnownJob, Piece, Workplace
from zmqtasks.machines.remains import Remains
from zmqtasks.machines.stock import Stock
from zmqtasks.machines.unwanted import Unwanted
from zmqtasks.messages import Outcome, OutcomeKind


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
        self._stock = stock = Stock()
        self._workers = stock.workers
        self._giving = Giving(stock, one_task=one_task, in_lanes=in_lanes, resources=resources)
        self._remains = Remains(stock)
        self._unwanted = Unwanted(stock)
        self._balance = Balance()
        self._now = 0.0
        # What is here is the stock's to say, whoever asks.
        self.knows, self.job, self.running, self.believed = stock.knows, stock.job, stock.running, stock.believed
        self.inventory, self.occupants, self.waits_for_room = stock.inventory, stock.occupants, stock.waits_for_room
        self.busy, self.queued = stock.busy, stock.queued
        self._moves: dict[type[Any], Callable[[Any], list[Command]]] = {
            TasksTaken: self._tasks_taken,
            SessionReplaced: self._session_replaced,
            VentilatorGone: self._ventilator_gone,
            RangesCancelled: self._unwanted.cancel,
            WorkerOffered: self._worker_offered,
            WorkerWithdrawn: self._worker_withdrawn,
            OutcomesSaid: self._outcomes_said,
            WorkerLost: self._worker_lost,
            WorkerLeft: self._worker_left,
            TasksNotBegun: self._tasks_not_begun,
            PlaceLent: self._place_lent,
            PlaceRegained: self._place_regained,
            RoomWanted: self._room_wanted,
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
        commands = self._moves[type(event)](event) + self._giving.assign(now)
        self._look_for_idle()
        return commands

    def tick(self, now: float) -> list[Command]:
        """Take back what busy workers have not begun, for those that are idle."""
        self._now = now
        commands: list[Command] = []
        slots = {id(worker.measure_burden()): slot for slot, worker in self._workers.items()}
        for _ in range(self._giving.idle()):
            heaviest = self._balance.due([worker.burden for worker in self._workers.values()], now)
            if heaviest is not None:
                commands.append(TakeBack(slots[id(heaviest)], heaviest.given))
        self._look_for_idle()
        return commands

    def next_deadline(self) -> float:
        """Return the time at which `tick` has something to do."""
        return self._balance.next_deadline()

    def is_idle(self, slot: int) -> bool:
        """Tell whether the worker of a slot has nothing to do."""
        return not self._worker(slot).pieces

    def _look_for_idle(self) -> None:
        idle = self._giving.idle() > 0
        busy = [worker.measure_burden() for worker in self._workers.values()] if idle else ()
        self._balance.look(idle, busy, self._now)

    # Ventilators

    def _tasks_taken(self, event: TasksTaken) -> list[Command]:
        line = self._stock.open_line(event.ventilator)
        for job in event.jobs:
            held = line.jobs.setdefault(job.id, KnownJob(job))
            held.job, held.ended = job, False
        returned: list[Command] = []
        for chunk in event.chunks:
            if chunk.job not in line.jobs:
                raise LocalProtocolError(f"TasksTaken: {event.ventilator} has not named {chunk.job} in {self!r}")
            piece = Piece(event.ventilator, chunk, line.jobs[chunk.job], chunk.start)
            if self._stock.draining:
                returned.append(piece.give_back(chunk.start, chunk.stop))
            else:
                self._stock.enqueue(piece)
        for job_id in event.ended:
            if ending := line.jobs.get(job_id):
                self._stock.end_job(line, ending)
        return returned

    def _session_replaced(self, event: SessionReplaced) -> list[Command]:
        if line := self._stock.lines.get(event.ventilator):
            for held in list(line.jobs.values()):
                # The new session names the jobs it needs anew; the others end with what still runs.
                self._stock.end_job(line, held)
            self._stock.clear(line)
        return []

    def _ventilator_gone(self, event: VentilatorGone) -> list[Command]:
        return self._unwanted.ventilator_gone(event.ventilator)

    def _sink_congested(self, event: SinkCongested) -> list[Command]:
        if line := self._stock.lines.get(event.ventilator):
            line.congested = event.congested
        return []

    def _workers_unavailable(self, event: WorkersUnavailable) -> list[Command]:
        commands: list[Command] = []
        for piece in self._stock.clear_all():
            job, attempt = piece.job.job, piece.chunk.attempt
            tasks = range(piece.next, piece.chunk.stop)
            commands += [Blame(job, attempt, index, OutcomeKind.ERROR) for index in tasks]
        return commands

    # The end of the node

    def _drain_requested(self, event: DrainRequested) -> list[Command]:
        self._stock.draining = True
        return [piece.give_back(piece.next, piece.chunk.stop) for piece in self._stock.clear_all()]

    def _work_stopped(self, event: WorkStopped) -> list[Command]:
        busy = [slot for slot, worker in self._workers.items() if worker.pieces]
        return [command for slot in busy for command in self._unwanted.kill(slot)]

    def _end_known(self, event: EndKnown) -> list[Command]:
        self._giving.ends_at = event.at
        return []

    # Workers

    def _worker(self, slot: int) -> Workplace:
        if slot not in self._workers:
            raise LocalProtocolError(f"slot {slot} has no worker in {self!r}")
        return self._workers[slot]

    def _worker_offered(self, event: WorkerOffered) -> list[Command]:
        if event.slot in self._workers:
            raise LocalProtocolError(f"slot {event.slot} has a worker already in {self!r}")
        spared = self._stock.spared.pop(event.slot) if event.slot in self._stock.spared else None
        self._workers[event.slot] = spared or Workplace()
        return []

    def _worker_withdrawn(self, event: WorkerWithdrawn) -> list[Command]:
        self._worker(event.slot).serving = False
        return []

    def _outcomes_said(self, event: OutcomesSaid) -> list[Command]:
        worker = self._worker(event.slot)
        worker.burden.heard_at = self._now
        commands: list[Command] = []
        for outcome in event.outcomes:
            piece = worker.continued_by(outcome)
            if piece is None:
                raise LocalProtocolError(f"slot {event.slot} told of {_range_of(outcome)}, not its own, in {self!r}")
            piece.next = outcome.stop
            if outcome.kind in (OutcomeKind.OK, OutcomeKind.ERROR, OutcomeKind.RETRY):
                piece.job.measure(outcome.elapsed_s, outcome.stop - outcome.start)
            if piece.job.wanted:
                commands.append(Emit(piece.job.job, (outcome,)))
            if piece.next == piece.chunk.stop:
                worker.pieces.remove(piece)
                self._stock.done_with(piece)
        return commands + self._unwanted.kill_if_unwanted(event.slot)

    def _worker_lost(self, event: WorkerLost) -> list[Command]:
        worker = self._workers.pop(event.slot, None)
        return self._remains.lose(worker, event) if worker else []

    def _worker_left(self, event: WorkerLeft) -> list[Command]:
        """Queue all that a worker has not told of in front; even at most once, for none of it was run."""
        worker = self._worker(event.slot)
        del self._workers[event.slot]
        return self._remains.queue_again(reversed(worker.pieces))

    def _tasks_not_begun(self, event: TasksNotBegun) -> list[Command]:
        """Queue in front what a worker will not begin, in as many parts as there are idle workers."""
        return self._remains.part_with(self._worker(event.slot), event, max(1, self._giving.idle()))

    # Lent places

    def _place_lent(self, event: PlaceLent) -> list[Command]:
        """Queue what lies behind the task that waits in front: what it waits for may be among it.

        What lies behind it in the same piece was there before it began, and cannot be.
        """
        worker = self._worker(event.slot)
        worker.lends = True
        behind = [worker.pieces.pop() for _ in range(len(worker.pieces) - 1)]
        for piece in worker.pieces:
            piece.alone = False
        return self._remains.queue_again(behind)

    def _place_regained(self, event: PlaceRegained) -> list[Command]:
        self._worker(event.slot).lends = False
        return []

    def _room_wanted(self, event: RoomWanted) -> list[Command]:
        self._giving.room_wanted = event.number
        return []

    def _spare_gone(self, event: SpareGone) -> list[Command]:
        self._stock.spared.pop(event.slot, None)
        return []

    # Memory

    def _room_told(self, event: RoomTold) -> list[Command]:
        self._giving.told_room(event)
        return []

    def _worker_sacrificed(self, event: WorkerSacrificed) -> list[Command]:
        worker = self._worker(event.slot)
        self._giving.stopped_one()
        if worker.pieces and not worker.doomed:
            earlier = worker.pieces[0].stopped
            times = 1 + (earlier.times if earlier else 0)
            worker.sacrificed = Stopped(times, event.memory_bytes, self._now)
        return self._unwanted.kill(event.slot)

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        self._stock.check()
        self._giving.check()

    def __repr__(self) -> str:
        return f"<Holding {self._stock!r}>"


def _range_of(outcome: Outcome) -> str:
    return f"{outcome.job}[{outcome.start}..{outcome.stop}) attempt {outcome.attempt}"
