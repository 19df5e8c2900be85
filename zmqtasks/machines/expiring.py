"""What becomes of tasks that have not begun in time.

Those that wait here end at once. Nodes are asked for those that are aboard: handed back, they have expired; a worker
that has one already has begun it, and it goes on. What has run before and is to run again has begun in time.

Owns nothing: the moments stand in the `Schedule` of the `Book`, what is asked of nodes in `Cancelling`. Called by
`dispatch.py`.
"""

from __future__ import annotations

from zmqtasks.machines.accounts import JobAccount
from zmqtasks.machines.book import Book
from zmqtasks.machines.cancelling import Cancelling
from zmqtasks.machines.dispatch_moves import Command, Finish
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import OutcomeKind


class Expiring:
    """End tasks that have not begun in time; see the module."""

    def __init__(self, book: Book, cancelling: Cancelling) -> None:
        self._book = book
        self._cancelling = cancelling

    def due(self, now: float) -> list[Command]:
        """End those whose time to begin is over, or ask nodes for them."""
        commands: list[Command] = []
        for _, job_id, start, stop in self._book.schedule.to_expire(now):
            if job := self._book.jobs.get(job_id):
                commands += self._expire(job, RangeSet(job.begun.missing(start, stop)), now)
                commands += self._book.end_if_done(job)
        return commands

    def _expire(self, job: JobAccount, late: RangeSet, now: float) -> list[Command]:
        commands: list[Command] = []
        for start, stop in self._cancelling.waiting(job, late):
            ended = self._book.settle(job, start, stop)
            commands += [Finish(job.id, *part, OutcomeKind.EXPIRED) for part in ended]
        recalls = self._cancelling.want_back(job, late, now, kill=False)
        for _, start, stop in (range_ for recall in recalls for range_ in recall.ranges):
            job.expiring.add(start, stop)
        return [*commands, *recalls]
