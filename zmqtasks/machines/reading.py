"""Which nodes can read a function that travels by value, and what becomes of its tasks where none can.

Code by value is that of one minor version of Python. It goes to nodes of the same, and to those that do not tell;
functions by name go to all. Where every node that is known has answered, and none that ever did can read it, its tasks
end: nobody would ever run them. A node that could and has gone is waited for.

Owns what was ever answered. Called by `dispatch.py`; `filling.py` gives each node what it can read.
"""

from __future__ import annotations

from zmqtasks.machines.accounts import JobAccount
from zmqtasks.machines.book import Book
from zmqtasks.machines.cancelling import Cancelling
from zmqtasks.machines.dispatch_moves import Command, Finish
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import OutcomeKind


class Reading:
    """End tasks that no node can read; see the module."""

    def __init__(self, book: Book, cancelling: Cancelling) -> None:
        self._book = book
        self._cancelling = cancelling
        self._readers: set[str] = set()
        self.all_answered = False
        """Whether no node is known that may still answer."""

    def answered(self, reader: str) -> None:
        """Take note of what a node reads; "" where it does not tell."""
        self._readers.add(reader)

    def judge(self) -> list[Command]:
        """End all tasks that no node can read."""
        return [command for job in list(self._book.jobs.values()) for command in self.judge_job(job)]

    def judge_job(self, job: JobAccount) -> list[Command]:
        """End the tasks of a job, if no node can read it."""
        if not job.reader or not self.all_answered or not self._readers or self._readers & {"", job.reader}:
            return []
        waiting = self._cancelling.waiting(job, RangeSet([(0, job.total)]) if job.total else RangeSet())
        ended = [part for start, stop in waiting for part in self._book.settle(job, start, stop)]
        return [Finish(job.id, *part, OutcomeKind.UNREADABLE) for part in ended] + self._book.end_if_done(job)
