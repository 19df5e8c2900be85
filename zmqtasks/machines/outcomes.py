"""What an outcome leads to: the task has ended, or it is tried again, at once or in a while.

A success counts whatever its attempt. A failure counts only from the node and the attempt that hold the task now, and
what was handed back was not begun. Whose fault a failure is says the `Ledger` of the job.

Owns nothing: where tasks are stands in the `Book`, which this changes. Called by `dispatch.py`.
"""

from __future__ import annotations

from zmqtasks.machines.accounts import JobAccount
from zmqtasks.machines.blame import Verdict
from zmqtasks.machines.book import Book
from zmqtasks.machines.cancelling import Cancelling
from zmqtasks.machines.dispatch_moves import UNKNOWN_ATTEMPT, Command, Finish
from zmqtasks.messages import OutcomeKind, Settled

RAN = (OutcomeKind.OK, OutcomeKind.ERROR, OutcomeKind.RETRY)
"""The task was run to an end: it tells how long one takes, and that a chunk of its size is not too large."""


class Outcomes:
    """Say what becomes of tasks that were told of; see the module."""

    def __init__(self, book: Book, cancelling: Cancelling) -> None:
        self._book = book
        self._cancelling = cancelling

    def settled(self, said: Settled, now: float) -> list[Command]:
        """Take an outcome that a sink has recorded."""
        job = self._book.jobs.get(said.job)
        commands = self._cancelling.fulfil(said, job) if self._cancelling.wishes else []
        held = self._take_off(said, job)
        if job is None:
            return commands
        if said.kind is OutcomeKind.OK:
            return commands + self._succeeded(job, said)
        return commands + self._failed(job, said, held, now)

    def _take_off(self, said: Settled, job: JobAccount | None) -> list[tuple[int, int]]:
        """Take the tasks off the account of the attempt that held them; return which those are."""
        if said.attempt == UNKNOWN_ATTEMPT and job is not None:
            self._take_off_all(said, job)
        assignment = self._book.assignments.get(said.attempt)
        held = assignment.remaining.common(said.start, said.stop) if assignment else []
        if assignment is None or not held:
            return held
        self._book.unload(assignment, said.start, said.stop)
        ran = said.kind in RAN
        assignment.seen = True
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
        for assignment in self._book.held_by(job):
            for start, stop in assignment.remaining.common(said.start, said.stop):
                self._cancelling.wishes.end(assignment.attempt, start, stop)
                self._book.unload(assignment, start, stop)

    def _succeeded(self, job: JobAccount, said: Settled) -> list[Command]:
        commands: list[Command] = []
        for a, b in self._book.settle(job, said.start, said.stop):
            commands.append(Finish(job.id, a, b, OutcomeKind.OK, said.attempt, said.node))
        return commands + self._book.end_if_done(job)

    def _failed(self, job: JobAccount, said: Settled, held: list[tuple[int, int]], now: float) -> list[Command]:
        commands: list[Command] = []
        for start, stop in [part for range_ in held for part in job.done.missing(*range_)]:
            if said.kind is OutcomeKind.RETURNED:
                commands += self._come_back(job, start, stop, said, now)
                continue
            for index in range(start, stop):
                commands += self._judge(job, index, said, now)
        self._book.note_told(job, said.attempt, said.start, said.stop)
        return commands + self._book.end_if_done(job)

    def _come_back(self, job: JobAccount, start: int, stop: int, said: Settled, now: float) -> list[Command]:
        """Put back what was not begun, or asks for it; of what is missing nobody can tell whether it was."""
        if said.delay_s:
            if job.options.expires is not None:
                job.begun.add(start, stop)
            self._book.delay(job, start, stop, now + said.delay_s)
            return []
        if said.node in self._book.nodes or job.options.retry:
            self._book.put_back(job, start, stop)
            return []
        self._book.settle(job, start, stop)
        return [Finish(job.id, start, stop, OutcomeKind.LOST, said.attempt, said.node)]

    def _judge(self, job: JobAccount, index: int, said: Settled, now: float) -> list[Command]:
        asked = said.kind is OutcomeKind.RETRY
        blame = job.ledger.asked(index, said.delay_s) if asked else job.ledger.failed(index, said.kind)
        if blame.verdict is Verdict.FINAL:
            self._book.settle(job, index, index + 1)
            kind = OutcomeKind.EXHAUSTED if asked else said.kind
            return [Finish(job.id, index, index + 1, kind, said.attempt, said.node)]
        if job.options.expires is not None:
            job.begun.add(index, index + 1)
        if blame.delay_s > 0:
            self._book.delay(job, index, index + 1, now + blame.delay_s)
        else:
            self._book.put_back(job, index, index + 1)
        return []
