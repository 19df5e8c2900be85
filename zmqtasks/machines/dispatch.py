"""What a ventilator decides: which range goes to which node, in chunks of what size, and what is tried again.

Owns the account of every job: what is not sent yet, what is aboard which node under which attempt, what is done, and
who is to blame for what went wrong. Never holds an argument or a result, never sees a single task except one that
failed. Called by `ventilator.py` and by the simulation.

Sizes: a chunk holds about 20 ms of expected work and at most 1 MiB; a function nobody has measured starts with one
task, and grows sixteenfold with each round trip. A node gets what its workers can chew for a moment, and of long tasks
one a worker: what waits here can still go to whoever is idle first.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines.absence import Aboard, Absences
from zmqtasks.machines.accounts import (
    CHUNK_BYTES,
    CHUNK_S,
    FAMILIAR_TASKS,
    GROWTH,
    LEAST_CHUNK_S,
    UNWEIGHED_TASKS,
    Assignment,
    JobAccount,
    NodeAccount,
    compare,
    cost_of_us,
)
from zmqtasks.machines.blame import Blame, Ledger, Verdict
from zmqtasks.machines.charges import Charge, Charges
from zmqtasks.machines.dispatch_moves import (
    UNKNOWN_ATTEMPT,
    CancelRequested,
    CancelWithdrawn,
    Command,
    Cut,
    Deny,
    DoubtsEnded,
    Encoded,
    EncodingFailed,
    Event,
    Finish,
    FinishJob,
    Inquire,
    JobClosed,
    JobOpened,
    NodeHeard,
    NodeLost,
    NodeOpened,
    NodeSuspected,
    OutcomeMissed,
    OutcomeSettled,
    Recall,
    Restore,
    Send,
    TasksAdded,
    TasksCancelled,
    TasksDoubted,
    TasksRecorded,
)
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.machines.wishes import Wishes
from zmqtasks.messages import Flight, JobId, OutcomeKind, PeerId, Phase, Range, Settled

INFINITY = float("inf")


class Dispatch:
    """Give ranges to nodes; see the module.

    Args:
        first_attempt: attempts are numbered from here; a ventilator that resumes starts beyond its earlier ones.
    """

    def __init__(self, first_attempt: int = 1) -> None:
        self._attempts = count(first_attempt)
        self._jobs: dict[JobId, JobAccount] = {}
        self._ready: dict[int, OrderedDict[JobId, JobAccount]] = {}
        """Jobs with tasks waiting, by priority, in the order of their turns."""
        self._nodes: dict[PeerId, NodeAccount] = {}
        self._roomy: dict[PeerId, NodeAccount] = {}
        """Nodes that may have room, in an order that does not depend on their ids."""
        self._workers = 0
        self._assignments: dict[int, Assignment] = {}
        self._delayed: list[tuple[float, JobId, int]] = []
        self._fill_at = INFINITY
        self._wishes = Wishes()
        self._charges = Charges()
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
            NodeSuspected: self._node_suspected,
            NodeLost: self._node_lost,
            OutcomeSettled: self._outcome_settled,
            TasksCancelled: self._tasks_cancelled,
            CancelRequested: self._cancel_requested,
            CancelWithdrawn: self._cancel_withdrawn,
        }

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; return what to do, in order.

        Raises:
            LocalProtocolError: the event is not legal now, e.g. tasks for a job that was never opened.
        """
        return self._moves[type(event)](event, now)

    def tick(self, now: float) -> list[Command]:
        """Put back what waited for its next try, send what there is room for, and remind nodes of what we want back."""
        while self._delayed and self._delayed[0][0] <= now:
            _, job_id, index = heapq.heappop(self._delayed)
            job = self._jobs.get(job_id)
            if job is not None and index in job.delayed:
                job.delayed.remove(index, index + 1)
                self._put_back(job, index, index + 1)
        return [*self._wishes.due(now), *self._fill()]

    def next_deadline(self) -> float:
        """Return the time at which `tick` has something to do."""
        delayed_until = self._delayed[0][0] if self._delayed else INFINITY
        return min(self._fill_at, delayed_until, self._wishes.next_deadline())

    # What is there to do

    def jobs(self) -> tuple[JobId, ...]:
        """Return the jobs that have not ended."""
        return tuple(self._jobs)

    def waiting(self) -> int:
        """Return how many tasks are not aboard any node."""
        return sum(j.waiting.count() + j.delayed.count() + j.doubted.count() for j in self._jobs.values())

    def is_aboard(self, attempt: int) -> bool:
        """Tell whether tasks are thought to be aboard a node under this attempt."""
        return attempt in self._assignments

    def aboard(self) -> int:
        """Return how many tasks are aboard nodes."""
        return sum(node.tasks for node in self._nodes.values())

    # Jobs

    def _job_opened(self, event: JobOpened, now: float) -> list[Command]:
        if event.job in self._jobs:
            raise LocalProtocolError(f"{type(event).__name__}: {event.job} is open already in {self!r}")
        job = JobAccount(event.job, event.options, event.task_s, Ledger(event.options))
        job.proven = 1 if event.task_s is None else FAMILIAR_TASKS // GROWTH
        self._jobs[job.id] = job
        return []

    def _tasks_added(self, event: TasksAdded, now: float) -> list[Command]:
        job = self._open_job(event)
        first, job.total = job.total, job.total + event.count
        self._put_back(job, first, job.total)
        if job.doubted:
            for node in self._nodes.values():
                for job_id, attempt in [key for key in node.unclaimed if key[0] == job.id]:
                    self._adopt(node, job_id, attempt, node.unclaimed[job_id, attempt])
        return self._fill()

    def _job_closed(self, event: JobClosed, now: float) -> list[Command]:
        job = self._open_job(event)
        job.closed = True
        return self._end_if_done(job)

    def _open_job(self, event: TasksAdded | JobClosed) -> JobAccount:
        job = self._jobs.get(event.job)
        if job is None or job.closed:
            raise LocalProtocolError(f"{type(event).__name__}: {event.job} is not open in {self!r}")
        return job

    def _end_if_done(self, job: JobAccount) -> list[Command]:
        if not job.closed or job.done.missing(0, job.total):
            return []
        del self._jobs[job.id]
        if self._charges:
            self._charges.forget(job.id)
        return [FinishJob(job.id, job.task_s)]

    def _put_back(self, job: JobAccount, start: int, stop: int) -> None:
        for a, b in job.done.missing(start, stop):
            for c, d in job.doubted.missing(a, b):
                job.waiting.add(c, d)
        self._queue(job)

    def _queue(self, job: JobAccount) -> None:
        """Keep the job among the ready ones while, and only while, it has tasks waiting."""
        queue = self._ready.setdefault(job.options.priority, OrderedDict())
        if job.waiting:
            queue.setdefault(job.id, job)
        else:
            queue.pop(job.id, None)
        if not queue:
            del self._ready[job.options.priority]

    def _settle(self, job: JobAccount, start: int, stop: int) -> list[tuple[int, int]]:
        """Note that tasks have ended; return those that had not ended before."""
        new = job.done.missing(start, stop)
        job.done.add(start, stop)
        job.waiting.remove(start, stop)
        job.delayed.remove(start, stop)
        job.doubted.remove(start, stop)
        job.ledger.settled(start, stop)
        self._queue(job)
        return new

    # What an earlier life has left

    def _tasks_recorded(self, event: TasksRecorded, now: float) -> list[Command]:
        job = self._jobs.get(event.job)
        if job is None:
            return []
        return [Restore(job.id, a, b) for a, b in self._settle(job, event.start, event.stop)]

    def _tasks_doubted(self, event: TasksDoubted, now: float) -> list[Command]:
        if job := self._jobs.get(event.job):
            job.sent = max(job.sent, event.stop)
            for a, b in job.done.missing(event.start, event.stop):
                job.doubted.add(a, b)
        return []

    def _doubts_ended(self, event: DoubtsEnded, now: float) -> list[Command]:
        job = self._jobs.get(event.job)
        if job is None or not job.doubted:
            return []
        doubted, job.doubted = job.doubted, RangeSet()
        commands: list[Command] = []
        for a, b in doubted:
            if job.options.retry:
                self._put_back(job, a, b)
            else:
                commands += [Finish(job.id, c, d, OutcomeKind.LOST) for c, d in self._settle(job, a, b)]
        return commands + self._end_if_done(job) + self._fill()

    def _outcome_missed(self, event: OutcomeMissed, now: float) -> list[Command]:
        said = event.settled
        node = self._nodes.get(said.node)
        if node is not None and (held := node.unclaimed.get((said.job, said.attempt))):
            held.remove(said.start, said.stop)
        return []

    # Cancelling

    def _tasks_cancelled(self, event: TasksCancelled, now: float) -> list[Command]:
        job = self._jobs.get(event.job)
        if job is None:
            return []
        recalls = self._want_back(job, RangeSet([(event.start, event.stop)]), now, kill=event.kill)
        self._settle(job, event.start, event.stop)
        return [*recalls, *self._end_if_done(job)]

    def _cancel_requested(self, event: CancelRequested, now: float) -> list[Command]:
        wanted: dict[JobId, RangeSet] = {}
        for job_id, start, stop in event.ranges:
            wanted.setdefault(job_id, RangeSet()).add(start, stop)
        commands: list[Command] = []
        for job_id, ranges in wanted.items():
            if job := self._jobs.get(job_id):
                # At most once and in doubt is not here: it may run.
                places = (job.waiting, job.delayed, *((job.doubted,) if job.options.retry else ()))
                here = [part for place in places for range_ in ranges for part in place.common(*range_)]
                for start, stop in here:
                    commands += self._cancel(job, start, stop)
                commands += [*self._want_back(job, ranges, now, kill=False), *self._end_if_done(job)]
        return commands

    def _cancel_withdrawn(self, event: CancelWithdrawn, now: float) -> list[Command]:
        for range_ in event.ranges:
            self._wishes.withdraw(range_)
        return []

    def _want_back(self, job: JobAccount, wanted: RangeSet, now: float, *, kill: bool) -> list[Command]:
        """Ask nodes for tasks that are aboard and have not ended; those that are not asked before, at once."""
        ranges: dict[PeerId, list[Range]] = {}
        for assignment in map(self._assignments.__getitem__, sorted(job.attempts)):
            aboard = (part for held in assignment.remaining for part in wanted.common(*held))
            for part in (Range(job.id, *open_) for a, b in aboard for open_ in job.done.missing(a, b)):
                self._wishes.add(assignment.attempt, assignment.node, part, now, kill=kill)
                ranges.setdefault(assignment.node, []).append(part)
        return [Recall(node, tuple(parts), kill) for node, parts in ranges.items()]

    def _cancel(
        self, job: JobAccount, start: int, stop: int, attempt: int = UNKNOWN_ATTEMPT, node: PeerId = ""
    ) -> list[Command]:
        """End tasks that were wanted back and will never be begun."""
        return [Finish(job.id, a, b, OutcomeKind.RETURNED, attempt, node) for a, b in self._settle(job, start, stop)]

    def _deny(self, job_id: JobId, start: int, stop: int) -> list[Command]:
        """Say that tasks are not taken back, unless they have ended in silence."""
        job = self._jobs.get(job_id)
        return [Deny(job_id, a, b) for a, b in job.done.missing(start, stop)] if job else []

    # Encoding

    def _encoded(self, event: Encoded, now: float) -> list[Command]:
        if assignment := self._assignments.get(event.attempt):
            self._nodes[assignment.node].nbytes += event.nbytes - assignment.nbytes
            assignment.nbytes = event.nbytes
            if job := self._jobs.get(assignment.job):
                job.task_bytes = event.nbytes / assignment.remaining.count()
        return []

    def _encoding_failed(self, event: EncodingFailed, now: float) -> list[Command]:
        assignment = self._assignments.get(event.attempt)
        if assignment is None:
            return []
        self._unload(assignment, event.start, event.stop)
        # At the next tick, not at once: the shell is in the middle of a Send, and the next task may fail as well.
        self._fill_at = now
        job = self._jobs.get(assignment.job)
        if job is None:
            return []
        self._settle(job, event.start, event.stop)
        return self._end_if_done(job)

    # Nodes

    def _node_opened(self, event: NodeOpened, now: float) -> list[Command]:
        if event.node in self._nodes:
            raise LocalProtocolError(f"{type(event).__name__}: {event.node} is open already in {self!r}")
        self._charges.stand(event.node)
        commands = self._hear_flight(event.flight, now) if event.flight and self._charges else []
        node = NodeAccount(event.node, event.workers, event.window)
        self._nodes[node.id] = self._roomy[node.id] = node
        self._count_workers()
        begun: dict[tuple[JobId, int], RangeSet] = {}
        for held in event.have:
            if held.phase is not Phase.QUEUED:
                begun.setdefault((held.job, held.attempt), RangeSet()).add(held.start, held.stop)
        node.unclaimed = begun
        for (job_id, attempt), ranges in begun.items():
            self._adopt(node, job_id, attempt, ranges)
        if self._wishes:
            self._wishes.heard(event.node, event.have, now)
        return commands + self._fill()

    def _hear_flight(self, flight: Flight, now: float) -> list[Command]:
        """Leave the charge of a dead node with those that ran when it died."""
        judged = self._charges.judge(flight, self._unfinished)
        for charge in judged.pardoned:
            self._pardon(charge, charge.rungs)
        for charge in judged.suspects:
            self._pardon(charge, charge.rungs - 1)
        guilty = judged.guilty
        if guilty is None or guilty.struck:
            return []
        job, index = self._jobs[guilty.job], guilty.start
        if job.ledger.strike(index) is Verdict.AGAIN:
            return []
        # It may be aboard another node by now: not that one, too.
        commands = self._want_back(job, RangeSet([(index, index + 1)]), now, kill=True)
        self._settle(job, index, index + 1)
        killer = Finish(job.id, index, index + 1, OutcomeKind.NODE_KILLER, guilty.attempt, flight.node)
        return [*commands, killer, *self._end_if_done(job)]

    def _pardon(self, charge: Charge, rungs: int) -> None:
        ledger = self._jobs[charge.job].ledger
        ledger.pardon(charge.start, charge.stop, rungs)
        if charge.struck:
            ledger.pardon_strike(charge.start)

    def _unfinished(self, job_id: JobId, start: int, stop: int) -> list[tuple[int, int]] | None:
        job = self._jobs.get(job_id)
        return None if job is None else job.done.missing(start, stop)

    def _adopt(self, node: NodeAccount, job_id: JobId, attempt: int, ranges: RangeSet) -> None:
        """On a fresh session: what still runs there is not run again, unless it went elsewhere meanwhile."""
        job = self._jobs.get(job_id)
        known = self._assignments.get(attempt)
        if job is None or (known is not None and known.node != node.id):
            return
        # Not what was never sent: arguments are encoded in the order of their first sending.
        places = (job.doubted,) if known else (job.waiting, job.doubted)
        parts = RangeSet(part for a, b in ranges for place in places for part in place.common(a, min(b, job.sent)))
        if not parts:
            return
        for start, stop in parts:
            job.waiting.remove(start, stop)
            job.doubted.remove(start, stop)
        self._queue(job)
        self._load(node, job, attempt, parts)

    def _known_node(self, event: NodeHeard | NodeSuspected | NodeLost) -> NodeAccount:
        node = self._nodes.get(event.node)
        if node is None:
            raise LocalProtocolError(f"{type(event).__name__}: {event.node} is not open in {self!r}")
        return node

    def _count_workers(self) -> None:
        self._workers = sum(node.workers for node in self._nodes.values() if node.open)

    def _node_heard(self, event: NodeHeard, now: float) -> list[Command]:
        node = self._known_node(event)
        news = (node.workers, node.open) != (event.workers, event.open)
        node.workers, node.window, node.open = event.workers, event.window, event.open
        if news:
            self._count_workers()
        self._roomy.setdefault(node.id, node)
        commands: list[Command] = []
        if event.have is not None:
            compare(map(self._assignments.__getitem__, node.attempts), event.have)
        if self._wishes and event.have is not None:
            for job_id, start, stop in self._wishes.heard(event.node, event.have, now):
                commands += self._deny(job_id, start, stop)
        if event.have is not None and event.progress is not None:
            aboard = {a: Aboard(self._assignments[a].job, self._assignments[a].remaining) for a in node.attempts}
            if missing := self._absences.heard(node.id, event.have, event.progress, aboard):
                commands.append(Inquire(tuple(missing)))
        return commands + self._fill()

    def _node_suspected(self, event: NodeSuspected, now: float) -> list[Command]:
        self._known_node(event).open = False
        self._count_workers()
        return []

    def _node_lost(self, event: NodeLost, now: float) -> list[Command]:
        node = self._known_node(event)
        del self._nodes[node.id]
        self._roomy.pop(node.id, None)
        self._count_workers()
        aboard = [self._assignments[attempt] for attempt in sorted(node.attempts)]
        alone = event.died and sum(a.remaining.count() for a in aboard) == 1 and not any(a.idle for a in aboard)
        commands: list[Command] = []
        for assignment in aboard:
            commands += self._lose(assignment, alone=alone, died=event.died)
        self._wishes.forget_node(event.node, died=event.died)
        self._absences.forget_node(event.node)
        return commands + self._fill()

    def _lose(self, assignment: Assignment, *, alone: bool, died: bool) -> list[Command]:
        """Take back what was aboard a lost node; at-most-once tasks end here, and what was to be cancelled."""
        del self._assignments[assignment.attempt]
        wished = self._wishes.lose(assignment.attempt, died=died) if self._wishes else []
        job = self._jobs.get(assignment.job)
        if job is None:
            return []
        job.attempts.discard(assignment.attempt)
        commands: list[Command] = []
        for a, b in wished:
            if job.options.retry:
                commands += self._cancel(job, a, b, assignment.attempt, assignment.node)
            else:
                commands += self._deny(job.id, a, b)
        for a, b in [part for held in assignment.remaining for part in job.done.missing(*held)]:
            before = job.ledger.rungs(a) if alone else 0
            verdict = job.ledger.lost(a, b, alone=alone)
            if verdict is Verdict.AGAIN:
                rungs = job.ledger.rungs(a) - before if alone else 1
                self._charges.add(assignment.node, Charge(assignment.attempt, job.id, a, b, alone, rungs))
                self._put_back(job, a, b)
            else:
                kind = OutcomeKind.LOST if verdict is Verdict.LOST else OutcomeKind.NODE_KILLER
                self._settle(job, a, b)
                commands.append(Finish(job.id, a, b, kind, assignment.attempt, assignment.node))
        return commands + self._end_if_done(job)

    # Outcomes

    def _outcome_settled(self, event: OutcomeSettled, now: float) -> list[Command]:
        said = event.settled
        job = self._jobs.get(said.job)
        commands: list[Command] = []
        if self._wishes and job is not None:
            commands += self._fulfil(said, job)
        held = self._take_off(said, job)
        if job is not None and said.kind is OutcomeKind.OK:
            commands += self._succeeded(job, said)
        elif job is not None:
            # A failure counts only from the node and the attempt that hold the task now.
            commands += self._failed(job, said, held, now)
        return commands + self._fill()

    def _fulfil(self, said: Settled, job: JobAccount) -> list[Command]:
        """End the wishes for tasks that are told of: handed back, they are cancelled; else it was too late."""
        commands: list[Command] = []
        for start, stop in self._wishes.end(said.attempt, said.start, said.stop):
            if said.kind is OutcomeKind.RETURNED:
                commands += self._cancel(job, start, stop, said.attempt, said.node)
            else:
                commands += self._deny(job.id, start, stop)
        return commands

    def _take_off(self, said: Settled, job: JobAccount | None) -> list[tuple[int, int]]:
        """Take the tasks off the account of the attempt that held them; return which those are."""
        if said.attempt == UNKNOWN_ATTEMPT and job is not None:
            self._take_off_all(said, job)
        assignment = self._assignments.get(said.attempt)
        held = assignment.remaining.common(said.start, said.stop) if assignment else []
        if assignment is None or not held:
            return held
        self._unload(assignment, said.start, said.stop)
        ran = said.kind in (OutcomeKind.OK, OutcomeKind.ERROR, OutcomeKind.RETRY)
        assignment.broken |= not ran
        if job is not None and ran:
            job.measure(said.elapsed_s, said.stop - said.start)
            if not assignment.remaining and not assignment.broken:
                job.proven = max(job.proven, assignment.size)
        return held

    def _take_off_all(self, said: Settled, job: JobAccount) -> None:
        """Take tasks off whichever attempt holds them: what a sink had to say of it may have died with the sink.

        Where a node has them still, it is thought to be less busy than it is, until it tells of them.
        """
        for assignment in [self._assignments[attempt] for attempt in sorted(job.attempts)]:
            for start, stop in assignment.remaining.common(said.start, said.stop):
                self._unload(assignment, start, stop)

    def _succeeded(self, job: JobAccount, said: Settled) -> list[Command]:
        commands: list[Command] = []
        for a, b in self._settle(job, said.start, said.stop):
            commands.append(Finish(job.id, a, b, OutcomeKind.OK, said.attempt, said.node))
        return commands + self._end_if_done(job)

    def _failed(self, job: JobAccount, said: Settled, held: list[tuple[int, int]], now: float) -> list[Command]:
        commands: list[Command] = []
        for start, stop in [part for range_ in held for part in job.done.missing(*range_)]:
            if said.kind is OutcomeKind.RETURNED:
                commands += self._come_back(job, start, stop, said)
                continue
            for index in range(start, stop):
                commands += self._judge(job, index, said, now)
        return commands + self._end_if_done(job)

    def _come_back(self, job: JobAccount, start: int, stop: int, said: Settled) -> list[Command]:
        """Put back what was not begun; of what is missing nobody can tell whether it was."""
        if said.node in self._nodes or job.options.retry:
            self._put_back(job, start, stop)
            return []
        self._settle(job, start, stop)
        return [Finish(job.id, start, stop, OutcomeKind.LOST, said.attempt, said.node)]

    def _judge(self, job: JobAccount, index: int, said: Settled, now: float) -> list[Command]:
        asked = said.kind is OutcomeKind.RETRY
        blame = job.ledger.asked(index, said.delay_s) if asked else job.ledger.failed(index, said.kind)
        if blame.verdict is Verdict.FINAL:
            self._settle(job, index, index + 1)
            kind = OutcomeKind.EXHAUSTED if asked else said.kind
            return [Finish(job.id, index, index + 1, kind, said.attempt, said.node)]
        if blame.delay_s > 0:
            job.delayed.add(index, index + 1)
            heapq.heappush(self._delayed, (now + blame.delay_s, job.id, index))
        else:
            self._put_back(job, index, index + 1)
        return []

    # The account of what is aboard

    def _load(self, node: NodeAccount, job: JobAccount, attempt: int, ranges: RangeSet) -> None:
        if known := self._assignments.get(attempt):
            self._load_more(node, known, ranges)
            return
        size = ranges.count()
        nbytes, cost_us = int(size * job.task_bytes), cost_of_us(size, job.task_s)
        self._assignments[attempt] = Assignment(attempt, job.id, node.id, ranges, size, job.task_s, nbytes, cost_us)
        job.attempts.add(attempt)
        node.attempts.add(attempt)
        node.tasks += size
        node.nbytes += nbytes
        node.cost_us += cost_us

    def _load_more(self, node: NodeAccount, assignment: Assignment, ranges: RangeSet) -> None:
        """What an earlier life has sent at once is added piece by piece."""
        before = assignment.cost_us
        for start, stop in ranges:
            assignment.remaining.add(start, stop)
        assignment.size += ranges.count()
        assignment.cost_us = cost_of_us(assignment.remaining.count(), assignment.task_s)
        node.tasks += ranges.count()
        node.cost_us += assignment.cost_us - before

    def _unload(self, assignment: Assignment, start: int, stop: int) -> None:
        if self._wishes:
            self._wishes.end(assignment.attempt, start, stop)
        node, before = self._nodes[assignment.node], assignment.remaining.count()
        assignment.remaining.remove(start, stop)
        left = assignment.remaining.count()
        cost_us, nbytes = cost_of_us(left, assignment.task_s), assignment.nbytes * left // before
        node.tasks -= before - left
        node.nbytes -= assignment.nbytes - nbytes
        node.cost_us -= assignment.cost_us - cost_us
        assignment.cost_us, assignment.nbytes = cost_us, nbytes
        self._roomy.setdefault(node.id, node)
        if left == 0:
            del self._assignments[assignment.attempt]
            node.attempts.discard(assignment.attempt)
            node.exclusive = node.exclusive and bool(node.attempts)
            if job := self._jobs.get(assignment.job):
                job.attempts.discard(assignment.attempt)

    # Sending

    def _fill(self) -> list[Command]:
        """Give out what there is room for: to the node with the least before it first."""
        self._fill_at = INFINITY
        if not self._ready:
            return []
        cuts: dict[PeerId, list[Cut]] = {}
        nodes = [(node.load(), place, node) for place, node in enumerate(self._roomy.values())]
        heapq.heapify(nodes)
        while nodes and self._ready:
            _, place, node = nodes[0]
            cut = self._next_cut(node)
            if cut is not None:
                cuts.setdefault(node.id, []).append(cut)
                heapq.heapreplace(nodes, (node.load(), place, node))
                continue
            heapq.heappop(nodes)
            if not node.has_room():
                del self._roomy[node.id]
        return [Send(node_id, tuple(chosen)) for node_id, chosen in cuts.items()]

    def _next_cut(self, node: NodeAccount) -> Cut | None:
        """Return the next range for this node, or None."""
        if not node.has_room():
            return None
        for job in self._in_turn():
            if self._keeps_free(job, node):
                return None
            chosen = self._choose(job, node)
            if chosen is not None:
                start, stop = chosen
                job.waiting.remove(start, stop)
                job.sent = max(job.sent, stop)
                self._ready[job.options.priority].move_to_end(job.id)
                self._queue(job)
                attempt = next(self._attempts)
                self._load(node, job, attempt, RangeSet([chosen]))
                return Cut(job.id, attempt, start, stop)
        return None

    def _in_turn(self) -> Iterator[JobAccount]:
        """Go through the ready jobs: highest priority first, those of one priority in turn."""
        for priority in sorted(self._ready, reverse=True):
            yield from self._ready[priority].values()

    def _keeps_free(self, job: JobAccount, node: NodeAccount) -> bool:
        """Tell whether a busy node is to run empty for a task of this job that has to be alone on one.

        Without this, the other tasks would keep all nodes busy, and this one would never get its turn.
        """
        if not node.attempts or job.ledger.care(job.waiting.first()[0]) is not Blame.NODE_ALONE:
            return False
        kept = self._nodes.get(job.kept_free)
        if kept is None or not kept.open:
            job.kept_free = node.id
        return job.kept_free == node.id

    def _choose(self, job: JobAccount, node: NodeAccount) -> tuple[int, int] | None:
        """Return the next range of the job that this node may have, or None."""
        if node.attempts and node.nbytes + job.task_bytes > node.window.bytes:
            return None
        span = job.ledger.first_sociable(job.waiting) if node.attempts else job.waiting.first()
        if span is None:
            return None
        start, stop = span
        blame = job.ledger.care(start)
        node.exclusive = blame is Blame.NODE_ALONE
        most = 1 if blame is not Blame.NONE else job.ledger.run_without_blame(start, self._size(job, node))
        return start, min(start + most, stop)

    def _size(self, job: JobAccount, node: NodeAccount) -> int:
        """Return how many tasks the next chunk of this job holds."""
        if job.task_s is None:
            return 1
        task_s, task_bytes = max(job.task_s, 1e-7), max(job.task_bytes, 1.0)
        # All workers shall end together: the less is left, the smaller the chunks; not where more may be to come.
        parts = (2 if job.closed else 1) * max(1, self._workers)
        share = max(job.waiting.count() / parts, LEAST_CHUNK_S / task_s)
        fitting = min(node.window.tasks - node.tasks, (node.window.bytes - node.nbytes) / task_bytes)
        weighed = CHUNK_BYTES / job.task_bytes if job.task_bytes else UNWEIGHED_TASKS
        return max(1, int(min(CHUNK_S / task_s, GROWTH * job.proven, weighed, share, fitting)))

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        for job in self._jobs.values():
            aboard = [part for a in job.attempts for part in self._assignments[a].remaining]
            open_ = [part for held in aboard for part in job.done.missing(*held)]
            places = [*open_, *job.waiting, *job.delayed, *job.doubted, *job.done]
            assert RangeSet(places).count() == sum(b - a for a, b in places), f"{job.id}: in two places in {self!r}"
            assert not RangeSet(places).missing(0, job.total), f"{job.id}: a task is nowhere in {self!r}"
            assert bool(job.waiting) == (job.id in self._ready.get(job.options.priority, ())), repr(self)
        assert all(queue and self._jobs.keys() >= queue.keys() for queue in self._ready.values()), repr(self)
        for node in self._nodes.values():
            held_ = [self._assignments[attempt] for attempt in node.attempts]
            assert node.tasks == sum(a.remaining.count() for a in held_), repr(self)
            assert node.nbytes == sum(a.nbytes for a in held_), repr(self)
            assert node.cost_us == sum(a.cost_us for a in held_), repr(self)
        assert sum(len(node.attempts) for node in self._nodes.values()) == len(self._assignments), repr(self)
        self._wishes.check()
        for attempt, start, stop in self._wishes.wanted():
            held = self._assignments[attempt].remaining
            assert held.common(start, stop) == [(start, stop)], f"wanted back, and not aboard: {self._wishes!r}"

    def __repr__(self) -> str:
        jobs = ", ".join(f"{j.id} {j.done.count()}/{j.total} waiting={j.waiting}" for j in self._jobs.values())
        nodes = ", ".join(f"{n.id[:6]} {n.tasks} aboard" for n in self._nodes.values())
        return f"<Dispatch jobs=[{jobs}] nodes=[{nodes}]>"
