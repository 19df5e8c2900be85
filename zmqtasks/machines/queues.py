"""The queues of a ventilator: how much waits in each, which are held, and what of one could be taken out.

Owns which queues are held. A queue is a name that jobs carry; what waits stands in their accounts. Moves no task.
Called by `dispatch.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from zmqtasks.machines.accounts import JobAccount
from zmqtasks.machines.book import Book
from zmqtasks.messages import Range


class Queues:
    """Know the queues; see the module."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._held: set[str] = set()

    def job_opened(self, job: JobAccount) -> None:
        """A job is there: it is held where its queue is."""
        job.is_paused = job.options.queue in self._held

    def hold(self, queue: str, *, held: bool) -> None:
        """Let nothing of a queue be sent from now on, or let it go on."""
        (self._held.add if held else self._held.discard)(queue)
        for job in self._jobs(queue):
            job.is_paused = held
            self._book.requeue(job)

    def held(self) -> list[str]:
        """Return the queues that are held."""
        return sorted(self._held)

    def length(self, queue: str, *, delayed: bool) -> int:
        """Return how many tasks of a queue are not aboard a node, with or without those that wait for their moment."""
        here = sum(job.waiting.count() + job.doubted.count() for job in self._jobs(queue))
        return here + (sum(job.delayed.count() for job in self._jobs(queue)) if delayed else 0)

    def waiting(self, queue: str) -> list[Range]:
        """Return the ranges that wait to be sent: jobs of a higher priority first, and each in its order."""
        jobs = sorted(self._jobs(queue), key=lambda job: -job.options.priority)
        return [Range(job.id, *part) for job in jobs for part in job.waiting]

    def all(self, queue: str) -> list[Range]:
        """Return all tasks of a queue, wherever they are."""
        return [Range(job.id, 0, job.total) for job in self._jobs(queue) if job.total]

    def _jobs(self, queue: str) -> Iterator[JobAccount]:
        return (job for job in self._book.jobs.values() if job.options.queue == queue)

    def __repr__(self) -> str:
        return f"<Queues held={self.held()}>"
