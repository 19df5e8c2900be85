"""What a run of many schedules amounts to: faults that hit, tasks, how often each was executed, and what failed.

Owns the figures, and their words. Called by `simulate.py`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.harness import SimMesh
from tests.simulation.storms import LONG_S


@dataclass
class Tally:
    """Figures of some schedules; two can be added up."""

    schedules: int = 0
    storms: int = 0
    simulated_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    """That hit something, by kind."""
    tasks: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    """Tasks by how they ended."""
    executions: Counter[str] = field(default_factory=Counter)
    """Of long and short tasks that ran to their end, beside those their function asked for."""
    due: Counter[str] = field(default_factory=Counter)
    """How many that would be without any fault."""
    failures: list[str] = field(default_factory=list)
    """The commands that replay what failed, and what was wrong."""

    def add(self, mesh: SimMesh) -> None:
        """Count what has ended."""
        self.simulated_s += mesh.clock.time() - 1000
        self.faults += mesh.hits
        begun = Counter((run.job, run.task) for run in mesh.ledger)
        for job in mesh.jobs.values():
            self.tasks += job.total
            self.ends.update(kind.name for kind in job.kinds.values())
            kind = "long" if job.task_s >= LONG_S else "short"
            unsettled = job.wanted_back | job.killed
            counted = [i for i in range(job.total) if i not in unsettled and not job.is_poison(i)]
            self.executions[kind] += sum(begun[job.id, index] for index in counted)
            self.due[kind] += len(counted) + sum(job.is_flaky(index) for index in counted)

    def merge(self, other: Tally) -> None:
        """Add another tally to this one."""
        for name in ("schedules", "storms", "simulated_s", "tasks"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("faults", "ends", "executions", "due"):
            getattr(self, name).update(getattr(other, name))
        self.failures += other.failures

    def ratio(self, kind: str) -> float:
        """Return how often a task was executed, on average, where once would have done."""
        return self.executions[kind] / self.due[kind] if self.due[kind] else 1.0

    def record(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "schedules": self.schedules,
            "storms": self.storms,
            "simulated_s": round(self.simulated_s),
            "faults": self.faults.total(),
            "faults_by_kind": dict(self.faults.most_common()),
            "tasks": self.tasks,
            "ends": dict(self.ends.most_common()),
            "executions_a_long_task": round(self.ratio("long"), 4),
            "executions_a_short_task": round(self.ratio("short"), 4),
            "failures": self.failures,
        }
