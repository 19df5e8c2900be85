"""What a node has done: its tasks and workers, counted as they end.

Owns the counts, and the account that a node gives of itself at its end. Decides nothing. `shell.py` tells it, once an
outcome, so what can wait is worked out when somebody asks.
"""

from __future__ import annotations

from zmqtasks.messages import Outcome, OutcomeKind
from zmqtasks.metrics import Metrics, Moments

_FOLD_AT = 1000
_NO_ENDS = (OutcomeKind.RETURNED, OutcomeKind.RETRY)


class Counting:
    """Counts of one node, since its start."""

    def __init__(self) -> None:
        self.done = self.failed = 0
        self.starts = self.exits = 0
        self._failures: dict[OutcomeKind, int] = {}
        self._took: list[tuple[float, int]] = []
        self._task_s = self._memory_bytes = Moments()

    def told(self, outcome: Outcome) -> None:
        """Count an outcome."""
        if outcome.kind is OutcomeKind.OK:
            count = outcome.stop - outcome.start
            self.done += count
            self._took.append((outcome.elapsed_s, count))
            if len(self._took) >= _FOLD_AT:
                self._fold()
        elif outcome.kind not in _NO_ENDS:
            self.failed += 1
            self._failures[outcome.kind] = self._failures.get(outcome.kind, 0) + 1

    def worker_started(self) -> None:
        """Count a worker."""
        self.starts += 1

    def worker_exited(self, peak_bytes: int) -> None:
        """Count the end of a worker, which held so much at most; 0 where nobody knows."""
        self.exits += 1
        if peak_bytes:
            self._memory_bytes += Moments.of(peak_bytes)

    def metrics(self) -> Metrics:
        """Return all of it; failures that led to another run count as well, for only ventilators know which did."""
        self._fold()
        failed = self._failures.get
        return Metrics(
            done=self.done,
            failed=failed(OutcomeKind.ERROR, 0) + failed(OutcomeKind.TOO_BIG, 0),
            timed_out=failed(OutcomeKind.TIMEOUT, 0),
            crashed=failed(OutcomeKind.CRASHED, 0),
            out_of_memory=failed(OutcomeKind.OUT_OF_MEMORY, 0),
            lost=failed(OutcomeKind.LOST, 0),
            starts=self.starts,
            exits=self.exits,
            task_s=self._task_s,
            memory_bytes=self._memory_bytes,
        )

    def _fold(self) -> None:
        for elapsed_s, count in self._took:
            self._task_s += Moments.of(elapsed_s / count, count)
        self._took.clear()
