"""A zygote that is forked before its supervisor imports what is its own; each in a process that has one thread."""

from __future__ import annotations

import subprocess
import sys

import pytest

from zmqtasks.processes import linux

pytestmark = pytest.mark.skipif(not linux.AVAILABLE, reason="needs Linux with pidfd")

BEGIN = """
import os, resource, signal, sys, threading
from zmqtasks.processes.first_zygote import fork_zygote
reader, writer = os.pipe()
"""


def run(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", BEGIN + program], timeout=60, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 0


def test_it_serves_as_one_that_was_executed_and_is_replaced_by_such_a_one() -> None:
    run("""if True:
        zygote = fork_zygote(reader, writer)
        from tests.processes import tasks
        from tests.processes.crew import Crew
        from zmqtasks.processes.events import WorkerReady

        with Crew(zygote=zygote) as crew:
            crew.ready(0)
            assert crew.force._spawner.pids() == {zygote.pid}
            assert os.getsid(zygote.pid) == zygote.pid
            assert os.readlink(f"/proc/{zygote.pid}/fd/0") == os.devnull
            held = {os.readlink(f"/proc/{zygote.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{zygote.pid}/fd")}
            assert os.readlink(f"/proc/self/fd/{writer}") not in held
            assert crew.results(tasks.imported, ["zmqtasks.messages", "asyncio"]) == {0: True, 1: False}
            mark = crew.force._mark
            assert crew.results(tasks.variable, ["ZMQTASKS_MARK"]) == {0: mark}
            os.kill(zygote.pid, signal.SIGKILL)
            crew.force.start(1)
            crew.wait(WorkerReady, 1)
            assert crew.force._spawner.pids() != {zygote.pid}
            assert crew.results(tasks.double, [4], slot=1) == {0: 8}
    """)


def test_one_that_was_killed_before_it_was_told_anything_is_replaced() -> None:
    run("""if True:
        zygote = fork_zygote()
        from tests.processes import tasks
        from tests.processes.crew import Crew
        from zmqtasks.processes.events import WorkerFailedToStart, WorkerReady

        os.kill(zygote.pid, signal.SIGKILL)
        os.waitid(os.P_PID, zygote.pid, os.WEXITED | os.WNOWAIT)
        with Crew(zygote=zygote) as crew:
            crew.force.start(0)
            assert "exit code -9 before it was ready" in crew.wait(WorkerFailedToStart, 0).reason
            crew.force.start(0)
            crew.wait(WorkerReady, 0)
            assert crew.results(tasks.double, [4]) == {0: 8}
    """)


def test_it_is_dismissed_where_workers_are_spawned() -> None:
    run("""if True:
        zygote = fork_zygote()
        from tests.processes import tasks
        from tests.processes.crew import Crew

        with Crew(zygote=zygote, method="spawn") as crew:
            crew.ready(0)
            assert not os.path.exists(f"/proc/{zygote.pid}")
            assert crew.results(tasks.double, [4]) == {0: 8}
    """)


def test_it_ends_with_a_supervisor_that_never_told_it_anything() -> None:
    run("""if True:
        zygote = fork_zygote()
        zygote.control.close()
        assert os.waitpid(zygote.pid, 0) == (zygote.pid, 0)
    """)


def test_there_is_none_where_it_could_not_be_told_from_others() -> None:
    run("""if True:
        resource.setrlimit(10, (0, 1000))
        assert fork_zygote() is None
    """)


def test_there_is_none_beside_threads() -> None:
    run("""if True:
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait)
        thread.start()
        assert fork_zygote() is None
        stop.set()
        thread.join()
    """)
