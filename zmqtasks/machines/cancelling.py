"""How tasks are taken back: those that wait end at once, of those aboard a node their node is asked.

Owns what is wanted back of nodes (`Wishes`). What is promised is promised on the strength of an outcome, never of a
request: a task that was to be cancelled ends as RETURNED when it is handed back or its node is lost, and is denied
when it was too late. Called by `dispatch.py`, `outcomes.py` and `losses.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from zmqtasks.machines.accounts import Assignment, JobAccount
from zmqtasks.machines.book import Book
from zmqtasks.machines.dispatch_moves import UNKNOWN_ATTEMPT, Command, Deny, Finish, Recall
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.machines.wishes import Wishes
from zmqtasks.messages import Held, JobId, OutcomeKind, PeerId, Range, Settled


class Cancelling:
    """Take tasks back; see the module."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self.wishes = Wishes()
        """What is wanted back of nodes; most of the time nothing, and then nobody need be asked."""

    def request(self, ranges: Iterable[Range], now: float) -> list[Command]:
        """End tasks that wait, and ask nodes for those that are aboard."""
        wanted: dict[JobId, RangeSet] = {}
        for job_id, start, stop in ranges:
            wanted.setdefault(job_id, RangeSet()).add(start, stop)
        commands: list[Command] = []
        for job_id, parts in wanted.items():
            if job := self._book.jobs.get(job_id):
                commands += [command for part in self.waiting(job, parts) for command in self._cancel(job, *part)]
                commands += [*self.want_back(job, parts, now, kill=False), *self._book.end_if_done(job)]
        return commands

    @staticmethod
    def waiting(job: JobAccount, wanted: RangeSet) -> list[tuple[int, int]]:
        """Return which of these tasks are here, and can end at once."""
        # At most once and in doubt is not here: it may run.
        places = (job.waiting, job.delayed, *((job.doubted,) if job.options.retry else ()))
        return [part for place in places for range_ in wanted for part in place.common(*range_)]

    def want_back(self, job: JobAccount, wanted: RangeSet, now: float, *, kill: bool) -> list[Recall]:
        """Ask nodes for tasks that are aboard and have not ended; those that are not asked before, at once."""
        ranges: dict[PeerId, list[Range]] = {}
        for assignment in self._book.held_by(job):
            aboard = (part for held in assignment.remaining for part in wanted.common(*held))
            for part in (Range(job.id, *open_) for a, b in aboard for open_ in job.done.missing(a, b)):
                self.wishes.add(assignment.attempt, assignment.node, part, now, kill=kill)
                ranges.setdefault(assignment.node, []).append(part)
        return [Recall(node, tuple(parts), kill) for node, parts in ranges.items()]

    def fulfil(self, said: Settled, job: JobAccount | None) -> list[Command]:
        """End the wishes for tasks that are told of: handed back, they are cancelled; else it was too late."""
        commands: list[Command] = []
        for start, stop in self.wishes.end(said.attempt, said.start, said.stop):
            if job is None:
                continue
            if said.kind is OutcomeKind.RETURNED:
                commands += self._cancel(job, start, stop, said.attempt, said.node)
            else:
                commands += self._deny(job.id, start, stop)
        return commands

    def lose(self, assignment: Assignment, job: JobAccount | None, *, died: bool) -> list[Command]:
        """End the wishes for what was aboard a lost node: it is cancelled, or denied where it may run only once."""
        commands: list[Command] = []
        for start, stop in self.wishes.lose(assignment.attempt, died=died):
            if job is None:
                continue
            if job.options.retry:
                commands += self._cancel(job, start, stop, assignment.attempt, assignment.node)
            else:
                commands += self._deny(job.id, start, stop)
        return commands

    def heard(self, node: PeerId, have: Iterable[Held], now: float) -> list[Command]:
        """Take the inventory of a node: what a worker has already is not taken back."""
        denied = self.wishes.heard(node, have, now)
        return [command for job_id, start, stop in denied for command in self._deny(job_id, start, stop)]

    def _cancel(
        self, job: JobAccount, start: int, stop: int, attempt: int = UNKNOWN_ATTEMPT, node: PeerId = ""
    ) -> list[Command]:
        """End tasks that were wanted back and will never be begun."""
        ended = RangeSet(self._book.settle(job, start, stop))
        expired = [part for range_ in ended for part in job.expiring.common(*range_)]
        unwanted = [part for range_ in ended for part in job.expiring.missing(*range_)]
        for part in expired:
            job.expiring.remove(*part)
        kinds = ((unwanted, OutcomeKind.RETURNED), (expired, OutcomeKind.EXPIRED))
        return [Finish(job.id, *part, kind, attempt, node) for parts, kind in kinds for part in parts]

    def _deny(self, job_id: JobId, start: int, stop: int) -> list[Command]:
        """Say that tasks are not taken back, unless they have ended in silence."""
        if (job := self._book.jobs.get(job_id)) and job.expiring:
            job.expiring.remove(start, stop)
        return [Deny(job_id, a, b) for a, b in self._book.unfinished(job_id, start, stop) or ()]

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        self.wishes.check()
        for attempt, start, stop in self.wishes.wanted():
            held = self._book.assignments[attempt].remaining
            assert held.common(start, stop) == [(start, stop)], f"wanted back, and not aboard: {self.wishes!r}"
