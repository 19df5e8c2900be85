"""What a sink decides: which outcomes are new, which are repetitions, and when a job is complete.

Owns, per job, which tasks have succeeded and which failed under which attempt. First success wins, whatever the
attempt: a success is recorded once and never replaced. Failures are passed on as they come, unless a later attempt has
failed already; the ventilator judges whether one is final. Never holds a body. Called by `sink.py` and by the
simulation.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId, Outcome, OutcomeKind, Settled
from zmqtasks.records import Entity, Value, field

FORGOTTEN_JOBS = 10_000
"""How many ended jobs are remembered by name: a late repetition must not be taken for a first success."""


class OutcomeReceived(Value):
    """A node (or a ventilator, for what it decided) says what became of tasks."""

    outcome: Outcome


class JobForgotten(Value):
    """The ventilator has let go of the job: nothing more will be asked about it."""

    job: JobId


Event = OutcomeReceived | JobForgotten


class Record(Value):
    """Record this part of an outcome: new successes, or a failure that no success has overtaken."""

    outcome: Outcome
    start: int
    stop: int


class Tell(Value):
    """Once the records before it are stored: tell the ventilator of this outcome.

    Repetitions are told as well: each closes the account of one attempt.
    """

    settled: Settled


Command = Record | Tell


class Failure(NamedTuple):
    """How a task failed last."""

    attempt: int
    kind: OutcomeKind


NO_FAILURE = Failure(-1, OutcomeKind.OK)


class _Collected(Entity):
    succeeded: RangeSet = field(default_factory=RangeSet)
    failed: dict[int, Failure] = field(default_factory=dict)

    def blame(self, parts: list[tuple[int, int]], attempt: int, kind: OutcomeKind) -> list[tuple[int, int]]:
        """Note failures, and return those that are news: not a repetition, nor of an older attempt."""
        indices = (index for part in parts for index in range(*part))
        newer = [index for index in indices if index not in self.failed or self.failed[index].attempt < attempt]
        self.failed.update(dict.fromkeys(newer, Failure(attempt, kind)))
        return list(RangeSet((index, index + 1) for index in newer))

    def forgive(self, start: int, stop: int) -> None:
        """Forget the failures of tasks that have succeeded after all; at the cost of the smaller number."""
        indices = range(start, stop) if stop - start < len(self.failed) else list(self.failed)
        for index in indices:
            if start <= index < stop:
                self.failed.pop(index, None)


class Collection:
    """Decide what is recorded; see the module."""

    def __init__(self) -> None:
        self._jobs: dict[JobId, _Collected] = {}
        self._forgotten: OrderedDict[JobId, None] = OrderedDict()

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; return what to do, in order."""
        if isinstance(event, JobForgotten):
            self._forget(event.job)
            return []
        return self._receive(event.outcome)

    def tick(self, now: float) -> list[Command]:
        """Nothing is ever due: a sink only reacts."""
        return []

    def next_deadline(self) -> float:
        """Return infinity: nothing is ever due."""
        return float("inf")

    def resume(self, job: JobId, succeeded: RangeSet, failed: Mapping[int, tuple[int, OutcomeKind]]) -> None:
        """Add what a store already has: successes, and failures by index with their attempt and kind."""
        self._forgotten.pop(job, None)
        collected = self._jobs.setdefault(job, _Collected())
        for start, stop in succeeded:
            collected.succeeded.add(start, stop)
            collected.forgive(start, stop)
        for index, (attempt, kind) in failed.items():
            if index not in collected.succeeded and attempt > collected.failed.get(index, NO_FAILURE).attempt:
                collected.failed[index] = Failure(attempt, kind)

    def let_go(self, job: JobId) -> None:
        """Forget all of a job: a store has it, and `resume` is to come before anything else of it."""
        self._jobs.pop(job, None)

    def _forget(self, job: JobId) -> None:
        self._jobs.pop(job, None)
        self._forgotten[job] = None
        if len(self._forgotten) > FORGOTTEN_JOBS:
            self._forgotten.popitem(last=False)

    def _receive(self, outcome: Outcome) -> list[Command]:
        told = Tell(
            Settled(
                outcome.job,
                outcome.attempt,
                outcome.node,
                outcome.start,
                outcome.stop,
                outcome.kind,
                outcome.elapsed_s,
                outcome.delay_s,
            )
        )
        if outcome.kind in (OutcomeKind.RETURNED, OutcomeKind.RETRY) or outcome.job in self._forgotten:
            return [told]
        collected = self._jobs.setdefault(outcome.job, _Collected())
        new = collected.succeeded.missing(outcome.start, outcome.stop)
        if outcome.kind is OutcomeKind.OK:
            collected.succeeded.add(outcome.start, outcome.stop)
            collected.forgive(outcome.start, outcome.stop)
        else:
            new = collected.blame(new, outcome.attempt, outcome.kind)
        return [*(Record(outcome, start, stop) for start, stop in new), told]

    # What is there

    def succeeded(self, job: JobId) -> RangeSet:
        """Return the tasks that have succeeded."""
        return self._jobs[job].succeeded.copy() if job in self._jobs else RangeSet()

    def failed(self, job: JobId) -> dict[int, Failure]:
        """Return the tasks whose last outcome was a failure, with its attempt and kind."""
        return dict(self._jobs[job].failed) if job in self._jobs else {}

    def missing(self, job: JobId, total: int) -> list[tuple[int, int]]:
        """Return the ranges below `total` that have neither succeeded nor failed."""
        recorded = self.succeeded(job)
        for index in self.failed(job):
            recorded.add(index, index + 1)
        return recorded.missing(0, total)

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        for job, collected in self._jobs.items():
            both = [index for index in collected.failed if index in collected.succeeded]
            assert not both, f"{job}: {both} have succeeded and failed in {self!r}"

    def __repr__(self) -> str:
        jobs = ", ".join(f"{id_} ok={c.succeeded} failed={sorted(c.failed)}" for id_, c in self._jobs.items())
        return f"<Collection {jobs}>"
