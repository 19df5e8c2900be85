"""The shell of a node: the machines `holding` and `slots` on worker processes and sessions.

Owns the workers' way to the sinks. Decides nothing about tasks or workers; `overseer.py` holds them to the limits of
their tasks. Runs in the loop's thread of a process of its own. Called by `serving.py` and by the simulation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from zmqtasks.errors import TaskLost, TooBig, WorkerCrashed, ZmqtasksError
from zmqtasks.machines import holding_moves as moves
from zmqtasks.machines import leaving, pressure
from zmqtasks.machines import slots_moves as slots
from zmqtasks.machines.holding import Holding
from zmqtasks.machines.placement import offer_of
from zmqtasks.machines.session import Closed
from zmqtasks.machines.slots import Slots
from zmqtasks.messages import (
    NO_SESSION,
    Address,
    Bulk,
    Cancel,
    Chunk,
    Flight,
    Job,
    Load,
    Offer,
    Outcome,
    OutcomeKind,
    PeerId,
    PeerState,
    Query,
    Request,
    Role,
    Status,
    Tasks,
    Window,
    ventilator_of,
)
from zmqtasks.metrics import Metrics
from zmqtasks.neighbours import Company
from zmqtasks.node.counting import Counting
from zmqtasks.node.crosscheck import CrossCheck
from zmqtasks.node.deaths import last_output, loss_of
from zmqtasks.node.departure import Departure
from zmqtasks.node.live_output import Listeners
from zmqtasks.node.memory_watch import MemoryWatch
from zmqtasks.node.objects import ObjectShelf
from zmqtasks.node.overseer import Overseer
from zmqtasks.node.porter import Porter
from zmqtasks.node.ways import Ways
from zmqtasks.node.workers import Workers, staffing_of
from zmqtasks.options import NodeOptions
from zmqtasks.peer import Guest, Peer, Report, Timer
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
    WorkerSkipped,
    WorkerStarted,
    WorkerStuck,
    WorkerWaits,
)
from zmqtasks.records import replace
from zmqtasks.wire import payload

logger = logging.getLogger(__name__)

STARTS = 3
"""So many starts in a row may fail before tasks are told that no worker can be had."""


class Node:
    """Run tasks in worker processes, for whoever opens a session.

    Args:
        peer: owned from now on.
        options: see `NodeOptions`.
        make_workers: makes the worker processes, given where their events go.
        on_drained: called when a drain is through.
        flight: what ran when a node at our address died before us; ventilators want to know.
        company: the other nodes, or None where nobody asks for them.
    """

    def __init__(
        self,
        peer: Peer,
        options: NodeOptions,
        make_workers: Callable[[Callable[[WorkerEvent], None]], Workers],
        *,
        on_drained: Callable[[], None] = lambda: None,
        flight: Flight | None = None,
        company: Company | None = None,
    ) -> None:
        self._peer = peer
        self._flight = flight
        self._company = company
        self._options = options
        self._on_drained = on_drained
        self._holding = Holding(
            one_task=options.max_tasks_per_worker == 1, in_lanes=options.lanes > 1, resources=options.resources
        )
        self._slots = Slots(staffing_of(options))
        offer = offer_of(options)
        self._offer = None if offer == Offer() else offer
        self.stop_requested = False
        """Whether a task has asked for the end of this node."""
        self._workers = make_workers(self._worker_event)
        self._overseer = Overseer(peer.loop, peer.id, self._workers, self._holding.running)
        self._check = CrossCheck(peer.loop, self._workers, self._holding.believed, self._contradicted)
        self._unaccounted: set[int] = set()
        """Workers that were ended because they did not know what they had."""
        self._memory = MemoryWatch(peer.loop, options, self._workers, self._holding, self._relieve)
        self._shelf = ObjectShelf(peer.id, options.put_bytes, self._workers.send)
        self._offered: set[int] = set()
        self._ways = Ways(peer, options.window_bytes, self._congested)
        self._timer: Timer | None = None
        self._idle_timer: Timer | None = None
        self._idle_at = float("inf")
        self._draining = self._ending = self._closed = False
        self._counting = Counting()
        self._failed_starts = 0
        self._listeners = Listeners(peer.loop, peer.guests)  # type: ignore[arg-type]
        self._departure = Departure(peer.loop, options, self._leave)
        self._hold(moves.EndKnown(self._departure.wall_at))
        self._porter = Porter(peer.loop, peer.guests, self._workers.answer, self._workers.tell_lost)
        peer.on_errands = self._porter.heard
        peer.host(Role.VENTILATOR, self)
        peer.host(Role.OBSERVER, self)
        self._manage(slots.Opened())

    @property
    def address(self) -> Address:
        """Return how others reach this node."""
        return self._peer.address

    def join(self, source: str, endpoints: Sequence[str]) -> None:
        """Take what a source says of where other nodes are; they and who asks them hear of this one."""
        if self._company:
            self._company.neighbours.list_seeds(source, endpoints)

    def metrics(self) -> Metrics:
        """Return what was counted since the start."""
        return self._counting.metrics()

    # Sessions

    def guest_joined(self, guest: Guest, *, again: bool) -> None:
        """A ventilator opened a session; after an earlier one its queue starts anew."""
        if again and guest.role is Role.VENTILATOR:
            self._porter.joined(guest)
            self._shelf.left(guest.id)
            self._hold(moves.SessionReplaced(guest.id))
            self._ways.redirect(guest.address)

    def guest_delivered(self, guest: Guest, message: Bulk | Request) -> None:
        """Take tasks, or give some up."""
        if isinstance(message, Tasks):
            if message.objects or message.dropped:
                self._shelf.taken(guest.id, message.objects, message.dropped)
            jobs = tuple([self._bounded(job) for job in message.jobs])
            known = {job.id for job in jobs}
            knows = self._holding.knows
            chunks = tuple([c for c in message.chunks if c.job in known or knows(guest.id, c.job)])
            refused = [(chunk, error) for chunk in chunks if chunk.needs and (error := self._shelf.objection(chunk))]
            if refused:
                self._refuse(guest.id, jobs, refused)
                chunks = tuple(chunk for chunk in chunks if not self._shelf.objection(chunk))
            self._hold(moves.TasksTaken(guest.id, jobs, chunks, message.ended))
            guest.processed(message.seq)
        elif isinstance(message, Cancel):
            self._hold(moves.RangesCancelled(guest.id, message.ranges, message.kill))
            # Whoever asks wants to know at once what is running, and so not taken back.
            guest.speak()
        elif isinstance(message, Query):
            self._listeners.end(guest.id)
        elif isinstance(message, Status) and guest.role is Role.OBSERVER:
            self._departure.drain(message.within_s)

    def _refuse(self, ventilator: PeerId, new: tuple[Job, ...], refused: list[tuple[Chunk, TooBig]]) -> None:
        """End tasks that cannot be run here for want of an object."""
        jobs = {job.id: job for job in new}
        for chunk, error in refused:
            if job := jobs.get(chunk.job) or self._holding.job(ventilator, chunk.job):
                tasks = range(chunk.start, chunk.stop)
                kind = OutcomeKind.TOO_BIG
                self._emit(job, [self._failure(job, chunk.attempt, index, kind, error) for index in tasks])

    def _bounded(self, job: Job) -> Job:
        """Return a job with the limits of this node where it has none of its own."""
        return replace(job, options=job.options.within(self._options))

    def guest_left(self, guest: Guest, closed: Closed) -> None:
        """A ventilator is gone for good: nobody wants its tasks."""
        if self._closed:
            return
        if self._company:
            self._company.forget(guest.id)
        self._listeners.leave(guest.id)
        self._porter.left(guest.id)
        self._shelf.left(guest.id)
        self._hold(moves.VentilatorGone(guest.id))
        self._ways.leave(guest.id)

    def report(self, guest: Guest, *, full: bool) -> Report:
        """Tell a ventilator what it may send, and what is here of its own."""
        have = None
        if full and guest.role is Role.VENTILATOR:
            have = (*self._holding.inventory(guest.id), *self._ways.finished(guest.id))
        load = Load(
            workers=self._worker_count(),
            busy=self._holding.busy(),
            queued=self._holding.queued(),
            done=self._counting.done,
            failed=self._counting.failed,
            lost=self._slots.lost(),
            partial=self._overseer.partial(sorted(self._offered)),
            memory_bytes=self._memory.used_bytes(),
        )
        state = PeerState.DRAIN if self._draining else PeerState.UP
        flight, offer = (None, None) if guest.answered else (self._flight, self._offer)
        metrics = self.metrics() if full and guest.role is Role.OBSERVER else None
        known = self._company.news(guest) if self._company else ()
        return Report(state, self._window_of(guest), have, load, flight, metrics=metrics, known=known, offer=offer)

    def _window_of(self, guest: Guest) -> Window:
        """Return what a ventilator may have here: its part, among all that have something here now."""
        sharers = len(self._holding.occupants() | {guest.id})
        return Window(self._options.window_tasks, self._options.window_bytes // sharers)

    def _worker_count(self) -> int:
        """Return how many workers there are, or are about to be: a start takes milliseconds, and changes nothing."""
        number = self._options.worker_count() * self._options.lanes
        return (max(self._slots.serving(), number - self._slots.lost()) or number) + self._slots.lenders()

    def _tell_owner(self, slot: int) -> None:
        """Tell the ventilator whose task waits that there is room for what it waits for."""
        job = self._holding.running(slot)
        if job and (guest := self._peer.guests.get(ventilator_of(job.id))):
            guest.speak()

    # Work

    def _hold(self, event: moves.Event, error: ZmqtasksError | None = None) -> None:
        self._carry_out_held(self._holding.handle(event, self._peer.loop.time()), error)

    def _carry_out_held(self, commands: list[moves.Command], error: ZmqtasksError | None = None) -> None:
        for command in commands:
            match command:
                # Orders and results first: what is only ours to know can wait for them.
                case moves.Give(slot, jobs, chunk, ended, alone):
                    if chunk.needs:
                        self._shelf.give(slot, chunk.needs)
                    self._workers.send(slot, Tasks(NO_SESSION, 0, jobs, (chunk,), ended), alone=alone)
                    self._overseer.work_begun(slot)
                    self._memory.work_begun()
                    self._check.work_begun()
                case moves.Emit(job, outcomes):
                    self._emit(job, outcomes)
                case moves.Blame(job, attempt, index, kind):
                    assert error is not None
                    self._emit(job, [self._failure(job, attempt, index, kind, error)])
                case moves.GiveBack(job, attempt, start, stop, kind):
                    self._give_back(job, attempt, start, stop, kind)
                case moves.KillWorker(slot):
                    self._workers.kill(slot)
                case moves.TakeBack(slot, given):
                    self._take_back(slot, given)
                case moves.TellLate():
                    logger.warning("what waits here cannot be expected to end before the wall time: this node drains")
                    self.drain()
                case moves.Spare(slot):
                    self._offered.discard(slot)
                    self._manage(slots.WorkerSpared(slot))
        self._ways.flush()
        self._await_idle()

    def _take_back(self, slot: int, given: int) -> None:
        position = self._workers.take_back(slot, given)
        if position < given:
            self._hold(moves.TasksNotBegun(slot, position, given))

    def _await_idle(self) -> None:
        """Come back when an idle worker may take over from another; a timer that fires too early does no harm."""
        deadline = self._holding.next_deadline()
        if deadline < self._idle_at:
            if self._idle_timer:
                self._idle_timer.cancel()
            self._idle_timer, self._idle_at = self._peer.loop.call_at(deadline, self._idle_due), deadline

    def _idle_due(self) -> None:
        self._idle_timer, self._idle_at = None, float("inf")
        self._carry_out_held(self._holding.tick(self._peer.loop.time()))

    def _emit(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self._counting.told(outcome)
        self._ways.emit(job, outcomes)

    def _congested(self, ventilator: PeerId, congested: bool) -> None:
        self._hold(moves.SinkCongested(ventilator, congested))

    def _failure(self, job: Job, attempt: int, index: int, kind: OutcomeKind, error: BaseException) -> Outcome:
        body = payload.pack_failure(error, serializer=job.options.serializer)
        return Outcome(job.id, attempt, self._peer.id, index, index + 1, kind, 0.0, body)

    def _give_back(self, job: Job, attempt: int, start: int, stop: int, kind: OutcomeKind) -> None:
        if kind is OutcomeKind.RETURNED:
            self._emit(job, [Outcome(job.id, attempt, self._peer.id, start, stop, kind, 0.0)])
            return
        error = TaskLost("it ran, and its result was lost with the worker before it could be told")
        self._emit(job, [self._failure(job, attempt, index, kind, error) for index in range(start, stop)])

    # Workers

    def _worker_event(self, event: WorkerEvent) -> None:
        match event:
            case WorkerSaid(slot, outcomes):
                self._hold(moves.OutcomesSaid(slot, outcomes))
                self._overseer.work_begun(slot)
                if not self._slots.is_steady(slot):
                    tasks = sum([outcome.stop - outcome.start for outcome in outcomes])
                    self._manage(slots.TasksEnded(slot, tasks, self._is_idle(slot)))
            case WorkerAsked(slot, number, job, body):
                self._porter.asked(slot, number, job, body)
            case WorkerWaits(slot):
                self._manage(slots.WaitBegun(slot))
            case WorkerBack(slot, at_once):
                self._manage(slots.WaitEnded(slot, at_once))
            case WorkerPrinted():
                self._listeners.printed(event)
            case WorkerStarted():
                logger.debug("worker %d has pid %d", event.slot, event.pid)
                self._counting.worker_started()
                self._manage(slots.WorkerStarted(event.slot))
            case WorkerReady(slot):
                self._failed_starts = 0
                self._manage(slots.WorkerReady(slot, self._peer.chance()))
            case WorkerSkipped(slot, position, until) if slot in self._offered:
                self._hold(moves.TasksNotBegun(slot, position, until))
            case WorkerFailedToStart():
                self._worker_failed(event)
            case WorkerLeft(slot, reason):
                self._worker_left(slot, reason)
            case JobRefused(_, job, reason):
                self._refused(ventilator_of(job), reason)
            case NodeStopRequested(slot):
                logger.warning("a task of worker %d stops this node", slot)
                self.stop_requested = True
                self.drain()
            case WorkerStuck(slot, state, end):
                text = "worker %d (pid %d) was killed and does not end (state %s); its slot is given up until it does"
                logger.error(text, slot, end.pid, state or "unknown")
                self._worker_gone(end, slots.WorkerStuck(slot))
            case WorkerExited():
                self._counting.worker_exited(event.peak_bytes)
                self._worker_gone(event, slots.WorkerExited(event.slot))

    def _refused(self, ventilator: PeerId, reason: str) -> None:
        """Tell the log whose function is not called here; where each has a key of its own, by that."""
        guest = self._peer.guests.get(ventilator)
        key = f" (key {guest.key})" if guest and guest.key else ""
        self._peer.refusals.tell(f"{ventilator}{key}", reason)

    def _worker_failed(self, event: WorkerFailedToStart) -> None:
        logger.error("worker %d cannot start: %s", event.slot, event.reason)
        self._failed_starts += 1
        if self._failed_starts >= STARTS and not self._offered:
            reason = WorkerCrashed(f"no worker of node {self._peer.id} can be started: {event.reason}")
            self._hold(moves.WorkersUnavailable(), reason)
        if event.pid is None:
            self._manage(slots.WorkerExited(event.slot))

    def _worker_left(self, slot: int, reason: str) -> None:
        logger.info("worker %d is replaced: %s", slot, reason)
        self._offered.discard(slot)
        # The next worker first: then what this one hands back finds it ready.
        self._manage(slots.WorkerLeft(slot))
        self._hold(moves.WorkerLeft(slot))

    def _start_abandoned(self, slot: int) -> None:
        """Kill a worker whose initializer takes too long, and tell it like one that fails."""
        limit_s = self._options.start_timeout
        reason = f"it was not ready {limit_s:g} s after its start: a longer start_timeout lets its initializer finish"
        self._worker_failed(WorkerFailedToStart(slot, 0, reason))
        self._workers.kill(slot)

    def _worker_gone(self, event: WorkerExited, fact: slots.WorkerExited | slots.WorkerStuck) -> None:
        verdict = self._overseer.worker_exited(event, last_output(event))
        unaccounted = event.slot in self._unaccounted
        self._unaccounted.discard(event.slot)
        self._porter.worker_gone(event.slot)
        offered = event.slot in self._offered
        self._offered.discard(event.slot)
        self._memory.worker_gone(event.slot)
        self._shelf.worker_gone(event.slot)
        if offered:  # nothing more for the dead, whatever the next worker sets free
            self._hold(moves.WorkerWithdrawn(event.slot))
        # The next worker first: then what the dead one had finds it ready.
        self._manage(fact)
        if offered and unaccounted:
            self._hold(moves.WorkerLost(event.slot, unaccounted=True))
        elif offered:
            self._hold(*loss_of(event, verdict, self._peer.id))
        else:
            self._hold(moves.SpareGone(event.slot))

    def _contradicted(self, slot: int) -> None:
        self._unaccounted.add(slot)
        self._workers.kill(slot)

    def _manage(self, event: slots.Event) -> None:
        self._carry_out(self._slots.handle(event, self._peer.loop.time()))

    def _carry_out(self, commands: list[slots.Command]) -> None:
        for command in commands:
            match command:
                case slots.StartWorker(slot):
                    self._workers.start(slot)
                case slots.Serve(slot):
                    self._offered.add(slot)
                    self._hold(moves.WorkerOffered(slot))
                case slots.Lend(slot):
                    self._hold(moves.PlaceLent(slot))
                    self._tell_owner(slot)
                case slots.Deny(slot):
                    self._workers.deny(slot)
                case slots.Resume(slot):
                    self._workers.resume(slot)
                case slots.Regain(slot):
                    self._hold(moves.PlaceRegained(slot))
                case slots.MakeRoom(number):
                    self._hold(moves.RoomWanted(number))
                case slots.Retire(slot):
                    self._hold(moves.WorkerWithdrawn(slot))
                case slots.StopWorker(slot):
                    self._workers.stop(slot)
                case slots.KillWorker(slot):
                    self._workers.kill(slot)
                case slots.AbandonStart(slot):
                    self._start_abandoned(slot)
                case slots.ReplaceWorker(slot):
                    self._manage(slots.ReplacementRequested(slot, self._is_idle(slot)))
        self._rearm()

    def _rearm(self) -> None:
        if self._timer:
            self._timer.cancel()
        deadline = self._slots.next_deadline()
        self._timer = self._peer.loop.call_at(deadline, self._tick) if deadline < float("inf") else None
        self._check_drained()

    def _tick(self) -> None:
        self._timer = None
        self._carry_out(self._slots.tick(self._peer.loop.time()))

    # The memory of the whole node

    def _relieve(self, command: pressure.Command) -> None:
        match command:
            case pressure.Admit(paused, room, most):
                self._hold(moves.RoomTold(paused, room, most))
            case pressure.Replace(slot) if slot in self._offered:
                self._manage(slots.ReplacementRequested(slot, self._holding.is_idle(slot)))
            case pressure.Sacrifice(slot, held):
                self._hold(moves.WorkerSacrificed(slot, held))
            case pressure.Condemn(slot, task):
                if not self._overseer.condemn(slot, task.attempt, task.number, self._memory.error(command)):
                    self._memory.worker_spared(slot)

    # The end

    def drain(self, within_s: float | None = None) -> None:
        """Start nothing new, hand back what has not started, end when the rest has ended and is acknowledged.

        Args:
            within_s: what runs longer is stopped, and handed back too; None for as long as the options of the node say.
        """
        self._departure.drain(within_s)

    def _leave(self, command: leaving.Command) -> None:
        match command:
            case leaving.StartNothing():
                self._start_nothing()
            case leaving.StopRunning():
                if busy := self._holding.busy():
                    logger.warning("what %d workers still run is stopped, and handed back", busy)
                self._hold(moves.WorkStopped())
            case leaving.GiveUp():
                logger.warning("not all results are acknowledged; this node waits no longer")
                self._on_drained()

    def _start_nothing(self) -> None:
        if self._draining:
            return
        self._draining = True
        self._hold(moves.DrainRequested())
        for guest in self._peer.guests.values():
            guest.speak()
        self._manage(slots.DrainRequested(self._idle()))

    def end(self) -> None:
        """End at once because nobody wants more: who has nothing to do runs finalizer and exit handlers first."""
        if self._ending:
            return
        self._draining = self._ending = True
        self._hold(moves.DrainRequested())
        self._manage(slots.EndRequested(self._idle()))

    def _is_idle(self, slot: int) -> bool:
        return slot not in self._offered or self._holding.is_idle(slot)

    def _idle(self) -> frozenset[int]:
        return frozenset(slot for slot in self._offered if self._holding.is_idle(slot))

    def _check_drained(self) -> None:
        if self._draining and not self._closed and self._slots.all_gone():
            self._peer.loop.call_soon(self._finish_drain)

    def _finish_drain(self) -> None:
        if self._closed:
            return
        if self._ending or self._ways.is_empty():
            self._on_drained()
        else:
            self._peer.loop.call_at(self._peer.loop.time() + 0.02, self._finish_drain)

    def close(self) -> None:
        """End all workers at once and say goodbye; idempotent."""
        if self._closed:
            return
        self._closed = True
        for timer in (self._timer, self._idle_timer):
            if timer:
                timer.cancel()
        self._departure.close()
        self._overseer.close()
        self._check.close()
        self._memory.close()
        self._listeners.close()
        self._porter.close()
        if self._company:
            self._company.close()
        self._workers.close()
        self._ways.close()
        self._peer.close()

    def __repr__(self) -> str:
        return f"<Node {self._peer.id} {self._holding!r} {self._slots!r}>"
