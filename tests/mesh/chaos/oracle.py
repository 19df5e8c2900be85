"""The judge: what was submitted, what is recorded in the sink's database, and what was executed, held side by side.

Owns the three questions: is each task recorded, once, with its own value; did one fail that should not; how often was
each executed. Reads files only; may be asked while the mesh runs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from tests.mesh.chaos.ledger import Ledger, histogram
from tests.mesh.chaos.tasks import job_and_index
from zmqtasks.records import Value

NAMED = 5
"""How many tasks are named in a complaint."""


class Verdict(Value):
    """What became of the tasks of some jobs."""

    tasks: int
    lost: int
    """Neither recorded as done nor as failed."""
    doubled: int
    """Recorded more than once."""
    failed: int
    executions: int
    rerun: int
    """Tasks that were executed more than once."""
    complaints: tuple[str, ...]

    @property
    def executions_per_task(self) -> float:
        """Return the mean; 1.0 where nothing was repeated."""
        return self.executions / max(self.tasks, 1)

    def figures(self) -> dict[str, object]:
        """Return what belongs into a record."""
        return {
            "tasks": self.tasks, "lost": self.lost, "doubled": self.doubled, "failed": self.failed,
            "executions_per_task": round(self.executions_per_task, 4), "rerun": self.rerun,
        }  # fmt: skip


def judge(ledger: Ledger, jobs: dict[int, int], stores: Iterable[Path]) -> Verdict:
    """Return what became of `jobs`: for each its number of tasks.

    Args:
        ledger: what was executed.
        jobs: tasks submitted, by the number of the job.
        stores: SQLite files of the sinks, which have the results of these jobs and of no others.
    """
    complaints: list[str] = []
    recorded = {job: bytearray(tasks) for job, tasks in jobs.items()}
    failed = sum(read_store(store, recorded, complaints) for store in stores)
    executed = ledger.counts(jobs)
    # A failure is recorded without the value that would tell which task it was: it is counted, and not lost.
    missing = [(job, index) for job in jobs for index in _where(recorded[job], lambda times: times == 0)]
    doubled = [(job, index) for job in jobs for index in _where(recorded[job], lambda times: times > 1)]
    lost = max(len(missing) - failed, 0)
    unexecuted = sum(
        1 for job in jobs for times, done in zip(executed[job], recorded[job], strict=True) if done > times
    )
    for what, tasks in (("lost" if lost else "failed", missing), ("recorded twice", doubled)):
        if tasks:
            complaints.append(f"{len(tasks)} {what}, first {tasks[:NAMED]}")
    if unexecuted:
        complaints.append(f"{unexecuted} recorded more often than executed")
    times = [histogram(count) for count in executed.values()]
    return Verdict(
        tasks=sum(jobs.values()),
        lost=lost,
        doubled=len(doubled),
        failed=failed,
        executions=sum(sum(n * tasks for n, tasks in counted.items()) for counted in times),
        rerun=sum(tasks for counted in times for n, tasks in counted.items() if n > 1),
        complaints=tuple(complaints),
    )


def recorded_in(store: Path) -> int:
    """Return how many tasks a store has; cheap at any length, as rows are never removed."""
    with closing(_open(store)) as connection:
        return int(connection.execute("SELECT COALESCE(MAX(rowid), 0) FROM results").fetchone()[0])


def read_store(store: Path, recorded: dict[int, bytearray], complaints: list[str]) -> int:
    """Count what a store has, and return how many of it are failures."""
    with closing(_open(store)) as connection:
        for (value,) in connection.execute("SELECT value FROM results WHERE status = 'ok'"):
            job, index = job_and_index(int(value))
            counts = recorded.get(job)
            if counts is None or index >= len(counts):
                complaints.append(f"{store.name} has task {index} of job {job}, which nobody submitted")
            else:
                counts[index] = min(counts[index] + 1, 255)
        rows = connection.execute("SELECT task, status, error FROM results WHERE status <> 'ok'").fetchall()
    for task, status, error in rows[:NAMED]:
        complaints.append(f"task {task} of {store.name} is recorded as {status}: {error}")
    return len(rows)


def _open(store: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30)


def _where(counts: bytearray, condition: Callable[[int], bool]) -> list[int]:
    return [index for index, times in enumerate(counts) if condition(times)]
