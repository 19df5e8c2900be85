"""The book of a ventilator: which task of which job is where, and what was charged when a node was lost.

Owns the accounts of all jobs, of all nodes, and of what is aboard them. A task is in one place: it waits (to be sent,
for its moment, or for word of what became of it), it is aboard a node under an attempt, or it has ended. All that moves
a task from one place to another is a method here, and keeps the accounts in step.

Decides nothing, and says nothing but that a job has ended. Called by `dispatch.py` and the modules it consists of.
They read the accounts, and change in them what they are told or measure; never where a task is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from zmqtasks.machines.accounts import TOLD, Assignment, JobAccount, NodeAccount, cost_of_us
from zmqtasks.machines.charges import Charges
from zmqtasks.machines.dispatch_moves import Command, FinishJob
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.machines.schedule import Schedule
from zmqtasks.messages import JobId, PeerId

INFINITY = float("inf")


class Book:
    """Keep account of where tasks are; see the module."""

    def __init__(self) -> None:
        self.jobs: dict[JobId, JobAccount] = {}
        """Jobs that have not ended."""
        self.ready: dict[int, OrderedDict[JobId, JobAccount]] = {}
        """Jobs with tasks waiting, by priority, in the order of their turns."""
        self.nodes: dict[PeerId, NodeAccount] = {}
        self.roomy: dict[PeerId, NodeAccount] = {}
        """Nodes that may have room, in an order that does not depend on their ids."""
        self.workers = 0
        """Of all nodes that are given work."""
        self.assignments: dict[int, Assignment] = {}
        """What is aboard nodes, by attempt."""
        self.charges = Charges()
        self.schedule = Schedule()
        """Of first and next tries, and of those that have to begin in time."""

    # Jobs

    def end_if_done(self, job: JobAccount) -> list[Command]:
        """Close the account of a job once each task has ended and no more is added, and say so."""
        if not job.closed or job.done.missing(0, job.total):
            return []
        del self.jobs[job.id]
        if self.charges:
            self.charges.forget(job.id)
        return [FinishJob(job.id, job.task_s)]

    def unfinished(self, job_id: JobId, start: int, stop: int) -> list[tuple[int, int]] | None:
        """Return which of these tasks have not ended; None of a job that has no account."""
        job = self.jobs.get(job_id)
        return None if job is None else job.done.missing(start, stop)

    def in_turn(self) -> Iterator[JobAccount]:
        """Go through the ready jobs: highest priority first, those of one priority in turn."""
        for priority in sorted(self.ready, reverse=True):
            yield from self.ready[priority].values()

    # What is not aboard

    def waiting(self) -> int:
        """Return how many tasks are not aboard any node."""
        return sum(j.waiting.count() + j.delayed.count() + j.doubted.count() for j in self.jobs.values())

    def add(self, job: JobAccount, tasks: int, until: float = 0.0, now: float = 0.0) -> None:
        """Let new tasks wait to be sent, or for a moment to come, unless they are doubted or have ended already."""
        first, job.total = job.total, job.total + tasks
        if until > now:
            self.delay(job, first, job.total, until)
        else:
            self.put_back(job, first, job.total)
        if job.is_urgent and job.is_ready:
            self.ready[job.options.priority].move_to_end(job.id, last=False)

    def put_back(self, job: JobAccount, start: int, stop: int) -> None:
        """Let tasks wait to be sent that have not ended, and are not doubted."""
        for a, b in job.done.missing(start, stop):
            for c, d in job.doubted.missing(a, b):
                job.waiting.add(c, d)
        self.requeue(job)

    def doubt(self, job: JobAccount, start: int, stop: int) -> None:
        """Let tasks wait for word of what became of them: they were perhaps sent; and perhaps not added here yet."""
        job.sent = max(job.sent, stop)
        for a, b in job.done.missing(start, stop):
            job.doubted.add(a, b)

    def end_doubt(self, job: JobAccount) -> RangeSet:
        """Return the tasks that waited for word: where they are from now on is for the caller to say."""
        doubted, job.doubted = job.doubted, RangeSet()
        return doubted

    def delay(self, job: JobAccount, start: int, stop: int, until: float) -> None:
        """Let tasks wait for a moment that have not ended, and are not doubted."""
        self._hold(job, start, stop)
        self.schedule.begin(until, job.id, start, stop)

    def _hold(self, job: JobAccount, start: int, stop: int) -> None:
        for a, b in job.done.missing(start, stop):
            for c, d in job.doubted.missing(a, b):
                job.delayed.add(c, d)

    def put_back_due(self, now: float) -> None:
        """Let those tasks wait to be sent whose moment has come."""
        for _, job_id, start, stop in self.schedule.to_begin(now):
            if job := self.jobs.get(job_id):
                for a, b in job.delayed.common(start, stop):
                    job.delayed.remove(a, b)
                    self.put_back(job, a, b)

    def put_back_doubted(self, job: JobAccount, start: int, stop: int) -> None:
        """Let tasks wait of which nobody knows: for their moment, where that is still to come, else to be sent."""
        early = RangeSet((due.start, due.stop) for due in self.schedule.begins_of(job.id))
        for a, b in early.common(start, stop):
            self._hold(job, a, b)
        for a, b in early.missing(start, stop):
            self.put_back(job, a, b)

    def settle(self, job: JobAccount, start: int, stop: int) -> list[tuple[int, int]]:
        """Note that tasks have ended; return those that had not ended before."""
        new = job.done.missing(start, stop)
        job.done.add(start, stop)
        if job.waiting:
            job.waiting.remove(start, stop)
            if not job.waiting:
                self.requeue(job)
        job.delayed.remove(start, stop)
        job.doubted.remove(start, stop)
        job.begun.remove(start, stop)
        job.ledger.settled(start, stop)
        return new

    def requeue(self, job: JobAccount) -> None:
        """Keep the job among the ready ones while, and only while, it has tasks waiting that may be sent."""
        queue = self.ready.setdefault(job.options.priority, OrderedDict())
        if job.is_ready:
            queue.setdefault(job.id, job)
        else:
            queue.pop(job.id, None)
        if not queue:
            del self.ready[job.options.priority]

    # Nodes

    def open_node(self, node: NodeAccount) -> None:
        """Open the account of a node."""
        self.nodes[node.id] = self.roomy[node.id] = node
        self.count_workers()

    def close_node(self, node: NodeAccount) -> list[Assignment]:
        """Close the account of a node; return what was aboard: where that is from now on is for the caller to say."""
        del self.nodes[node.id]
        self.roomy.pop(node.id, None)
        self.count_workers()
        aboard = [self.assignments.pop(attempt) for attempt in sorted(node.attempts)]
        for assignment in aboard:
            if job := self.jobs.get(assignment.job):
                job.attempts.discard(assignment.attempt)
        return aboard

    def count_workers(self) -> None:
        """Count workers anew, after a node has changed."""
        self.workers = sum(node.workers for node in self.nodes.values() if node.open)

    # What is aboard

    def note_told(self, job: JobAccount, attempt: int, start: int, stop: int) -> None:
        """Remember that tasks did not succeed under an attempt: nothing new comes of it.

        A node that names it in a later inventory made that before it knew that it was heard. What has ended since is
        forgotten now and then, so that a job with many failures keeps no more than what may still matter.
        """
        for a, b in job.done.missing(start, stop):
            job.told.setdefault(attempt, RangeSet()).add(a, b)
        if len(job.told) > job.told_bound:
            open_ = job.done.missing
            job.told = {told: tasks for told, tasks in job.told.items() if any(open_(*part) for part in tasks)}
            job.told_bound = TOLD + 2 * len(job.told)

    def aboard(self) -> int:
        """Return how many tasks are aboard nodes."""
        return sum(node.tasks for node in self.nodes.values())

    def held_on(self, node: NodeAccount) -> list[Assignment]:
        """Return what is aboard a node."""
        return [self.assignments[attempt] for attempt in node.attempts]

    def held_by(self, job: JobAccount) -> list[Assignment]:
        """Return what is aboard nodes of a job, in the order of its attempts."""
        return [self.assignments[attempt] for attempt in sorted(job.attempts)]

    def send(self, job: JobAccount, node: NodeAccount, attempt: int, start: int, stop: int) -> None:
        """Put tasks aboard that wait to be sent; their job has had its turn."""
        job.waiting.remove(start, stop)
        job.sent = max(job.sent, stop)
        if not job.is_urgent:
            self.ready[job.options.priority].move_to_end(job.id)
        if not job.waiting:
            self.requeue(job)
        self._load(node, job, attempt, RangeSet([(start, stop)]), stop - start)

    def adopt(self, node: NodeAccount, job_id: JobId, attempt: int, ranges: RangeSet) -> None:
        """On a fresh session: what still runs there is not run again, unless it went elsewhere meanwhile."""
        job = self.jobs.get(job_id)
        known = self.assignments.get(attempt)
        if job is None or (known is not None and known.node != node.id):
            return
        # Not what was never sent: arguments are encoded in the order of their first sending.
        places = (job.doubted,) if known else (job.waiting, job.doubted)
        parts = RangeSet(part for a, b in ranges for place in places for part in place.common(a, min(b, job.sent)))
        for start, stop in job.told.get(attempt, ()):
            parts.remove(start, stop)
        if not parts:
            return
        for start, stop in parts:
            job.waiting.remove(start, stop)
            job.doubted.remove(start, stop)
        self.requeue(job)
        if known:
            self._load_more(node, known, parts)
        else:
            self._load(node, job, attempt, parts, parts.count())
        self.assignments[attempt].seen = True

    def _load(self, node: NodeAccount, job: JobAccount, attempt: int, ranges: RangeSet, size: int) -> None:
        nbytes, cost_us = int(size * job.task_bytes), cost_of_us(size, job.task_s)
        self.assignments[attempt] = Assignment(attempt, job.id, node.id, ranges, size, job.task_s, nbytes, cost_us)
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

    def weigh(self, assignment: Assignment, nbytes: int) -> None:
        """Note how large the arguments of an assignment are, now that they are encoded."""
        self.nodes[assignment.node].nbytes += nbytes - assignment.nbytes
        assignment.nbytes = nbytes
        if job := self.jobs.get(assignment.job):
            job.task_bytes = nbytes / assignment.remaining.count()

    def unload(self, assignment: Assignment, start: int, stop: int) -> None:
        """Take tasks off a node; where they are from now on is for the caller to say, unless their job has ended."""
        node, before = self.nodes[assignment.node], assignment.remaining.count()
        assignment.remaining.remove(start, stop)
        left = assignment.remaining.count()
        cost_us = cost_of_us(left, assignment.task_s) if left else 0
        nbytes = assignment.nbytes * left // before
        node.tasks -= before - left
        node.nbytes -= assignment.nbytes - nbytes
        node.cost_us -= assignment.cost_us - cost_us
        assignment.cost_us, assignment.nbytes = cost_us, nbytes
        self.roomy.setdefault(node.id, node)
        if left == 0:
            del self.assignments[assignment.attempt]
            node.attempts.discard(assignment.attempt)
            node.exclusive = node.exclusive and bool(node.attempts)
            if job := self.jobs.get(assignment.job):
                job.attempts.discard(assignment.attempt)

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        for job in self.jobs.values():
            aboard = [part for held in self.held_by(job) for part in held.remaining]
            open_ = [part for held in aboard for part in job.done.missing(*held)]
            places = [*open_, *job.waiting, *job.delayed, *job.doubted, *job.done]
            assert RangeSet(places).count() == sum(b - a for a, b in places), f"{job.id}: in two places in {self!r}"
            assert not RangeSet(places).missing(0, job.total), f"{job.id}: a task is nowhere in {self!r}"
            assert job.is_ready == (job.id in self.ready.get(job.options.priority, ())), repr(self)
        assert all(queue and self.jobs.keys() >= queue.keys() for queue in self.ready.values()), repr(self)
        for node in self.nodes.values():
            held_ = [self.assignments[attempt] for attempt in node.attempts]
            assert node.tasks == sum(a.remaining.count() for a in held_), repr(self)
            assert node.nbytes == sum(a.nbytes for a in held_), repr(self)
            assert node.cost_us == sum(a.cost_us for a in held_), repr(self)
        assert sum(len(node.attempts) for node in self.nodes.values()) == len(self.assignments), repr(self)

    def __repr__(self) -> str:
        jobs = ", ".join(f"{j.id} {j.done.count()}/{j.total} waiting={j.waiting}" for j in self.jobs.values())
        nodes = ", ".join(f"{n.id[:6]} {n.tasks} aboard" for n in self.nodes.values())
        return f"<Book jobs=[{jobs}] nodes=[{nodes}]>"
