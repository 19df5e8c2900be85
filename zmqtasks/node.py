"""The shell of a node: the machines `holding` and `slots` on worker processes and sessions.

Owns the workers' way to the sinks and the watch over running tasks. Decides nothing about tasks or workers. Runs in
the loop's thread of a process of its own. Called by `node_main.py` and by the simulation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from zmqtasks.errors import MemoryLimitExceeded, TaskLost, TaskTimeout, WorkerCrashed, ZmqtasksError
from zmqtasks.machines import holding_moves as moves
from zmqtasks.machines import slots
from zmqtasks.machines.holding import Holding
from zmqtasks.machines.session import Closed
from zmqtasks.messages import (
    NO_SESSION,
    Address,
    Bulk,
    Cancel,
    Job,
    Load,
    Outcome,
    OutcomeKind,
    PeerId,
    PeerState,
    Query,
    Role,
    Tasks,
    Window,
    ventilator_of,
)
from zmqtasks.options import NodeOptions
from zmqtasks.peer import Guest, Peer, Report, Timer
from zmqtasks.processes.events import (
    WorkerEvent,
    WorkerExited,
    WorkerFailedToStart,
    WorkerReady,
    WorkerSaid,
    WorkerStarted,
)
from zmqtasks.processes.execution import GRANULE_NS
from zmqtasks.processes.exits import describe_end
from zmqtasks.processes.progress import Progress, WorkPhase
from zmqtasks.routes import Route
from zmqtasks.wire import payload

logger = logging.getLogger(__name__)

MEMORY_LOOK_S = 0.1
"""How often memory is looked at while a task with a limit runs: 15 us a worker each time."""
STACK_DUMP_S = 0.1
"""How long a worker gets to write down where it is before it is killed."""
OUTPUT_LINES = 50
"""Of what a worker printed last, so much goes into the error of the task it died over."""
STARTS = 3
"""So many starts in a row may fail before tasks are told that no worker can be had."""


class Workers(Protocol):
    """The worker processes, as the node sees them; `processes.workforce` and `testing` have this face."""

    def start(self, slot: int) -> None:
        """Start a process in a slot."""

    def send(self, slot: int, message: Tasks) -> None:
        """Give chunks to a worker."""

    def stop(self, slot: int) -> None:
        """Ask an idle worker to end."""

    def kill(self, slot: int) -> None:
        """End a worker and its children by force."""

    def dump_stack(self, slot: int) -> bool:
        """Let a worker write down where it is."""

    def progress(self, slot: int) -> Progress:
        """Return what a worker is doing."""

    def memory(self, slot: int) -> int:
        """Return the resident bytes of a worker."""

    def close(self) -> None:
        """End all of them."""


@dataclass(frozen=True, slots=True)
class _Sentence:
    """Why a worker is being killed, and over which task."""

    kind: OutcomeKind
    attempt: int
    index: int
    error: ZmqtasksError


class Node:
    """Run tasks in worker processes, for whoever opens a session.

    Args:
        peer: owned from now on.
        options: see `NodeOptions`.
        make_workers: makes the worker processes, given where their events go.
        on_drained: called when a drain is through.
    """

    def __init__(
        self,
        peer: Peer,
        options: NodeOptions,
        make_workers: Callable[[Callable[[WorkerEvent], None]], Workers],
        *,
        on_drained: Callable[[], None] = lambda: None,
    ) -> None:
        self._peer = peer
        self._options = options
        self._on_drained = on_drained
        self._holding = Holding(one_task=options.max_tasks_per_worker == 1)
        self._slots = slots.Slots(staffing_of(options))
        self._workers = make_workers(self._worker_event)
        self._offered: set[int] = set()
        self._sentences: dict[int, _Sentence] = {}
        self._routes: list[Route] = []
        self._timer: Timer | None = None
        self._watch: Timer | None = None
        self._draining = self._closed = False
        self._done = self._failed = self._failed_starts = 0
        peer.host(Role.VENTILATOR, self)
        peer.host(Role.OBSERVER, self)
        self._manage(slots.Opened())

    @property
    def address(self) -> Address:
        """Return how others reach this node."""
        return self._peer.address

    # Sessions

    def guest_joined(self, guest: Guest, *, again: bool) -> None:
        """A ventilator opened a session; after an earlier one its queue starts anew."""
        if again and guest.role is Role.VENTILATOR:
            self._hold(moves.SessionReplaced(guest.id))

    def guest_delivered(self, guest: Guest, message: Bulk | Cancel | Query) -> None:
        """Take tasks, or give some up."""
        if isinstance(message, Tasks):
            guest.processed(message.seq)
            known = {job.id for job in message.jobs}
            chunks = tuple(c for c in message.chunks if c.job in known or self._holding.knows(guest.id, c.job))
            self._hold(moves.TasksTaken(guest.id, message.jobs, chunks, message.ended))
        elif isinstance(message, Cancel):
            self._hold(moves.RangesCancelled(guest.id, message.ranges, message.kill))

    def guest_left(self, guest: Guest, closed: Closed) -> None:
        """A ventilator is gone for good: nobody wants its tasks."""
        if self._closed:
            return
        self._hold(moves.VentilatorGone(guest.id))
        for route in [route for route in self._routes if guest.id in route.ventilators]:
            route.leave(guest.id)
            if not route.ventilators:
                route.close()
                self._routes.remove(route)

    def report(self, guest: Guest, *, full: bool) -> Report:
        """Tell a ventilator what it may send, and what is here of its own."""
        have = None
        if full and guest.role is Role.VENTILATOR:
            finished = (held for route in self._routes for held in route.finished(guest.id))
            have = (*self._holding.inventory(guest.id), *finished)
        load = Load(
            workers=self._slots.serving() or self._options.worker_count(),
            busy=self._holding.busy(),
            queued=self._holding.queued(),
            done=self._done,
            failed=self._failed,
        )
        state = PeerState.DRAIN if self._draining else PeerState.UP
        return Report(state, Window(self._options.window_tasks, self._options.window_bytes), have, load)

    # Work

    def _hold(self, event: moves.Event, error: ZmqtasksError | None = None) -> None:
        for command in self._holding.handle(event, self._peer.loop.time()):
            match command:
                case moves.Give(slot, jobs, chunk, ended):
                    self._workers.send(slot, Tasks(NO_SESSION, 0, jobs, (chunk,), ended))
                    self._look_soon(chunk.job, slot)
                case moves.Introduce(slot, jobs, ended):
                    self._workers.send(slot, Tasks(NO_SESSION, 0, jobs, (), ended))
                case moves.Emit(job, outcomes):
                    self._emit(job, outcomes)
                case moves.Blame(job, attempt, index, kind):
                    assert error is not None
                    self._emit(job, [self._failure(job, attempt, index, kind, error)])
                case moves.GiveBack(job, attempt, start, stop, kind):
                    self._give_back(job, attempt, start, stop, kind)
                case moves.KillWorker(slot):
                    self._workers.kill(slot)

    def _emit(self, job: Job, outcomes: Iterable[Outcome]) -> None:
        route = self._route_to(job.sink)
        route.join(ventilator_of(job.id))
        for outcome in outcomes:
            if outcome.kind is OutcomeKind.OK:
                self._done += outcome.stop - outcome.start
            elif outcome.kind is not OutcomeKind.RETURNED:
                self._failed += 1
            route.add(outcome)

    def _route_to(self, sink: Address) -> Route:
        """Return the way to a sink; where the one there is leads nowhere, a job may know a newer address."""
        earlier = next((route for route in self._routes if route.leads_to(sink)), None)
        if earlier and (earlier.is_up or earlier.address == sink):
            return earlier
        if earlier:
            self._routes.remove(earlier)
        route = Route(self._peer, sink, self._options.window_bytes, self._congested, earlier)
        if earlier:
            earlier.close()
        self._routes.append(route)
        return route

    def _congested(self, route: Route, congested: bool) -> None:
        for ventilator in sorted(route.ventilators):
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
            case WorkerStarted():
                logger.debug("worker %d has pid %d", event.slot, event.pid)
            case WorkerReady(slot):
                self._failed_starts = 0
                self._manage(slots.WorkerReady(slot, self._peer.chance()))
                if self._slots.is_spare(slot):
                    self._hold(moves.WorkerSpared(slot))
            case WorkerSaid(slot, outcomes):
                self._hold(moves.OutcomesSaid(slot, outcomes))
                tasks = sum(outcome.stop - outcome.start for outcome in outcomes)
                self._manage(slots.TasksEnded(slot, tasks, self._holding.is_idle(slot)))
            case WorkerFailedToStart():
                self._worker_failed(event)
            case WorkerExited():
                self._worker_exited(event)

    def _worker_failed(self, event: WorkerFailedToStart) -> None:
        logger.error("worker %d cannot start: %s", event.slot, event.reason)
        self._failed_starts += 1
        if self._failed_starts >= STARTS and not self._offered:
            reason = WorkerCrashed(f"no worker of node {self._peer.id} can be started: {event.reason}")
            self._hold(moves.WorkersUnavailable(), reason)
        if event.pid is None:
            self._manage(slots.WorkerExited(event.slot))

    def _worker_exited(self, event: WorkerExited) -> None:
        sentence = self._sentences.pop(event.slot, None)
        offered = event.slot in self._offered
        self._offered.discard(event.slot)
        # The next worker first: then what the dead one had finds it ready.
        self._manage(slots.WorkerExited(event.slot))
        if offered:
            self._hold_lost(event, sentence)
        else:
            self._hold(moves.WorkerLost(event.slot, in_order=event.exit_code == 0))

    def _hold_lost(self, event: WorkerExited, sentence: _Sentence | None) -> None:
        progress = event.progress
        if progress.phase is WorkPhase.IDLE:
            self._hold(moves.WorkerLost(event.slot))
            return
        kind, error = OutcomeKind.CRASHED, _crash(event, self._peer.id)
        if sentence and (sentence.attempt, sentence.index) == (progress.attempt, progress.index):
            kind, error = sentence.kind, sentence.error
            if isinstance(error, TaskTimeout):
                error.stack = event.stack
        packing = progress.phase is WorkPhase.PACKING
        self._hold(moves.WorkerLost(event.slot, progress.attempt, progress.index, kind, packing), error)

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
                case slots.Retire(slot):
                    self._hold(moves.WorkerWithdrawn(slot))
                case slots.StopWorker(slot):
                    self._workers.stop(slot)
                case slots.KillWorker(slot):
                    self._workers.kill(slot)
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

    # The watch over running tasks

    def _look_soon(self, job: str, slot: int) -> None:
        """Begin to watch a worker that was given a task with a limit."""
        running = self._holding.running(slot)
        if running and (running.options.timeout or running.options.max_memory) and self._watch is None:
            self._watch = self._peer.loop.call_at(self._peer.loop.time(), self._look)

    def _look(self) -> None:
        """Look at every worker that runs a task with a limit; come back when the next limit can be reached."""
        self._watch = None
        now = self._peer.loop.time()
        due = float("inf")
        for slot in sorted(self._offered):
            job = self._holding.running(slot)
            if job is not None and slot not in self._sentences:
                due = min(due, self._look_at(slot, job, now))
        if due < float("inf"):
            self._watch = self._peer.loop.call_at(due, self._look)

    def _look_at(self, slot: int, job: Job, now: float) -> float:
        """Return when to look again at this worker, or infinity."""
        options, progress = job.options, self._workers.progress(slot)
        due = float("inf")
        if options.max_memory is not None:
            due = now + MEMORY_LOOK_S
            used = self._workers.memory(slot)
            if used > options.max_memory and progress.phase is not WorkPhase.IDLE:
                text = f"the worker held {used} bytes while it ran this task; its limit is {options.max_memory}"
                memory = MemoryLimitExceeded(text, peak_bytes=used)
                self._condemn(slot, _Sentence(OutcomeKind.OUT_OF_MEMORY, progress.attempt, progress.index, memory), now)
                return due
        if options.timeout is not None:
            running = progress.phase is WorkPhase.RUNNING
            ends = (
                (progress.started_ns + GRANULE_NS) / 1e9 + options.timeout
                if running
                else now + min(options.timeout, 0.05)
            )
            if ends <= now:
                late = TaskTimeout(f"the task ran longer than its timeout of {options.timeout:g} s")
                self._condemn(slot, _Sentence(OutcomeKind.TIMEOUT, progress.attempt, progress.index, late), now)
                return due
            due = min(due, ends + 0.001)
        return due

    def _condemn(self, slot: int, sentence: _Sentence, now: float) -> None:
        """Kill the worker over this task, after it had a moment to write down where it is."""
        self._sentences[slot] = sentence
        self._workers.dump_stack(slot)
        wait_s = STACK_DUMP_S if sentence.kind is OutcomeKind.TIMEOUT else 0.0
        self._peer.loop.call_at(now + wait_s, self._execute, slot, sentence)

    def _execute(self, slot: int, sentence: _Sentence) -> None:
        if self._sentences.get(slot) is not sentence:
            return
        progress = self._workers.progress(slot)
        if (progress.attempt, progress.index) == (sentence.attempt, sentence.index):
            self._workers.kill(slot)
        else:
            # It ended in the last moment; whatever runs there now is innocent.
            del self._sentences[slot]
            self._look()

    # The end

    def drain(self) -> None:
        """Start nothing new, hand back what has not started, end when the rest has ended and is acknowledged."""
        if self._draining:
            return
        self._draining = True
        self._hold(moves.DrainRequested())
        for guest in self._peer.guests.values():
            guest.speak()
        idle = frozenset(slot for slot in self._offered if self._holding.is_idle(slot))
        self._manage(slots.DrainRequested(idle))

    def _check_drained(self) -> None:
        if self._draining and not self._closed and self._slots.all_gone():
            self._peer.loop.call_soon(self._finish_drain)

    def _finish_drain(self) -> None:
        if self._closed:
            return
        if all(route.is_empty() for route in self._routes):
            self._on_drained()
        else:
            self._peer.loop.call_at(self._peer.loop.time() + 0.02, self._finish_drain)

    def close(self) -> None:
        """End all workers at once and say goodbye; idempotent."""
        if self._closed:
            return
        self._closed = True
        for timer in (self._timer, self._watch):
            if timer:
                timer.cancel()
        self._workers.close()
        for route in self._routes:
            route.close()
        self._peer.close()

    def __repr__(self) -> str:
        return f"<Node {self._peer.id} {self._holding!r} {self._slots!r}>"


def staffing_of(options: NodeOptions) -> slots.Staffing:
    """Return how many workers a node keeps, and for how long each."""
    return slots.Staffing(options.worker_count(), options.standby, options.max_tasks_per_worker)


def _crash(event: WorkerExited, node: PeerId) -> ZmqtasksError:
    """Say how a worker died."""
    ended = describe_end(event.signal, event.exit_code)
    return WorkerCrashed(
        f"the worker process (pid {event.pid} of node {node}) {ended} while it ran this task",
        signal=event.signal,
        exit_code=event.exit_code,
        output="".join(event.output_tail.splitlines(keepends=True)[-OUTPUT_LINES:]),
        stack=event.stack,
        peak_bytes=event.peak_bytes,
        node=node,
        pid=event.pid,
    )
