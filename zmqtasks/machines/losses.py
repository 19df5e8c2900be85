"""What follows when a node is lost: what was aboard goes elsewhere, and somebody is charged with it.

A lost node is charged to all that was aboard; where it died with one task alone, that is a strike. Where it is started
again, its flight recorder tells what had begun, and the charge is left with that alone.

Owns nothing: where tasks are and what was charged stands in the `Book`, what follows from a charge in the `Ledger` of
each job. Called by `dispatch.py`.
"""

from __future__ import annotations

from zmqtasks.machines.accounts import Assignment, JobAccount, NodeAccount
from zmqtasks.machines.blame import STRIKE, UNSEEN_STRIKE, Verdict
from zmqtasks.machines.book import Book
from zmqtasks.machines.cancelling import Cancelling
from zmqtasks.machines.charges import Charge
from zmqtasks.machines.dispatch_moves import Command, Finish
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import Flight, OutcomeKind


class Losses:
    """Say what becomes of what was aboard a lost node, and who is charged; see the module."""

    def __init__(self, book: Book, cancelling: Cancelling) -> None:
        self._book = book
        self._cancelling = cancelling

    def lose(self, node: NodeAccount, *, died: bool) -> list[Command]:
        """Take back what was aboard; `died` where the node is known to be dead, and not merely silent."""
        aboard = self._book.close_node(node)
        alone = died and sum(a.remaining.count() for a in aboard) == 1 and not any(a.idle for a in aboard)
        commands: list[Command] = []
        for assignment in aboard:
            job = self._book.jobs.get(assignment.job)
            if self._cancelling.wishes:
                commands += self._cancelling.lose(assignment, job, died=died)
            if job is not None:
                commands += self._take_back(job, assignment, alone=alone)
                commands += self._book.end_if_done(job)
        self._cancelling.wishes.forget_node(node.id, died=died)
        return commands

    def _take_back(self, job: JobAccount, assignment: Assignment, *, alone: bool) -> list[Command]:
        """Charge tasks with the loss, and put them back; at most once, or at their third strike, they end here."""
        commands: list[Command] = []
        for a, b in [part for held in assignment.remaining for part in job.done.missing(*held)]:
            before = job.ledger.rungs(a) if alone else 0
            weight = STRIKE if assignment.seen else UNSEEN_STRIKE
            verdict = job.ledger.lost(a, b, alone=alone, weight=weight)
            if verdict is Verdict.AGAIN:
                rungs = job.ledger.rungs(a) - before if alone else 1
                charge = Charge(assignment.attempt, job.id, a, b, weight if alone else 0, rungs)
                self._book.charges.add(assignment.node, charge)
                self._book.put_back(job, a, b)
            else:
                kind = OutcomeKind.LOST if verdict is Verdict.LOST else OutcomeKind.NODE_KILLER
                self._book.settle(job, a, b)
                commands.append(Finish(job.id, a, b, kind, assignment.attempt, assignment.node))
        return commands

    def hear(self, flight: Flight, now: float) -> list[Command]:
        """Leave the charge of a dead node with those that ran when it died."""
        judged = self._book.charges.judge(flight, self._book.unfinished)
        for charge in judged.pardoned:
            self._pardon(charge, charge.rungs)
        for charge in judged.suspects:
            self._pardon(charge, charge.rungs - 1)
        guilty = judged.guilty
        if guilty is None or guilty.struck >= STRIKE:
            return []
        job, index = self._book.jobs[guilty.job], guilty.start
        if job.ledger.strike(index, STRIKE - guilty.struck) is Verdict.AGAIN:
            return []
        # It may be aboard another node by now: not that one, too.
        commands = self._cancelling.want_back(job, RangeSet([(index, index + 1)]), now, kill=True)
        self._book.settle(job, index, index + 1)
        killer = Finish(job.id, index, index + 1, OutcomeKind.NODE_KILLER, guilty.attempt, flight.node)
        return [*commands, killer, *self._book.end_if_done(job)]

    def _pardon(self, charge: Charge, rungs: int) -> None:
        ledger = self._book.jobs[charge.job].ledger
        ledger.pardon(charge.start, charge.stop, rungs)
        if charge.struck:
            ledger.pardon_strike(charge.start, charge.struck)
