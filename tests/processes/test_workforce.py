"""Workers as a node sees them: real processes, by both methods."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.processes import tasks
from tests.processes.crew import NODE, Crew
from tests.waiting import wait_until
from zmqtasks.errors import LocalProtocolError, SerializationError, WorkerCrashed
from zmqtasks.messages import OutcomeKind
from zmqtasks.options import Limits
from zmqtasks.processes import linux
from zmqtasks.processes.events import WorkerExited, WorkerFailedToStart, WorkerReady, WorkerSaid, WorkerStarted
from zmqtasks.processes.progress import WorkPhase
from zmqtasks.processes.running import INTERRUPT_SIGNAL
from zmqtasks.processes.worker import EXIT_INITIALIZER_FAILED, OOM_SCORE
from zmqtasks.wire import payload


@pytest.fixture
def crew() -> Iterator[Crew]:
    with Crew() as crew:
        yield crew


@pytest.mark.parametrize("method", ["zygote", "spawn"])
def test_a_life(method: str) -> None:
    with Crew(method=method) as crew:
        pid = crew.ready()
        assert [type(event) for event in crew.events] == [WorkerStarted, WorkerReady]
        assert crew.results(tasks.double, range(1000)) == {n: 2 * n for n in range(1000)}
        assert crew.results(tasks.add, [(1, 2)], form=payload.Form.MANY) == {0: 3}
        assert crew.results(tasks.add, [((1,), {"right": 5})], form=payload.Form.CALL) == {0: 6}
        crew.force.stop(0)
        event = crew.wait(WorkerExited)
        assert (event.pid, event.signal, event.exit_code) == (pid, None, 0)
        assert event.uptime_s > 0
        assert crew.force.pids() == {}


@pytest.mark.parametrize("method", ["zygote", "spawn"])
def test_what_a_worker_is(method: str) -> None:
    with Crew(method=method) as crew:
        pid = crew.ready()
        facts = crew.results(tasks.facts, [None])[0]
        assert facts["pid"] == facts["session"] == pid
        assert int(facts["oom"]) >= OOM_SCORE
        assert facts["main"] == []
        assert facts["path"] == sys.path
        assert facts["cwd"] == os.getcwd()
        assert facts["sigint"]
        assert facts["fds"] == ["/dev/null", "/memfd", "pipe", "pipe", "pipe", "pipe", "socket"]
        assert crew.results(tasks.read_stdin, [None])[0] == ""


def test_outcomes_name_node_and_attempt(crew: Crew) -> None:
    crew.ready()
    chunk = crew.give(tasks.fail_on_odd, [0, 2, 1, 4])
    crew.until(lambda: sum(o.stop - o.start for o in crew.said(chunk)) == 4)
    outcomes = crew.said(chunk)
    assert [(o.start, o.stop, o.kind) for o in outcomes] == [
        *[(o.start, o.stop, OutcomeKind.OK) for o in outcomes if o.stop <= 2],
        (2, 3, OutcomeKind.ERROR),
        (3, 4, OutcomeKind.OK),
    ]
    assert {(o.node, o.attempt) for o in outcomes} == {(NODE, 7)}


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGABRT], ids=lambda number: number.name
)
def test_exact_signal(crew: Crew, number: signal.Signals) -> None:
    crew.ready()
    crew.give(tasks.die_by, [int(number)])
    event = crew.exited()
    assert (event.signal, event.exit_code) == (number, None)
    assert event.progress.phase is WorkPhase.RUNNING


def test_exit_code(crew: Crew) -> None:
    crew.ready()
    crew.give(tasks.exit_hard, [42])
    event = crew.exited()
    assert (event.signal, event.exit_code) == (None, 42)


def test_a_segfault_leaves_its_stack(crew: Crew) -> None:
    crew.ready()
    crew.give(tasks.segfault, [None])
    event = crew.exited()
    assert event.signal == signal.SIGSEGV
    assert "in segfault" in event.stack
    assert event.stack.startswith("Fatal Python error: Segmentation fault")
    assert event.output_tail == ""
    assert event.peak_bytes > 2**20


def test_a_worker_that_was_executed_is_not_charged_with_the_memory_of_its_supervisor() -> None:
    with Crew(method="spawn") as crew:
        crew.ready()
        crew.give(tasks.exit_hard, [42])
        assert crew.exited().peak_bytes == 0


@pytest.mark.parametrize("method", ["zygote", "spawn"])
def test_a_worker_that_was_stopped_tells_where_it_was(method: str) -> None:
    with Crew(method=method) as crew:
        pid = crew.ready()
        chunk = crew.give(tasks.spin, [None])
        crew.until(lambda: crew.force.progress(0).phase is WorkPhase.RUNNING)
        os.kill(pid, signal.SIGSTOP)
        crew.until(lambda: linux.stat_of(pid).state == "T")  # type: ignore[union-attr]
        assert crew.force.dump_stack(0)
        crew.until(lambda: linux.stat_of(pid).state == "R")  # type: ignore[union-attr]
        crew.until(lambda: "in spin" in crew.force._seats[0]._tail.text())
        crew.force.kill(0)
        assert "in spin" in crew.exited().stack
        assert crew.said(chunk) == []


def test_a_task_is_interrupted_only_where_it_is_meant(crew: Crew) -> None:
    pid = crew.ready()
    chunk = crew.give(tasks.spin, [None])
    crew.until(lambda: crew.force.progress(0).phase is WorkPhase.RUNNING)
    progress = crew.force.progress(0)
    crew.force.interrupt(0, progress.chunk, progress.index + 1, stalled=False)
    crew.force.interrupt(0, progress.chunk + 1, progress.index, stalled=False)
    crew.force.interrupt(0, progress.chunk, progress.index, stalled=False)
    crew.until(lambda: crew.said(chunk))
    (outcome,) = crew.said(chunk)
    assert outcome.kind is OutcomeKind.TIMEOUT
    os.kill(pid, INTERRUPT_SIGNAL)
    assert crew.results(tasks.double, [1, 2]) == {0: 2, 1: 4}


def test_sys_exit_is_an_outcome(crew: Crew) -> None:
    pid = crew.ready()
    assert isinstance(crew.results(tasks.leave, [3])[0], WorkerCrashed)
    assert crew.force.pids() == {0: pid}


def test_results_of_a_killed_worker_are_drained(crew: Crew) -> None:
    crew.ready()
    items = [(n, 8) for n in range(20)]
    chunk = crew.give(tasks.die_on, items, form=payload.Form.MANY)
    event = crew.wait(WorkerExited)
    assert event.signal == signal.SIGKILL
    assert (event.progress.index, event.progress.chunk, event.progress.attempt) == (8, 1, 7)
    assert sum(o.stop - o.start for o in crew.said(chunk)) == 8
    assert isinstance(crew.events[-1], WorkerExited)


def test_a_large_result_before_the_death(crew: Crew) -> None:
    crew.ready()
    chunk = crew.give(tasks.make_bytes, [40_000_000])
    crew.give(tasks.exit_hard, [1])
    assert crew.wait(WorkerExited).exit_code == 1
    assert [len(o.body) > 40_000_000 for o in crew.said(chunk)] == [True]


def test_unread_work_does_not_hide_results(crew: Crew) -> None:
    crew.ready()
    first = crew.give(tasks.double, range(10))
    crew.give(tasks.exit_hard, [1])
    for _ in range(50):  # unread when it dies: the kernel then reports a reset instead of an end
        crew.give(tasks.double, range(10))
    crew.wait(WorkerExited)
    assert len(crew.said(first)) >= 1


def test_kill_by_force(crew: Crew, tmp_path: Path) -> None:
    crew.ready()
    marker = tmp_path / "running"
    crew.give(tasks.hang, [str(marker)])
    crew.until(marker.exists)
    assert crew.force.progress(0).phase is WorkPhase.RUNNING
    crew.force.kill(0)
    assert crew.exited().signal == signal.SIGKILL


def test_kill_before_there_is_a_process(crew: Crew) -> None:
    crew.force.start(0)
    crew.force.kill(0)
    assert crew.exited().signal == signal.SIGKILL


def test_work_and_stop_before_it_is_ready(crew: Crew) -> None:
    crew.force.start(0)
    chunk = crew.give(tasks.double, [4])
    crew.force.stop(0)
    event = crew.wait(WorkerExited)
    assert event.exit_code == 0
    assert [o.stop for o in crew.said(chunk)] == [1]


def test_the_stack_of_a_task_that_hangs(crew: Crew, tmp_path: Path) -> None:
    crew.force.start(0)
    assert not crew.force.dump_stack(0)
    crew.wait(WorkerReady)
    marker = tmp_path / "running"
    crew.give(tasks.hang, [str(marker)])
    crew.until(marker.exists)
    assert crew.force.dump_stack(0)
    seat = crew.force._seats[0]
    crew.until(lambda: "in hang" in seat._tail.text())
    crew.force.kill(0)
    assert "in hang" in crew.exited().stack


def test_exit_handlers_of_tasks_run_at_a_stop(crew: Crew, tmp_path: Path) -> None:
    crew.ready()
    crew.results(tasks.write_at_exit, [str(tmp_path / "bye")])
    crew.force.stop(0)
    assert crew.exited().exit_code == 0
    assert (tmp_path / "bye").read_text() == "bye"


def test_exit_handlers_that_hang_are_cut_short() -> None:
    program = (
        "import atexit, signal\nfrom zmqtasks.processes.farewell import say_farewell\n"
        "atexit.register(signal.pause)\nsay_farewell(b'', 0.1)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "say_farewell" in done.stderr


def test_a_task_that_forks_and_returns_twice_answers_once(crew: Crew) -> None:
    crew.ready()
    assert crew.results(tasks.fork_and_return, [None]) == {0: "the original"}
    assert crew.results(tasks.double, [1]) == {0: 2}


def test_a_worker_that_cannot_be_understood_is_killed(crew: Crew) -> None:
    crew.ready()
    crew.give(tasks.scribble, [None])
    assert crew.exited().signal == signal.SIGKILL


def test_memory_and_backlog(crew: Crew, tmp_path: Path) -> None:
    crew.ready()
    assert 4_000_000 < crew.force.memory(0) < 200_000_000
    crew.give(tasks.hang, [str(tmp_path / "running")])
    crew.give(tasks.nothing, ["x" * 5_000_000])
    assert crew.force.backlog_bytes(0) > 4_000_000
    crew.force.kill(0)
    crew.exited()


def test_bytes_that_cannot_be_sent_are_one_tasks_matter(crew: Crew) -> None:
    crew.ready()
    for function in (tasks.generate, tasks.unawaited):
        results = crew.results(function, [3, 4])
        assert [type(error) for error in results.values()] == [SerializationError] * 2


class TestInitializer:
    def test_it_runs_before_ready(self, tmp_path: Path) -> None:
        flag = tmp_path / "flag"
        with Crew(initializer=payload.pack_function(partial(tasks.set_flag, str(flag)))) as crew:
            crew.ready()
            assert flag.read_text() == "ready"

    @pytest.mark.parametrize("method", ["zygote", "spawn"])
    def test_its_failure_is_told(self, method: str) -> None:
        with Crew(method=method, initializer=payload.pack_function(tasks.refuse)) as crew:
            crew.force.start(0)
            event = crew.wait(WorkerExited)
            assert event.exit_code == EXIT_INITIALIZER_FAILED
            failed = crew.wait(WorkerFailedToStart)
            assert failed.pid == event.pid
            assert failed.reason == "the initializer failed: RuntimeError: no licence"
            assert isinstance(payload.unpack_failure(failed.failure, Limits()), RuntimeError)
            assert not crew.all(WorkerReady)

    def test_its_death_is_an_exit(self) -> None:
        with Crew(initializer=payload.pack_function(partial(tasks.exit_hard, 9))) as crew:
            crew.force.start(0)
            event = crew.exited()
            assert event.exit_code == 9
            assert event.progress.phase is WorkPhase.LOADING


class TestOrders:
    def test_slots_are_checked(self, crew: Crew) -> None:
        crew.ready()
        with pytest.raises(LocalProtocolError, match="taken"):
            crew.force.start(0)
        with pytest.raises(LocalProtocolError, match="not one of 2"):
            crew.force.start(2)
        with pytest.raises(LocalProtocolError, match="no worker in slot 1"):
            crew.force.stop(1)
        crew.force.close()
        with pytest.raises(LocalProtocolError, match="closed"):
            crew.force.start(1)

    def test_settings_are_checked(self) -> None:
        with pytest.raises(ValueError, match="output"):
            Crew(output="nowhere")
        with pytest.raises(ValueError, match="magic"):
            Crew(method="magic")

    def test_close_ends_everything(self) -> None:
        with Crew(slots=3) as crew:
            pids = [crew.ready(0), crew.ready(1)]
            crew.force.start(2)
            crew.loop.run_until_complete(_turns(3))  # the request for the third is under way
            crew.events.clear()
        assert not crew.events
        for pid in pids:
            wait_until(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))  # type: ignore[misc]

    @pytest.mark.parametrize("method", ["zygote", "spawn"])
    def test_close_right_after_a_start(self, method: str) -> None:
        with Crew(method=method) as crew:
            crew.force.start(0)

    def test_an_event_may_close_it(self) -> None:
        with Crew() as crew:
            crew.force._on_event = lambda _: crew.force.close()
            crew.force.start(0)
            crew.until(lambda: crew.force._closed)

    def test_two_workforces_leave_each_other_alone(self) -> None:
        with Crew() as one, Crew(node="00000000deadbeef") as other:
            pid = other.ready()
            one.ready()
            one.force.kill(0)
            one.exited()
            one.force._sweep()
            other.until(lambda: True)
            assert other.results(tasks.pid_of_worker, [None]) == {0: pid}


def test_200_lives_leave_nothing(crew: Crew) -> None:
    crew.ready()
    crew.force.kill(0)
    crew.exited()
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(200):
        crew.ready()
        crew.force.kill(0)
        crew.exited()
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()) <= 2  # the zygote, and us


async def _turns(count: int) -> None:
    import asyncio

    for _ in range(count):
        await asyncio.sleep(0)


def test_said_is_the_only_way_results_come(crew: Crew) -> None:
    crew.ready()
    crew.results(tasks.double, range(3))
    assert {type(event) for event in crew.events} == {WorkerStarted, WorkerReady, WorkerSaid}


@pytest.mark.skipif(not linux.AVAILABLE, reason="needs /proc")
def test_only_who_waits_for_work_is_at_rest(crew: Crew, tmp_path: Path) -> None:
    """Not who sleeps in a task, has something to read, or has said what was not heard."""
    assert not crew.force.is_at_rest(0), "there is no worker"
    pid = crew.ready()
    crew.until(lambda: crew.force.is_at_rest(0))
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: not crew.force.is_at_rest(0))
    chunk = crew.give(tasks.double, [1])
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: crew.force.progress(0).chunk == 1 and crew.force.progress(0).phase is WorkPhase.IDLE)
    wait_until(lambda: (stat := linux.stat_of(pid)) is not None and stat.state == "S")
    assert not crew.force.is_at_rest(0), "its answer was not read"
    crew.until(lambda: crew.said(chunk))
    crew.until(lambda: crew.force.is_at_rest(0))
    crew.force.kill(0)
    assert not crew.force.is_at_rest(0)
    crew.exited()
