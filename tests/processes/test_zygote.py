"""The zygote: what it refuses, how it is replaced, what it cleans up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import tasks
from tests.processes.crew import NODE, Crew
from zmqtasks.machines.phases import WorkPhase
from zmqtasks.processes import linux, zygote_spawner
from zmqtasks.processes.command import python_command
from zmqtasks.processes.events import WorkerExited, WorkerFailedToStart, WorkerReady
from zmqtasks.processes.spawn import child_environment

pytestmark = pytest.mark.skipif(not linux.AVAILABLE, reason="needs Linux with pidfd")


def zygote_of(crew: Crew) -> int:
    (pid,) = crew.force._spawner.pids()
    return pid


@pytest.mark.parametrize("can_fork_siblings", [True, False])
def test_a_worker_is_a_child_of_its_supervisor(can_fork_siblings: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(module: str, *args: int) -> list[str]:
        *start, program = python_command(module, *args)
        return [
            *start,
            program.replace("; main(", "; from zmqtasks.processes import linux; linux._SYS_CLONE = {}; main("),
        ]

    if not can_fork_siblings:
        monkeypatch.setattr(zygote_spawner, "python_command", command)
    with Crew() as crew:
        pid = crew.ready()
        stat = linux.stat_of(pid)
        assert stat is not None
        assert (stat.parent, stat.session) == (os.getpid(), pid)
        (warden,) = linux.children_of(zygote_of(crew))
        assert (stat := linux.stat_of(warden)) is not None
        assert stat.name == "zmqtasks-warden", "and nothing is left between the two"
        # What the C library knows of its thread is right, too: the clock of a thread is named by its id.
        assert crew.results(tasks.thread_ids, [None]) == {0: (pid, pid)}
        crew.force.kill(0)
        assert crew.exited().signal == signal.SIGKILL


def test_what_forks_stays_as_it_was() -> None:
    """A zygote collects no garbage, so cycles made at each fork would be copied and looked at by all later workers."""
    program = """if True:
        import gc, os
        from zmqtasks.processes import linux
        if os.fork() == 0:
            for _ in range(3):
                gc.collect()
                if linux.fork_sibling() == 0:
                    os._exit(0)
            os._exit(gc.collect() > 0)
        codes = {os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(4)}
        assert codes == {0}, codes
    """
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_a_worker_has_nothing_of_the_rehearsal() -> None:
    with Crew() as crew:
        crew.ready()
        assert (crew.force.progress(0).chunk, crew.force.progress(0).phase) == (0, WorkPhase.IDLE)
        chunk = crew.give(tasks.double, [4])
        crew.until(lambda: crew.said(chunk))
        assert crew.force.progress(0).chunk == 1


def test_a_worker_of_one_chunk_ends_by_itself() -> None:
    with Crew(one_chunk=True) as crew:
        crew.ready()
        assert crew.results(tasks.double, [4]) == {0: 8}
        ended = crew.exited()
        assert (ended.signal, ended.exit_code, ended.progress.phase) == (None, 0, WorkPhase.IDLE)


def test_what_a_task_forks_cares_for_the_threads_of_its_worker() -> None:
    """What the standard library does after a fork is put off in the zygote, and in it alone."""
    with Crew() as crew:
        crew.ready()
        assert crew.results(tasks.fork_beside_a_thread, [None]) == {0: (1, True)}


def test_preloaded_modules_are_there_from_the_start() -> None:
    with Crew(preload=["colorsys"]) as crew:
        crew.ready()
        assert crew.results(tasks.imported, ["colorsys", "imaplib"]) == {0: True, 1: False}


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("tests.processes.threaded", "cannot preload tests.processes.threaded: importing it started 1 threads"),
        ("no_such_module", "cannot preload no_such_module: ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_what_cannot_be_preloaded_is_told_to_each_start(module: str, reason: str) -> None:
    with Crew(preload=[module]) as crew:
        crew.force.start(0)
        crew.force.start(1)
        for slot in (0, 1):
            event = crew.wait(WorkerFailedToStart, slot)
            assert event.reason.startswith(reason)
            assert event.pid is None
        assert crew.force.pids() == {}
        crew.force.start(0)  # the slot is free again, and the next zygote fares no better
        crew.until(lambda: len(crew.all(WorkerFailedToStart)) == 2)


def test_a_lost_zygote_is_replaced_and_workers_do_not_notice() -> None:
    with Crew() as crew:
        pid = crew.ready(0)
        first = zygote_of(crew)
        os.kill(first, signal.SIGKILL)
        crew.force.start(1)
        crew.wait(WorkerReady, 1)
        assert zygote_of(crew) != first
        assert crew.results(tasks.pid_of_worker, [None]) == {0: pid}
        assert not crew.all(WorkerExited)


def test_a_lost_zygote_is_replaced_before_it_is_needed_and_its_warden_goes() -> None:
    with Crew() as crew:
        crew.ready(0)
        first = zygote_of(crew)
        (warden,) = linux.children_of(first)
        os.kill(first, signal.SIGKILL)
        crew.until(lambda: crew.force._spawner.pids() and zygote_of(crew) != first)
        crew.until(lambda: linux.stat_of(warden) is None)
        assert crew.results(tasks.double, [4]) == {0: 8}


def test_a_request_under_way_is_sent_again() -> None:
    with Crew() as crew:
        crew.ready(0)
        first = zygote_of(crew)
        os.kill(first, signal.SIGSTOP)  # so that it cannot answer
        crew.force.start(1)
        crew.until(lambda: crew.force._spawner._current is not None)  # type: ignore[attr-defined]
        os.kill(first, signal.SIGKILL)
        crew.wait(WorkerReady, 1)
        assert crew.results(tasks.double, [4], slot=1) == {0: 8}


def test_a_zygote_that_dies_at_each_request_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "mortal.py").write_text("import os\nos.register_at_fork(before=lambda: os._exit(5))")
    with Crew(preload=["mortal"], sys_path=[str(tmp_path), *sys.path]) as crew:
        crew.force.start(0)
        assert "died 3 times" in crew.wait(WorkerFailedToStart).reason
        assert crew.force.pids() == {}


def test_a_zygote_that_cannot_start_is_told(tmp_path: Path) -> None:
    (tmp_path / "suicidal.py").write_text("import os; os._exit(3)")
    with Crew(preload=["suicidal"], sys_path=[str(tmp_path), *sys.path]) as crew:
        crew.force.start(0)
        assert "ended with exit code 3 before it was ready" in crew.wait(WorkerFailedToStart).reason


def test_the_folder_is_removed_at_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "socket").touch()
    with Crew(cleanup_dir=str(folder)) as crew:
        crew.ready()
        assert folder.exists()
    assert not folder.exists()


@pytest.mark.parametrize("supervisor_lives", [True, False])
def test_a_warden_whose_zygote_has_gone_already_ends_a_workforce_only_with_its_supervisor(
    supervisor_lives: bool,
) -> None:
    mark = f"{NODE}-{os.getpid()}-none"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=child_environment(mark))
    supervisor = os.getpid() if supervisor_lives else gone.pid
    settings = {"supervisor": supervisor, "mark": mark, "cgroup": None, "cleanup_dir": None, "owner_dir": None}
    program = f"from zmqtasks.processes.zygote import keep_watch; keep_watch({settings}, {gone.pid})"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
    assert worker.poll() == (None if supervisor_lives else -signal.SIGKILL)
    worker.communicate(b"\n")


def test_a_warden_is_known_as_one_before_it_has_begun() -> None:
    """Its zygote may be killed in that moment; then nobody but the brand tells whose it is."""
    mark = f"{NODE}-{os.getpid()}-none"
    program = (
        "import os, signal, socket\n"
        "from zmqtasks.processes import brand, zygote\n"
        f"mark = {mark!r}\n"
        "pid = zygote._fork_warden(socket.socket(), {'mark': mark, 'supervisor': os.getpid()})\n"
        "print(brand.worker_of(pid, mark) == brand.WARDEN, brand.worker_of(os.getpid(), mark) == brand.NOBODY)\n"
        "os.kill(pid, signal.SIGKILL)\n"
        "os.waitpid(pid, 0)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, timeout=30, capture_output=True, text=True)
    assert said.stdout.split() == ["True", "True"]
