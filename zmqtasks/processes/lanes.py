"""Several tasks at once in each worker, to a node that thinks of each of them as a worker of its own.

A worker with N lanes runs N tasks side by side: in threads, or as coroutines on one event loop. The node gives orders
by slot, as always; here a slot is a lane of some worker, and the workforce below knows workers only. Owns which lane of
which worker a slot is, and what follows where lanes share a fate: one worker dies, and so do all its lanes. Decides
nothing of tasks: who is innocent, and who may be guilty, it tells the node.

Lanes that were open when their worker was killed over one of them are innocent. Where a worker died by itself and
several tasks ran, each of them is a suspect: the node has it run again alone, which is seen to here: nothing else is
passed on to that worker meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from zmqtasks.messages import Buffer, ObjectId, PeerId, Tasks
from zmqtasks.processes.events import (
    JobRefused,
    NodeStopRequested,
    WorkerAsked,
    WorkerBack,
    WorkerEvent,
    WorkerExited,
    WorkerFailedToStart,
    WorkerLeft,
    WorkerPrinted,
    WorkerReady,
    WorkerSaid,
    WorkerStarted,
    WorkerStuck,
    WorkerWaits,
)
from zmqtasks.processes.memory import MemoryUsage
from zmqtasks.processes.progress import Progress, WorkPhase
from zmqtasks.records import Entity, field, replace

if TYPE_CHECKING:
    import asyncio

    from zmqtasks.processes.workforce import Workforce


class _Order(Entity):
    """Tasks for one lane, and whether nothing may run beside them."""

    slot: int
    tasks: Tasks
    alone: bool


class _Worker(Entity):
    """A process, and what its lanes have."""

    number: int
    lanes: list[int | None]
    """The slot of each lane; None for one that is free."""
    pid: int = 0
    ready: bool = False
    gone: bool = False
    """Its end is being told, a lane at a time: what the node still gives one of them, it will take back."""
    retiring: bool = False
    """Gets no further lanes: it ends when those it has are through."""
    aboard: dict[int, int] = field(default_factory=dict)
    """Tasks that each slot was given and has not told of."""
    alone: int | None = None
    """The slot beside which nothing is to run."""
    waiting: deque[_Order] = field(default_factory=deque)
    condemned: set[int] = field(default_factory=set)
    """Slots whose end the node has asked for."""
    objects: set[ObjectId] = field(default_factory=set)

    def slots(self) -> list[int]:
        """Return the slots of its lanes."""
        return [slot for slot in self.lanes if slot is not None]


_NOTHING = Progress(0, 0, 0, WorkPhase.IDLE, 0)


class LanedWorkers:
    """The face of a workforce to a node, with a slot for each lane.

    Args:
        loop: of the node.
        lanes: tasks at once in a worker.
        make_workforce: makes the workforce, given where its events go.
        on_event: takes what happens, by slot; called from the loop, never from within an order.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        lanes: int,
        make_workforce: Callable[[Callable[[WorkerEvent], None]], Workforce],
        on_event: Callable[[WorkerEvent], None],
    ) -> None:
        self._loop = loop
        self._count = lanes
        self._on_event = on_event
        self._workers: dict[int, _Worker] = {}
        self._places: dict[int, tuple[_Worker, int]] = {}
        self._force = make_workforce(self._heard)

    # Orders

    def start(self, slot: int) -> None:
        """Open a lane: of a worker that has one to spare, or of a new worker."""
        for worker in self._workers.values():
            if not worker.retiring and None in worker.lanes:
                self._open(slot, worker)
                if worker.pid:
                    self._loop.call_soon(self._tell_opened, slot, worker)
                return
        number = next(n for n in range(len(self._workers) + 1) if n not in self._workers)
        worker = self._workers[number] = _Worker(number, [None] * self._count)
        self._open(slot, worker)
        self._force.start(number)

    def _open(self, slot: int, worker: _Worker) -> None:
        lane = worker.lanes.index(None)
        worker.lanes[lane] = slot
        worker.aboard[slot] = 0
        self._places[slot] = worker, lane

    def _tell_opened(self, slot: int, worker: _Worker) -> None:
        if slot in worker.lanes:
            self._on_event(WorkerStarted(slot, worker.pid))
            if worker.ready and slot in worker.lanes:
                self._on_event(WorkerReady(slot))

    def send(self, slot: int, tasks: Tasks, *, alone: bool = False) -> None:
        """Give work to a lane; with `alone`, when the others of its worker have nothing."""
        worker, lane = self._places[slot]
        if worker.gone:
            return
        new = tuple(put for put in tasks.objects if put.id not in worker.objects)
        worker.objects.update(put.id for put in new)
        worker.objects.difference_update(tasks.dropped)
        worker.waiting.append(_Order(slot, replace(tasks, seq=lane, objects=new), alone))
        self._pass_on(worker)

    def _pass_on(self, worker: _Worker) -> None:
        """Pass on what waits, as far as it may run beside what runs."""
        if worker.alone is not None and not worker.aboard.get(worker.alone):
            worker.alone = None
        while worker.waiting and worker.alone is None:
            order = worker.waiting[0]
            if order.alone:
                if any(worker.aboard.values()):
                    return
                worker.alone = order.slot
            worker.waiting.popleft()
            worker.aboard[order.slot] += sum(chunk.stop - chunk.start for chunk in order.tasks.chunks)
            self._force.send(worker.number, order.tasks)

    def take_back(self, slot: int, given: int) -> int:
        """Leave it to the lane: tasks beside each other are not counted in one order."""
        return given

    def stop(self, slot: int) -> None:
        """Close a lane; its worker ends with the last one, and gets no new ones."""
        worker, _ = self._places[slot]
        if worker.gone:
            return
        worker.retiring = True
        if len(worker.slots()) > 1:
            self._close_lane(slot)
            self._loop.call_soon(self._on_event, WorkerExited(slot, worker.pid, None, 0, "", _NOTHING, 0.0))
        else:
            self._force.stop(worker.number)

    def _close_lane(self, slot: int) -> None:
        worker, lane = self._places.pop(slot)
        worker.lanes[lane] = None
        worker.aboard.pop(slot, None)

    def kill(self, slot: int) -> None:
        """Kill the worker of a lane; the other lanes are innocent."""
        worker, _ = self._places[slot]
        worker.condemned.add(slot)
        worker.retiring = True
        if not worker.gone:
            self._force.kill(worker.number)

    def interrupt(self, slot: int, chunk: int, index: int, *, stalled: bool) -> None:
        """Have a lane end the task it is at, if it still is at it and listens."""
        worker, lane = self._places[slot]
        if not worker.gone:
            self._force.interrupt(worker.number, chunk, index, stalled=stalled, lane=lane)

    def dump_stack(self, slot: int) -> bool:
        """Ask the worker of a lane to write down where all its threads are."""
        worker, _ = self._places[slot]
        return not worker.gone and self._force.dump_stack(worker.number)

    def answer(self, slot: int, number: int, body: Buffer) -> None:
        """Give the worker of a lane the answer to what it asked."""
        if not self._places[slot][0].gone:
            self._force.answer(self._places[slot][0].number, number, body)

    def tell_lost(self, slot: int, ventilator: PeerId) -> None:
        """Tell the worker of a lane that what it asked is lost."""
        if not self._places[slot][0].gone:
            self._force.tell_lost(self._places[slot][0].number, ventilator)

    def resume(self, slot: int) -> None:
        """Have the task of a lane go on that has waited."""
        worker, lane = self._places[slot]
        if not worker.gone:
            self._force.resume(worker.number, lane)

    def deny(self, slot: int) -> None:
        """Tell a lane that it keeps its place while its task waits."""
        worker, lane = self._places[slot]
        if not worker.gone:
            self._force.deny(worker.number, lane)

    def close(self) -> None:
        """End all workers."""
        self._force.close()

    # What is seen

    def progress(self, slot: int) -> Progress:
        """Return what a lane does."""
        worker, lane = self._places[slot]
        return _NOTHING if worker.gone else self._force.progress(worker.number, lane)

    def memory(self, slot: int) -> int:
        """Return what the worker of a lane holds: it cannot be told of one lane."""
        worker, _ = self._places[slot]
        return 0 if worker.gone else self._force.memory(worker.number)

    def unique_memory(self, slot: int) -> int:
        """Return the same, each page once."""
        worker, _ = self._places[slot]
        return 0 if worker.gone else self._force.unique_memory(worker.number)

    def stack_bytes(self, slot: int) -> int:
        """Return how much the worker of a lane has written down."""
        worker, _ = self._places[slot]
        return 0 if worker.gone else self._force.stack_bytes(worker.number)

    def usage(self, limit_bytes: int | None, threshold: float) -> MemoryUsage:
        """Return what is used; what a worker holds is told of its first lane."""
        usage = self._force.usage(limit_bytes, threshold)
        first = {number: slot for number, worker in self._workers.items() for slot in worker.slots()[:1]}
        held = {first[number]: nbytes for number, nbytes in usage.workers.items() if number in first}
        return usage._replace(workers=held)

    def is_at_rest(self, slot: int) -> bool:
        """Return False: a worker that sleeps may wait for one lane while another has not begun."""
        return False

    # Events

    def _heard(self, event: WorkerEvent) -> None:
        worker = self._workers.get(event.slot)
        if worker is None:
            return
        match event:
            case WorkerSaid(_, outcomes, lane):
                slot = worker.lanes[lane]
                if slot is not None:
                    worker.aboard[slot] -= sum(outcome.stop - outcome.start for outcome in outcomes)
                    self._on_event(WorkerSaid(slot, outcomes))
                    self._pass_on(worker)
            case WorkerStarted():
                worker.pid = event.pid
                self._tell_each(worker, lambda slot: WorkerStarted(slot, worker.pid))
            case WorkerReady():
                worker.ready = True
                self._tell_each(worker, WorkerReady)
            case WorkerLeft(_, reason):
                worker.retiring = True
                self._tell_each(worker, lambda slot: WorkerLeft(slot, reason))
            case WorkerFailedToStart(_, pid, reason, failure):
                worker.retiring = True
                self._failed(worker, pid, reason, failure)
            case WorkerStuck(_, state, end):
                worker.retiring = True
                ends = self._ends(worker, end)
                self._tell_each(worker, lambda slot: WorkerStuck(slot, state, ends[slot]))
            case WorkerExited():
                self._exited(worker, event)
            case WorkerWaits(_, lane) | WorkerBack(_, _, lane):
                if (slot := worker.lanes[lane]) is not None:
                    self._on_event(replace(event, slot=slot))
            case WorkerAsked() | WorkerPrinted() | JobRefused() | NodeStopRequested():
                for slot in worker.slots()[:1]:
                    self._on_event(replace(event, slot=slot))

    def _tell_each(self, worker: _Worker, make: Callable[[int], WorkerEvent]) -> None:
        for slot in worker.slots():
            if slot in worker.lanes:  # what is told of one may have closed another
                self._on_event(make(slot))

    def _failed(self, worker: _Worker, pid: int | None, reason: str, failure: bytes) -> None:
        if pid is None:
            self._forget(worker)
        for slot in worker.slots():
            if pid is None:
                self._close_lane(slot)
            self._on_event(WorkerFailedToStart(slot, pid, reason, failure))

    def _forget(self, worker: _Worker) -> None:
        worker.gone = worker.retiring = True
        del self._workers[worker.number]

    def _exited(self, worker: _Worker, event: WorkerExited) -> None:
        ends = self._ends(worker, event)
        self._forget(worker)
        for slot, end in ends.items():
            self._close_lane(slot)
            self._on_event(end)

    @staticmethod
    def _ends(worker: _Worker, event: WorkerExited) -> dict[int, WorkerExited]:
        """Return the end of each lane: what it was at, and whether it may have been the cause."""
        seen = {slot: event.lanes[lane] for lane, slot in enumerate(worker.lanes) if slot is not None}
        busy = [slot for slot, progress in seen.items() if progress.phase is not WorkPhase.IDLE]
        return {
            slot: replace(
                event,
                slot=slot,
                progress=progress,
                lanes=(),
                innocent=bool(worker.condemned) and slot not in worker.condemned,
                suspect=not worker.condemned and len(busy) > 1,
            )
            for slot, progress in seen.items()
        }
