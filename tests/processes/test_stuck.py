"""A worker that SIGKILL does not end: it is told of, its descriptors stay its own, and nothing waits for it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.processes import tasks
from tests.processes.crew import Crew
from tests.processes.freezer import freezer
from zmqtasks.processes import linux, seat, workforce, zygote_spawner
from zmqtasks.processes.events import WorkerExited, WorkerStuck
from zmqtasks.processes.exits import await_end
from zmqtasks.processes.progress import WorkPhase


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seat, "STUCK_S", 0.2)
    monkeypatch.setattr(workforce, "CLOSE_S", 0.3)


def test_it_is_told_of_once_and_its_end_is_told_later(tmp_path: Path) -> None:
    with freezer() as ice, Crew() as crew:
        pid = crew.ready()
        crew.give(tasks.hang, [str(tmp_path / "begun")])
        crew.until((tmp_path / "begun").exists)
        ice.freeze(pid)
        crew.force.kill(0)
        crew.force.kill(0)
        stuck = crew.wait(WorkerStuck)
        assert (stuck.end.pid, stuck.end.signal) == (pid, signal.SIGKILL)
        assert stuck.end.progress.phase is WorkPhase.RUNNING
        assert stuck.state
        other = crew.ready(1)
        assert crew.results(tasks.double, [4], slot=1) == {0: 8}
        assert crew.force.pids() == {0: pid, 1: other}
        assert len(crew.all(WorkerStuck)) == 1
        ice.thaw()
        assert crew.exited().signal == signal.SIGKILL
        assert crew.ready(0) != pid


def test_nobody_waits_for_it_at_the_end() -> None:
    with freezer() as ice:
        with Crew(slots=3) as crew:
            frozen = [crew.ready(slot) for slot in range(2)]
            for pid in frozen:
                ice.freeze(pid)
            before = time.monotonic()
        assert time.monotonic() - before < 5.0
        assert all(Path(f"/proc/{pid}").exists() for pid in frozen)
        ice.thaw()
        for pid in frozen:
            assert await_end(pid, 10.0), "what the workforce had to leave behind"


def test_a_zygote_that_does_not_end_in_time_leaves_no_warden(monkeypatch: pytest.MonkeyPatch) -> None:
    before = linux.children_of(os.getpid())
    with Crew() as crew:
        crew.ready()
        monkeypatch.setattr(zygote_spawner, "FAREWELL_S", -1.0)
    assert linux.children_of(os.getpid()) == before


def test_one_that_ends_in_time_is_not_told_of(tmp_path: Path) -> None:
    with Crew() as crew:
        crew.ready()
        crew.force.kill(0)
        assert crew.exited().signal == signal.SIGKILL
        deadline = time.monotonic() + 0.4
        crew.until(lambda: time.monotonic() > deadline)
        assert not crew.all(WorkerStuck)
        assert not crew.all(WorkerExited)
