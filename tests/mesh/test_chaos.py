"""The judge of the chaos programs: it counts what is there, and sees what is missing, doubled, failed or made up."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.mesh.chaos import ledger, tasks
from tests.mesh.chaos.growth import MIB, Growth, Sample
from tests.mesh.chaos.oracle import judge
from tests.mesh.chaos.registry import SCENARIOS
from tests.mesh.chaos.usage import Usage

Row = tuple[str, int, str, str | None, str | None]


def row(task: int, *, job: str = "a", value: int | None = None, error: str | None = None) -> Row:
    shown = None if error else str(tasks.number_of(0, task if value is None else value))
    return job, task, "error" if error else "ok", shown, error


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


@pytest.fixture
def executed(tmp_path: Path) -> ledger.Ledger:
    """Tasks 0 to 3 of job 0 executed once, task 2 three times."""
    book = ledger.Ledger(tmp_path / "ledger")
    fd = os.open(book.path, os.O_WRONLY | os.O_APPEND)
    for index in (0, 1, 2, 2, 3, 2):
        ledger.append(fd, 0, index)
    os.close(fd)
    return book


def record(store: Path, *rows: Row) -> None:
    """Write what the judge reads of a sink's database."""
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("CREATE TABLE results (job, task, status, value, error, PRIMARY KEY (job, task))")
        connection.executemany("INSERT INTO results VALUES (?, ?, ?, ?, ?)", rows)


def test_all_is_well(executed: ledger.Ledger, store: Path) -> None:
    record(store, *(row(task) for task in range(4)))
    verdict = judge(executed, {0: 4}, [store])
    assert verdict.figures() == {
        "tasks": 4, "lost": 0, "doubled": 0, "failed": 0, "executions_per_task": 1.5, "rerun": 1,
    }  # fmt: skip
    assert verdict.complaints == ()
    assert executed.executions == 6
    assert [entry.task for entry in executed.entries()] == [0, 1, 2, 2, 3, 2]
    assert {entry.pid for entry in executed.entries()} == {os.getpid()}


def test_what_is_missing_is_named(executed: ledger.Ledger, store: Path) -> None:
    record(store, row(0), row(3))
    verdict = judge(executed, {0: 4}, [store])
    assert (verdict.lost, verdict.failed) == (2, 0)
    assert verdict.complaints == ("2 lost, first [(0, 1), (0, 2)]",)


def test_a_failure_is_named_and_is_not_a_loss(executed: ledger.Ledger, store: Path) -> None:
    record(store, row(0), row(1, error="too late"), row(2), row(3))
    verdict = judge(executed, {0: 4}, [store])
    assert (verdict.lost, verdict.failed) == (0, 1)
    assert verdict.complaints == ("task 1 of x.db is recorded as error: too late", "1 failed, first [(0, 1)]")


def test_what_is_recorded_twice_is_named(executed: ledger.Ledger, store: Path) -> None:
    """The same task under another job: a ventilator that came back and did not know it was done."""
    record(store, *(row(task) for task in range(4)), row(0, job="b"))
    verdict = judge(executed, {0: 4}, [store])
    assert (verdict.lost, verdict.doubled) == (0, 1)
    assert verdict.complaints == ("1 recorded twice, first [(0, 0)]", "1 recorded more often than executed")


def test_what_nobody_submitted_is_named(executed: ledger.Ledger, store: Path) -> None:
    record(store, *(row(task) for task in range(4)), row(4, value=9))
    assert judge(executed, {0: 4}, [store]).complaints == ("x.db has task 9 of job 0, which nobody submitted",)
    with pytest.raises(ValueError, match="executed task 3 of job 0, which nobody submitted"):
        judge(executed, {0: 3}, [store])


def test_a_torn_record_is_not_counted(executed: ledger.Ledger) -> None:
    with open(executed.path, "ab") as file:
        file.write(b"torn")
    assert executed.counts({0: 4}) == {0: bytearray((1, 1, 3, 1))}


def test_each_scenario_is_a_module_that_can_be_run() -> None:
    code = (
        "import importlib, sys; from tests.mesh.chaos.registry import SCENARIOS as known;"
        "[importlib.import_module(f'tests.mesh.chaos.{it.module}').run for it in known.values()]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2], timeout=30)
    assert all((it.full.times is None) == (it.quick.times is None) for it in SCENARIOS.values())


def test_growth_is_told_from_bursts() -> None:
    """A role that keeps a KiB of each thousand tasks, and now and then holds a burst that it lets go."""
    growth = Growth()
    for n in range(200):
        burst = 40 * MIB if n % 7 == 3 else 0
        growth.add(Sample(float(n), 1, n * 1000, Usage(20 * MIB + n * 1024 + burst, 30, 4)))
    trend = growth.trend()
    assert trend.mib_per_million_tasks == pytest.approx(1000 / 1024, rel=0.01)
    assert (trend.lives, trend.peak_mib, trend.descriptors, trend.threads) == (1, 60.2, 0, 0)


def test_growth_from_life_to_life() -> None:
    """Each life holds a MiB more than the last: something is read back from a file at each start."""
    growth = Growth()
    for n in range(200):
        life = n // 10
        growth.add(Sample(float(n), life, n * 1000, Usage((20 + life) * MIB, 30 + n % 10, 4)))
    trend = growth.trend()
    assert trend.mib_per_million_tasks == pytest.approx(100, rel=0.01)
    assert trend.lives == 20
