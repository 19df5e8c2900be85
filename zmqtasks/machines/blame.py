"""Who is to blame for what went wrong with a task, and what follows from it.

Owns the budgets of one job: retries of the user's options, crashes of workers, losses and strikes with nodes.
Keeps numbers only for tasks something happened to. Called by `filling.py`,
`outcomes.py` and `losses.py`.

| what happened                                     | what follows                                              |
|---------------------------------------------------|-----------------------------------------------------------|
| exception, timeout, memory limit, too big         | run again while `retries` last, after `backoff`; then final |
| the same, and `retry_on` does not name it         | final at once; a worker asks for another run after exceptions |
| it asks for it itself                             | run again after its delay; at most `retries` times, if set |
| crash: its worker died while it ran               | run again, alone; at `crash_limit` final                  |
| loss: it was aboard a node that was lost          | run again; from 2 alone on a worker, from 4 alone on a node |
| strike: the node died with it as the only task    | counts as 2 losses, at least; at 3 final: `NodeKiller`    |
| the same, and the node had not told that it had it | half a strike                                             |
| handed back (drain, or at its own wish)           | nothing: that never counts                                |
| any of these but the last and what it asks for, with `retry=False` | final at once                            |
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, NamedTuple

from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId, OutcomeKind
from zmqtasks.options import TaskOptions

LOSSES_UNTIL_ALONE_IN_CHUNK = 2
LOSSES_UNTIL_ALONE_ON_NODE = 4
STRIKES = 3
STRIKE = 1
UNSEEN_STRIKE = 0.5
"""Where the node had not told that it had the task: it never arrived, or it killed before anything was told."""
RUNGS_OF_A_STRIKE = 2
"""A strike is as good a reason for care as so many losses: who else could it have been?"""
LONGEST_BACKOFF_S = 3600.0


class Verdict(Enum):
    """What becomes of the task."""

    AGAIN = auto()
    FINAL = auto()
    LOST = auto()
    NODE_KILLER = auto()


class Blame(Enum):
    """How carefully a task has to be run."""

    NONE = auto()
    CHUNK_ALONE = auto()
    NODE_ALONE = auto()


class Judgement(NamedTuple):
    """A verdict, and how long to wait before the next try."""

    verdict: Verdict
    delay_s: float = 0.0


class Ledger:
    """The blame of one job's tasks."""

    def __init__(self, options: TaskOptions, job: JobId = "") -> None:
        self._options = options
        self._job = job
        self._kinds = None if options.retry_on is None else options.retry_on.partition(";")[0].split(",")
        """Of failures that are worth another run; None for all."""
        self._tries: dict[int, int] = {}
        self._crashes: dict[int, int] = {}
        self._strikes: dict[int, float] = {}
        self._losses = [RangeSet() for _ in range(LOSSES_UNTIL_ALONE_ON_NODE)]
        """`_losses[n]`: tasks that were aboard at least n + 1 lost nodes; per range, for a node may hold many."""

    def failed(self, index: int, kind: OutcomeKind) -> Judgement:
        """Count a failure of the task itself and judge it."""
        if not self._options.retry:
            return Judgement(Verdict.FINAL)
        if kind is OutcomeKind.CRASHED:
            self._crashes[index] = self._crashes.get(index, 0) + 1
            again = self._crashes[index] < self._options.crash_limit
            return Judgement(Verdict.AGAIN if again else Verdict.FINAL)
        tries = self._tries.get(index, 0)
        if tries >= self._options.retries or (self._kinds is not None and kind.name not in self._kinds):
            return Judgement(Verdict.FINAL)
        self._tries[index] = tries + 1
        return Judgement(Verdict.AGAIN, pause_s(self._options, self._job, index, tries))

    def asked(self, index: int, delay_s: float) -> Judgement:
        """Count that a task asked to be run again and judge it; also at-most-once, for it is the task that asks."""
        tries = self._tries.get(index, 0)
        if 0 < self._options.retries <= tries:
            return Judgement(Verdict.FINAL)
        self._tries[index] = tries + 1
        return Judgement(Verdict.AGAIN, delay_s)

    def lost(self, start: int, stop: int, *, alone: bool, weight: float = STRIKE) -> Verdict:
        """Count that these tasks were aboard a lost node, `alone` where it died with this one task, and judge it.

        `weight` is that of the strike which this is then.
        """
        if not self._options.retry:
            return Verdict.LOST
        for fewer, more in zip(self._losses[-2::-1], self._losses[:0:-1], strict=True):
            for a, b in fewer.common(start, stop):
                more.add(a, b)
        self._losses[0].add(start, stop)
        return self.strike(start, weight) if alone else Verdict.AGAIN

    def strike(self, index: int, weight: float = STRIKE) -> Verdict:
        """Count that a node died with this task as the only one, a loss that is counted already, and judge it."""
        strikes = self._strikes[index] = self._strikes.get(index, 0) + weight
        for level in self._losses[: int(RUNGS_OF_A_STRIKE * strikes)]:
            level.add(index, index + 1)
        return Verdict.NODE_KILLER if strikes >= STRIKES else Verdict.AGAIN

    def rungs(self, index: int) -> int:
        """Return how many losses a task has, as far as they are counted."""
        return sum(index in level for level in self._losses)

    def pardon(self, start: int, stop: int, rungs: int = 1) -> None:
        """Take back a loss, or so many rungs of care: these tasks had no part in it."""
        for _ in range(rungs):
            for fewer, more in zip(self._losses, [*self._losses[1:], RangeSet()], strict=True):
                for part in fewer.common(start, stop):
                    for a, b in more.missing(*part):
                        fewer.remove(a, b)

    def pardon_strike(self, index: int, weight: float = STRIKE) -> None:
        """Take back a strike: it was not the only one, or had no part in it. Of a task that has ended, nothing."""
        left = self._strikes.pop(index, 0) - weight
        if left > 0:
            self._strikes[index] = left

    @property
    def is_clean(self) -> bool:
        """Whether no task has to be run with care."""
        return not self._losses[0] and not self._crashes

    def care(self, index: int) -> Blame:
        """Return how carefully this task has to be run."""
        if self.is_clean:
            return Blame.NONE
        if index in self._losses[LOSSES_UNTIL_ALONE_ON_NODE - 1]:
            return Blame.NODE_ALONE
        if index in self._losses[LOSSES_UNTIL_ALONE_IN_CHUNK - 1] or index in self._crashes:
            return Blame.CHUNK_ALONE
        return Blame.NONE

    def first_sociable(self, tasks: RangeSet) -> tuple[int, int] | None:
        """Return the lowest range of `tasks`, not empty, without those that need a node of their own."""
        alone = self._losses[LOSSES_UNTIL_ALONE_ON_NODE - 1]
        if not alone:
            return tasks.first()
        return next((part for start, stop in tasks for part in alone.missing(start, stop)), None)

    def run_without_blame(self, start: int, most: int) -> int:
        """Return how many tasks from `start` on, at most `most`, need no special care."""
        if self.is_clean:
            return most
        suspicious = self._losses[LOSSES_UNTIL_ALONE_IN_CHUNK - 1].common(start, start + most)
        first = min([*(a for a, _ in suspicious), *_within(self._crashes, start, start + most)], default=start + most)
        return max(1, first - start)

    def runs_from(self, start: int, most: int) -> tuple[int, int]:
        """Return how often task `start` was run before, and how many from it on, at most `most`, were run as often."""
        if not self._tries:
            return 0, most
        runs = self._tries.get(start, 0)
        if runs == 0:
            return 0, min(_within(self._tries, start, start + most), default=start + most) - start
        stop = start + 1
        while stop < start + most and self._tries.get(stop, 0) == runs:
            stop += 1
        return runs, stop - start

    def settled(self, start: int, stop: int) -> None:
        """Forget what is known of tasks that have ended."""
        if not (self._losses[0] or self._tries or self._crashes or self._strikes):
            return
        books: tuple[dict[int, Any], ...] = (self._tries, self._crashes, self._strikes)
        for counts in books:
            for index in _within(counts, start, stop):
                del counts[index]
        for level in self._losses:
            level.remove(start, stop)

    def __repr__(self) -> str:
        return f"<Ledger tries={self._tries} crashes={self._crashes} strikes={self._strikes} losses={self._losses}>"


def pause_s(options: TaskOptions, job: JobId, index: int, tries: int) -> float:
    """Return how long a task waits before it is run again, having failed `tries` times before.

    The part that `jitter` adds is drawn from job, task and tries: no two of them have the same, and each that is asked
    gets the same. Source: multiplicative hashing, Knuth, TAOCP 6.4.
    """
    # 2 ** tries overflows a float after 1,024 retries; the longest wait is reached long before.
    least_s: float = min(options.backoff * 2 ** min(tries, 32), LONGEST_BACKOFF_S)
    seed = int.from_bytes(job.encode(), "big") + index + tries * 0x85EBCA6B
    return least_s * (1 + options.jitter * (seed * 0x9E3779B1 % 2**32) / 2**32)


def _within(counts: Mapping[int, float], start: int, stop: int) -> list[int]:
    """Return the keys in [start, stop), at the cost of the smaller of the two."""
    if stop - start < len(counts):
        return [index for index in range(start, stop) if index in counts]
    return [index for index in counts if start <= index < stop]
