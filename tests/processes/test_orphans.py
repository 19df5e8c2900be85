"""What tasks leave behind goes with their worker, and not before."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import tasks
from tests.processes.crew import Crew
from tests.waiting import wait_until
from zmqtasks.messages import OutcomeKind
from zmqtasks.processes import linux
from zmqtasks.processes.orphans import STRANGER_S, Orphans
from zmqtasks.wire.payload import Form

pytestmark = pytest.mark.skipif(not linux.AVAILABLE, reason="needs Linux with pidfd")

WAYS = ["plain", "setsid", "double fork", "forked", "bare", "bare double fork"]
CGROUPS = pytest.mark.parametrize("cgroups", [False, True])


def leave_behind(crew: Crew, path: Path, how: str, slot: int = 0) -> int:
    """Have a worker start a process that stays, and return its pid."""
    if how == "forked":
        chunk = crew.give(tasks.fork_child, [str(path)], slot=slot)
    else:
        chunk = crew.give(tasks.start_child, [(str(path), how)], form=Form.MANY, slot=slot)
    crew.until(lambda: crew.said(chunk, slot))
    assert crew.said(chunk, slot)[0].kind is OutcomeKind.OK
    return int(path.read_text())


def gone(pid: int) -> Callable[[], bool]:
    return lambda: linux.stat_of(pid) is None


@CGROUPS
@pytest.mark.parametrize("how", WAYS)
def test_they_die_with_a_killed_worker(how: str, tmp_path: Path, cgroups: bool) -> None:
    with Crew(cgroups=cgroups) as crew:
        crew.ready()
        pid = leave_behind(crew, tmp_path / "pid", how)
        crew.force.kill(0)
        crew.exited()
        crew.until(gone(pid), timeout_s=3)


@CGROUPS
@pytest.mark.parametrize("how", [*WAYS, "large"])
def test_they_die_with_the_workforce(how: str, tmp_path: Path, cgroups: bool) -> None:
    with Crew(cgroups=cgroups) as crew:
        crew.ready()
        pid = leave_behind(crew, tmp_path / "pid", how)
    wait_until(gone(pid))


@CGROUPS
@pytest.mark.parametrize("how", WAYS)
def test_they_live_with_their_worker_while_another_dies(how: str, tmp_path: Path, cgroups: bool) -> None:
    with Crew(cgroups=cgroups) as crew:
        crew.ready(0)
        crew.ready(1)
        pid = leave_behind(crew, tmp_path / "pid", how)
        crew.force.kill(1)
        crew.exited(1)
        crew.force._sweep()
        assert gone(pid)() is False


def test_a_child_of_the_program_is_left_alone() -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    with Crew() as crew:
        crew.ready()
        crew.force.kill(0)
        crew.exited()
        assert other.poll() is None
    assert other.poll() is None
    other.communicate(b"\n")
    assert other.returncode == 0


def test_a_zombie_nobody_can_place_is_reaped_in_the_end() -> None:
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "pass"], os.environ, setsid=True)
    wait_until(lambda: (stat := linux.stat_of(pid)) is not None and stat.state == "Z")
    orphans = Orphans("nobody")
    for now in (0.0, STRANGER_S - 1):
        orphans.sweep(set(), set(), now)
        assert not gone(pid)()
    orphans.sweep(set(), set(), STRANGER_S + 1)
    assert gone(pid)()
