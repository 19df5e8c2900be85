"""A task that passes a limit of time or memory: it ends, tells where it was, and harms nobody else."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import zmqtasks
from tests.mesh import functions, overrunning, slow_import
from tests.waiting import wait_until
from zmqtasks.embedded.launching import MODULE
from zmqtasks.embedded.own_node import NodeSettings
from zmqtasks.options import NodeOptions
from zmqtasks.processes.launch import launch

SLOW = 10
"""How much slower than an idle machine this one may be."""


@pytest.fixture(scope="module")
def module_client() -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=2) as client:
        client.submit(functions.double, 1).result(30)
        yield client


@pytest.fixture
def client(module_client: zmqtasks.Client) -> zmqtasks.Client:
    return module_client


def death_of(path: Path) -> tuple[int, float]:
    """Return the pid of the worker of a task that has noted its start, and how long that went before it died."""
    pid, begun = wait_until(lambda: path.exists() and path.read_text(), timeout_s=20).split()
    pidfd = os.pidfd_open(int(pid))
    try:
        assert select.select([pidfd], [], [], 20)[0], f"worker {pid} lives on"
    finally:
        os.close(pidfd)
    return int(pid), time.monotonic() - float(begun)


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


# Time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", overrunning.STUCK, ids=lambda function: function.__name__)
def test_whatever_a_task_is_stuck_in_it_ends_and_tells_where_it_was(
    client: zmqtasks.Client, tmp_path: Path, function: Callable[[str], Any]
) -> None:
    future = client.options(timeout=0.5).submit(function, str(tmp_path / "begun"))
    pid, seconds = death_of(tmp_path / "begun")
    assert 0.45 < seconds < 0.5 + 0.25 * SLOW
    error = future.exception(20)
    assert isinstance(error, zmqtasks.TaskTimeout)
    assert f"in {function.__name__}" in error.stack
    assert "timeout of 0.5 s" in str(error)
    assert (error.pid, bool(error.node)) == (pid, True)


def test_a_long_limit_elsewhere_does_not_delay_a_short_one(client: zmqtasks.Client, tmp_path: Path) -> None:
    release = tmp_path / "release"
    patient = client.options(timeout=60).submit(functions.wait_for, str(release))
    hasty = client.options(timeout=0.2).submit(overrunning.sleep_on, str(tmp_path / "begun"))
    assert isinstance(hasty.exception(20), zmqtasks.TaskTimeout)
    release.touch()
    assert patient.result(20) == str(release)


def test_the_limit_is_of_each_task_of_a_chunk(client: zmqtasks.Client) -> None:
    naps = [0.02] * 30
    assert list(client.options(timeout=0.4).map(overrunning.nap, naps)) == naps


def test_what_it_started_ends_with_it(client: zmqtasks.Client, tmp_path: Path) -> None:
    path = tmp_path / "child"
    future = client.options(timeout=0.5).submit(functions.leave_a_child, str(path))
    assert isinstance(future.exception(20), zmqtasks.TaskTimeout)
    child = int(path.read_text())
    wait_until(lambda: is_gone(child), lambda: f"child {child} lives on")


# Loading and packing ----------------------------------------------------------------------------------------------


def outcomes(client: Any, function: Any, items: list[Any], *more: Any) -> tuple[list[Any], dict[int, BaseException]]:
    """Return the results that came, and the errors by place."""
    futures = [client.submit(function, item, *more) for item in items]
    errors = {place: error for place, future in enumerate(futures) if (error := future.exception(40)) is not None}
    return [future.result() for place, future in enumerate(futures) if place not in errors], errors


def warm(client: Any, function: Any, *more: Any) -> None:
    """Let a function be known as short, so that its tasks come in chunks."""
    for _ in range(3):
        good, bad = outcomes(client, function, list(range(100)), *more)
        assert (len(good), bad) == (100, {})


def test_an_argument_that_is_never_loaded_ends_its_task_alone(client: zmqtasks.Client) -> None:
    hasty = client.options(timeout=0.3)
    warm(hasty, overrunning.same)
    good, bad = outcomes(hasty, overrunning.same, [overrunning.HangsWhenLoaded() if i == 3 else i for i in range(8)])
    assert (good, list(bad)) == ([0, 1, 2, 4, 5, 6, 7], [3])
    assert isinstance(bad[3], zmqtasks.TaskTimeout)
    assert "loaded the arguments of this task" in str(bad[3])
    assert bad[3].stack


def test_an_import_that_takes_its_time_is_not_the_doing_of_the_task(client: zmqtasks.Client) -> None:
    assert client.options(timeout=0.2).submit(slow_import.double, 4).result(20) == 8


def test_an_argument_that_kills_who_loads_it_ends_its_task_alone(client: zmqtasks.Client) -> None:
    fragile = client.options(crash_limit=1)
    warm(fragile, overrunning.same)
    good, bad = outcomes(fragile, overrunning.same, [overrunning.DiesWhenLoaded() if i == 5 else i for i in range(40)])
    assert (good, list(bad)) == ([i for i in range(40) if i != 5], [5])
    assert isinstance(bad[5], zmqtasks.WorkerCrashed)
    assert bad[5].exit_code == 3


@pytest.mark.parametrize("function", [overrunning.hang_packing_at, overrunning.raise_hanging_at])
def test_what_is_never_packed_ends_its_task_alone(client: zmqtasks.Client, function: Any) -> None:
    hasty = client.options(timeout=0.3)
    warm(hasty, function, -1)
    good, bad = outcomes(hasty, function, list(range(8)), 6)
    assert (good, list(bad)) == ([0, 1, 2, 3, 4, 5, 7], [6])
    assert isinstance(bad[6], zmqtasks.TaskTimeout)
    assert "packed the result" in str(bad[6])


# Grace ------------------------------------------------------------------------------------------------------------


def test_a_task_that_cleans_up_in_time_has_succeeded(client: zmqtasks.Client) -> None:
    graceful = client.options(timeout=0.2, grace=20)
    pid = client.submit(functions.pid)
    assert graceful.submit(overrunning.clean_up, 3).result(20) == (
        "cleaned up 3: the task ran longer than its timeout of 0.2 s, and was interrupted"
    )
    assert pid.result(20)


def test_a_task_that_goes_when_told_times_out_and_its_worker_lives_on(tmp_path: Path) -> None:
    with zmqtasks.Client(workers=1, timeout=0.2, grace=20) as client:
        before = client.submit(functions.pid).result(20)
        error = client.submit(overrunning.go_when_told, str(tmp_path / "told")).exception(20)
        assert isinstance(error, zmqtasks.TaskTimeout)
        assert "in go_when_told" in error.stack
        assert "zmqtasks/processes" not in error.stack
        assert error.pid == before
        assert error.node
        assert (tmp_path / "told").exists()
        asleep = client.submit(time.sleep, 300).exception(20)
        assert isinstance(asleep, zmqtasks.TaskTimeout)
        assert "timeout of 0.2 s" in str(asleep)
        assert client.submit(functions.pid).result(20) == before


def test_a_task_that_will_not_go_is_killed_after_its_grace(client: zmqtasks.Client, tmp_path: Path) -> None:
    error = client.options(timeout=0.2, grace=0.3).submit(overrunning.will_not_go, str(tmp_path / "t")).exception(20)
    assert isinstance(error, zmqtasks.TaskTimeout)
    assert (tmp_path / "t").exists()
    assert "in will_not_go" in error.stack
    assert error.output.splitlines()[-1] == "here I stay"  # earlier tasks of the worker have printed, too
    assert "went on for more than its grace of 0.3 s" in str(error)


def test_the_end_of_a_task_in_the_moment_of_its_interruption_harms_nobody(client: zmqtasks.Client) -> None:
    naps = [0.05 + 0.0005 * (number % 8 - 4) for number in range(24)]
    futures = [client.options(timeout=0.05, grace=20).submit(overrunning.nap, nap) for nap in naps]
    errors = [future.exception(30) for future in futures]
    assert {type(error) for error in errors} <= {type(None), zmqtasks.TaskTimeout}
    assert client.submit(functions.double, 4).result(20) == 8


# Progress ---------------------------------------------------------------------------------------------------------


def test_without_progress_a_task_ends_and_tells_how_far_it_was(client: zmqtasks.Client) -> None:
    error = client.options(stall_timeout=0.5).submit(overrunning.advance, 4, 0.2).exception(20)
    assert isinstance(error, zmqtasks.TaskTimeout)
    assert "no progress for 0." in str(error)
    assert "it was at 4 of 8" in str(error)
    assert "in advance" in error.stack


def test_a_stalled_task_may_clean_up(client: zmqtasks.Client) -> None:
    error = client.options(stall_timeout=0.3, grace=20).submit(overrunning.advance, 1, 0).exception(20)
    assert "stall_timeout of 0.3 s, and was interrupted; it was at 1 of 2" in str(error)
    silent = client.options(stall_timeout=0.3, grace=20).submit(time.sleep, 300).exception(20)
    assert "never called zmqtasks.progress()" in str(silent)


def test_progress_from_a_thread_of_the_task_counts(client: zmqtasks.Client) -> None:
    assert client.options(stall_timeout=1.0).submit(overrunning.advance_in_a_thread, 15, 0.1).result(30) == 15


def test_the_node_tells_how_far_its_tasks_are(client: zmqtasks.Client, tmp_path: Path) -> None:
    release = tmp_path / "release"
    futures = [client.submit(overrunning.advance_and_wait, done, 4, str(release)) for done in (1, 2)]
    ventilator = client._registry.embedded.ventilator

    def partial() -> float:
        return sum(link.data.status.load.partial for link in ventilator.nodes() if link.data.status)

    wait_until(lambda: partial() == 0.75, partial)
    release.touch()
    assert [future.result(20) for future in futures] == [1, 2]
    wait_until(lambda: partial() == 0.0, partial)


def test_the_stack_is_in_the_error_and_not_in_the_output(capfd: pytest.CaptureFixture[str]) -> None:
    with zmqtasks.Client(workers=1) as client:
        error = client.options(timeout=0.2).submit(time.sleep, 300).exception(30)
        assert isinstance(error, zmqtasks.TaskTimeout)
        assert "most recent call first" in error.stack
        assert client.submit(print, "the next worker").result(30) is None
    captured = capfd.readouterr()
    assert "the next worker" in captured.out
    assert "most recent call first" not in captured.err


# Memory -----------------------------------------------------------------------------------------------------------


def test_what_a_child_of_a_task_holds_counts(client: zmqtasks.Client) -> None:
    error = client.options(max_memory="150 MiB").submit(overrunning.child_allocates, 250 * 2**20).exception(30)
    assert isinstance(error, zmqtasks.MemoryLimitExceeded)
    assert error.peak_bytes > 150 * 2**20
    assert error.output.splitlines()[-1] == "a child does it"
    assert error.pid
    assert error.node
    assert "a child does it" in str(error)


def test_what_children_share_counts_once(client: zmqtasks.Client) -> None:
    size = 80 * 2**20
    shared = client.options(max_memory="200 MiB").submit(overrunning.share_with_children, size, 4, 1.0)
    assert shared.result(30) == size


# Where limits come from -------------------------------------------------------------------------------------------


def test_what_is_nearest_to_the_call_goes_before(tmp_path: Path) -> None:
    @zmqtasks.task(timeout=0.1)
    def marked(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def plain(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    with zmqtasks.Client(workers=1, timeout=0.3) as client:
        assert "timeout of 0.3 s" in str(client.submit(plain, 300).exception(20))
        assert "timeout of 0.1 s" in str(client.submit(marked, 300).exception(20))
        assert "timeout of 0.2 s" in str(client.options(timeout=0.2).submit(marked, 300).exception(20))
        assert client.options(timeout=None).submit(marked, 0.5).result(20) == 0.5


def test_options_that_do_not_exist_are_told() -> None:
    for kind in (zmqtasks.Client, zmqtasks.AsyncClient):
        with pytest.raises(TypeError, match="no such setting: retrys; there are of calls backoff, "):
            kind(workers=1, retrys=3)


def test_a_node_has_limits_for_those_who_have_none(tmp_path: Path) -> None:
    options = NodeOptions(workers=1, timeout=0.3, max_memory="150 MiB")  # type: ignore[arg-type]
    config = NodeSettings(options, b"", str(tmp_path), "inherit").as_config()
    with launch(MODULE, config | {"bind": ["tcp://127.0.0.1:0"]}) as launched:
        report = launched.report(20)
        (tcp,) = [endpoint for endpoint in report["endpoints"] if endpoint.startswith("tcp")]
        with zmqtasks.Client(tcp) as client:
            assert "timeout of 0.3 s" in str(client.submit(time.sleep, 300).exception(20))
            assert client.options(timeout=30).submit(overrunning.nap, 0.6).result(20) == 0.6
            large = client.options(timeout=30).submit(functions.allocate, 300 * 2**20).exception(30)
            assert isinstance(large, zmqtasks.MemoryLimitExceeded)
