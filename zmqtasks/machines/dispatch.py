"""What a ventilator decides: which range goes to which node, in chunks of what size, and what is tried again.

Takes each event to what decides about it: `filling` (how large a chunk is, and who gets it), `outcomes` (what an
outcome leads to), `losses` (what follows when a node is lost), `cancelling` (how tasks are taken back) and `expiring`
(what has not begun in time), all on one `Book` (where each task is). Decides itself when jobs and nodes open and close,
and what an earlier life has left.

Never holds an argument or a result, never sees a single task except one that failed. Called by `ventilator/shell.py`
and by the simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines.absence import Aboard, Absences
from zmqtasks.machines.accounts import JobAccount, NodeAccount, compare
from zmqtasks.machines.blame import Ledger
from zmqtasks.machines.book import Book
from zmqtasks.machines.cancelling import Cancelling
from zmqtasks.machines.dispatch_moves import (
    CancelRequested,
    CancelWithdrawn,
    Command,
    DoubtsEnded,
    Encoded,
    EncodingFailed,
    Event,
    Finish,
    Inquire,
    JobClosed,
    JobOpened,
    NodeHeard,
    NodeLost,
    NodeOpened,
    NodesCounted,
    NodeSuspected,
    OutcomeMissed,
    OutcomeSettled,
    QueueHeld,
    Restore,
    TasksAdded,
    TasksCancelled,
    TasksDoubted,
    TasksRecorded,
)
from zmqtasks.machines.expiring import Expiring
from zmqtasks.machines.filling import Filling
from zmqtasks.machines.losses import Losses
from zmqtasks.machines.outcomes import Outcomes
from zmqtasks.machines.placement import Placement
from zmqtasks.machines.queues import Queues
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.machines.reading import Reading
from zmqtasks.messages import Held, JobId, OutcomeKind, Phase


class Dispatch:
    """Give ranges to nodes; see the module.

    Args:
        first_attempt: attempts are numbered from here; a ventilator that resumes starts beyond its earlier ones.
    """

    def __init__(self, first_attempt: int = 1) -> None:
        self._book = Book()
        self._placement = Placement(self._book)
        self.queues = Queues(self._book)
        """To be asked; they are changed by events."""
        self._filling = Filling(self._book, self._placement, first_attempt)
        self._cancelling = Cancelling(self._book)
        self._wishes = self._cancelling.wishes
        self._expiring = Expiring(self._book, self._cancelling)
        self._outcomes = Outcomes(self._book, self._cancelling)
        self._losses = Losses(self._book, self._cancelling)
        self._reading = Reading(self._book, self._cancelling)
        self._absences = Absences()
        self._moves: dict[type[Any], Callable[[Any, float], list[Command]]] = {
            JobOpened: self._job_opened,
            TasksAdded: self._tasks_added,
            TasksRecorded: self._tasks_recorded,
            TasksDoubted: self._tasks_doubted,
            DoubtsEnded: self._doubts_ended,
            OutcomeMissed: self._outcome_missed,
            JobClosed: self._job_closed,
            Encoded: self._encoded,
            EncodingFailed: self._encoding_failed,
            NodeOpened: self._node_opened,
            NodeHeard: self._node_heard,
            NodesCounted: self._nodes_counted,
            NodeSuspected: self._node_suspected,
            NodeLost: self._node_lost,
            OutcomeSettled: self._outcome_settled,
            TasksCancelled: self._tasks_cancelled,
            CancelRequested: self._cancel_requested,
            CancelWithdrawn: self._cancel_withdrawn,
            QueueHeld: self._queue_held,
        }

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; return what to do, in order.

        Raises:
            LocalProtocolError: the event is not legal now, e.g. tasks for a job that was never opened.
        """
        return self._moves[type(event)](event, now)

    def tick(self, now: float) -> list[Command]:
        """Put back what waited for its next try, send what there is room for, and remind nodes of what we want back."""
        self._book.put_back_due(now)
        expired = self._expiring.due(now)
        return [*expired, *self._wishes.due(now), *self._filling.fill()]

    def next_deadline(self) -> float:
        """Return the time at which `tick` has something to do."""
        return min(self._filling.due_at, self._book.schedule.next_deadline(), self._wishes.next_deadline())

    # What is there to do

    def jobs(self) -> tuple[JobId, ...]:
        """Return the jobs that have not ended."""
        return tuple(self._book.jobs)

    def waiting(self) -> int:
        """Return how many tasks are not aboard any node."""
        return self._book.waiting()

    def has_ready(self) -> bool:
        """Tell whether a task waits to be sent, and for nothing else."""
        return bool(self._book.ready)

    def is_aboard(self, attempt: int) -> bool:
        """Tell whether tasks are thought to be aboard a node under this attempt."""
        return attempt in self._book.assignments

    def aboard(self) -> int:
        """Return how many tasks are aboard nodes."""
        return self._book.aboard()

    # Jobs

    def _job_opened(self, event: JobOpened, now: float) -> list[Command]:
        if event.job in self._book.jobs:
            raise LocalProtocolError(f"{type(event).__name__}: {event.job} is open already in {self!r}")
        job = JobAccount(event.job, event.options, event.task_s, Ledger(event.options, event.job))
        job.reader = event.reader
        self._book.jobs[job.id] = job
        self.queues.job_opened(job)
        return self._placement.job_opened(job)

    def _tasks_added(self, event: TasksAdded, now: float) -> list[Command]:
        job = self._open_job(event)
        self._add(job, event.count, now)
        if job.doubted:
            for node in self._book.nodes.values():
                for job_id, attempt in [key for key in node.unclaimed if key[0] == job.id]:
                    self._book.adopt(node, job_id, attempt, node.unclaimed[job_id, attempt])
        unreadable = self._reading.judge_job(job) if job.reader else []
        return [*unreadable, *self._filling.fill()]

    def _add(self, job: JobAccount, count: int, now: float) -> None:
        """Add tasks, which may have to wait for their moment, and may have to begin in time."""
        options, first = job.options, job.total
        if options.expires is not None:
            self._book.schedule.expire(now + options.expires, job.id, first, first + count)
        until = 0.0 if options.not_before is None else options.not_before.monotonic_s
        self._book.add(job, count, max(until, now + options.delay), now)

    def _job_closed(self, event: JobClosed, now: float) -> list[Command]:
        job = self._open_job(event)
        job.closed = True
        return self._book.end_if_done(job)

    def _open_job(self, event: TasksAdded | JobClosed) -> JobAccount:
        job = self._book.jobs.get(event.job)
        if job is None or job.closed:
            raise LocalProtocolError(f"{type(event).__name__}: {event.job} is not open in {self!r}")
        return job

    # What an earlier life has left

    def _tasks_recorded(self, event: TasksRecorded, now: float) -> list[Command]:
        job = self._book.jobs.get(event.job)
        if job is None:
            return []
        return [Restore(job.id, a, b) for a, b in self._book.settle(job, event.start, event.stop)]

    def _tasks_doubted(self, event: TasksDoubted, now: float) -> list[Command]:
        if job := self._book.jobs.get(event.job):
            self._book.doubt(job, event.start, event.stop)
        return []

    def _doubts_ended(self, event: DoubtsEnded, now: float) -> list[Command]:
        job = self._book.jobs.get(event.job)
        if job is None or not job.doubted:
            return []
        commands: list[Command] = []
        for a, b in self._book.end_doubt(job):
            if job.options.retry:
                self._book.put_back_doubted(job, a, b)
            else:
                ended = self._book.settle(job, a, b)
                commands += [Finish(job.id, c, d, OutcomeKind.LOST) for c, d in ended]
        return commands + self._book.end_if_done(job) + self._filling.fill()

    def _outcome_missed(self, event: OutcomeMissed, now: float) -> list[Command]:
        said = event.settled
        node = self._book.nodes.get(said.node)
        if node is not None and (held := node.unclaimed.get((said.job, said.attempt))):
            held.remove(said.start, said.stop)
        return []

    # Cancelling

    def _tasks_cancelled(self, event: TasksCancelled, now: float) -> list[Command]:
        job = self._book.jobs.get(event.job)
        if job is None:
            return []
        recalls = self._cancelling.want_back(job, RangeSet([(event.start, event.stop)]), now, kill=event.kill)
        self._book.settle(job, event.start, event.stop)
        return [*recalls, *self._book.end_if_done(job)]

    def _cancel_requested(self, event: CancelRequested, now: float) -> list[Command]:
        return self._cancelling.request(event.ranges, now)

    def _cancel_withdrawn(self, event: CancelWithdrawn, now: float) -> list[Command]:
        for range_ in event.ranges:
            self._wishes.withdraw(range_)
        return []

    def _queue_held(self, event: QueueHeld, now: float) -> list[Command]:
        self.queues.hold(event.queue, held=event.held)
        return self._filling.fill()

    # Encoding

    def _encoded(self, event: Encoded, now: float) -> list[Command]:
        if assignment := self._book.assignments.get(event.attempt):
            self._book.weigh(assignment, event.nbytes)
        return []

    def _encoding_failed(self, event: EncodingFailed, now: float) -> list[Command]:
        assignment = self._book.assignments.get(event.attempt)
        if assignment is None:
            return []
        self._wishes.end(event.attempt, event.start, event.stop)
        self._book.unload(assignment, event.start, event.stop)
        # At the next tick, not at once: the shell is in the middle of a Send, and the next task may fail as well.
        self._filling.due_at = now
        job = self._book.jobs.get(assignment.job)
        if job is None:
            return []
        self._book.settle(job, event.start, event.stop)
        return self._book.end_if_done(job)

    # Nodes

    def _node_opened(self, event: NodeOpened, now: float) -> list[Command]:
        if event.node in self._book.nodes:
            raise LocalProtocolError(f"{type(event).__name__}: {event.node} is open already in {self!r}")
        charges = self._book.charges
        charges.stand(event.node)
        commands = self._losses.hear(event.flight, now) if event.flight and charges else []
        node = NodeAccount(event.node, event.workers, event.window, reader=event.reader, offer=event.offer)
        self._reading.answered(event.reader)
        self._book.open_node(node)
        commands += self._placement.nodes_changed()
        begun: dict[tuple[JobId, int], RangeSet] = {}
        for held in event.have:
            if held.phase is not Phase.QUEUED:
                begun.setdefault((held.job, held.attempt), RangeSet()).add(held.start, held.stop)
        # The latest first: what an earlier attempt came to may have been told, and its word never comes again.
        node.unclaimed = dict(sorted(begun.items(), key=lambda held: held[0][1], reverse=True))
        for (job_id, attempt), ranges in node.unclaimed.items():
            self._book.adopt(node, job_id, attempt, ranges)
        if self._wishes:
            # It denies nothing: wishes ended with the session before, but for what was to be killed.
            self._cancelling.heard(event.node, event.have, now)
        return commands + self._filling.fill()

    def _nodes_counted(self, event: NodesCounted, now: float) -> list[Command]:
        self._reading.all_answered = event.all_answered
        return self._reading.judge()

    def _known_node(self, event: NodeHeard | NodeSuspected | NodeLost) -> NodeAccount:
        node = self._book.nodes.get(event.node)
        if node is None:
            raise LocalProtocolError(f"{type(event).__name__}: {event.node} is not open in {self!r}")
        return node

    def _node_heard(self, event: NodeHeard, now: float) -> list[Command]:
        node = self._known_node(event)
        news = (node.workers, node.open) != (event.workers, event.open)
        node.workers, node.window, node.open = event.workers, event.window, event.open
        if news:
            self._book.count_workers()
        self._book.roomy.setdefault(node.id, node)
        commands = [] if event.have is None else self._compare(node, event.have, event.progress, now)
        return commands + self._filling.fill()

    def _compare(
        self, node: NodeAccount, have: Sequence[Held], progress: tuple[int, int] | None, now: float
    ) -> list[Command]:
        """Compare what is thought to be aboard with the inventory of a node."""
        assignments = self._book.assignments
        compare(map(assignments.__getitem__, node.attempts), have)
        commands = self._cancelling.heard(node.id, have, now) if self._wishes else []
        if progress is not None:
            aboard = {a: Aboard(assignments[a].job, assignments[a].remaining) for a in node.attempts}
            if missing := self._absences.heard(node.id, have, progress, aboard):
                commands.append(Inquire(tuple(missing)))
        return commands

    def _node_suspected(self, event: NodeSuspected, now: float) -> list[Command]:
        self._known_node(event).open = False
        self._book.count_workers()
        return []

    def _node_lost(self, event: NodeLost, now: float) -> list[Command]:
        commands = self._losses.lose(self._known_node(event), died=event.died)
        self._absences.forget_node(event.node)
        return [*commands, *self._placement.nodes_changed(), *self._filling.fill()]

    # Outcomes

    def _outcome_settled(self, event: OutcomeSettled, now: float) -> list[Command]:
        return self._outcomes.settled(event.settled, now) + self._filling.fill()

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        self._book.check()
        self._cancelling.check()

    def __repr__(self) -> str:
        return f"<Dispatch {self._book!r} {self._wishes!r}>"
