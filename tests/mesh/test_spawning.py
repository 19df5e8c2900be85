"""Tasks that spawn tasks: waited for or not, as deep as they like, with few workers."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import zmqtasks
from tests.mesh import spawners
from tests.mesh.nodes import node_process
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def module_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zmqtasks.Client]:
    """Two nodes with one worker each: one over a Unix socket, one over TCP."""
    folder = tmp_path_factory.mktemp("nodes")
    with (
        node_process(folder / "a") as a,
        node_process(folder / "b") as b,
        zmqtasks.Client(a.endpoints[-1], b.tcp) as client,
    ):
        wait_until(lambda: len(set(client.map(spawners.where, range(6)))) == 2)  # all connections are made
        yield client


@pytest.fixture
def client(module_client: zmqtasks.Client) -> zmqtasks.Client:
    return module_client


def test_a_task_spawns_tasks_and_waits_for_them_in_every_way(client: zmqtasks.Client) -> None:
    squares = [x * x for x in range(9)]
    told = client.submit(spawners.in_every_way, 9).result(30)
    assert told == [9, squares, 3, 3, squares, list(range(10, 19)), False]


def test_callbacks_and_threads_of_a_task_may_spawn_and_wait_too(client: zmqtasks.Client) -> None:
    assert client.submit(spawners.callbacks, 3).result(30) == [9, 10]
    assert client.submit(spawners.from_threads, 4).result(30) == 14


def test_a_long_map_of_a_task(client: zmqtasks.Client) -> None:
    assert client.submit(spawners.sums, 20_000).result(30) == sum(x * x for x in range(20_000))


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_nest_deeper_than_there_are_workers(workers: int) -> None:
    with zmqtasks.Client(workers=workers) as client:
        assert client.submit(spawners.fib, 8).result(30) == 21


@pytest.mark.parametrize("side_by_side", [{"threads": 2}, {"concurrency": 2}], ids=str)
def test_tasks_nest_in_workers_that_run_several_at_once(side_by_side: dict[str, int]) -> None:
    with zmqtasks.Client(workers=1, **side_by_side) as client:
        assert client.submit(spawners.fib_awaited if "concurrency" in side_by_side else spawners.fib, 5).result(30) == 5


def test_there_is_a_bound_on_how_many_wait() -> None:
    with (
        zmqtasks.Client(workers=1, max_waiting=3) as client,
        pytest.raises(zmqtasks.NestedTooDeep, match="max_waiting"),
    ):
        client.submit(spawners.fib, 8).result(30)
    with zmqtasks.Client(workers=1, max_waiting=3) as client:
        assert client.submit(spawners.fib, 3).result(30) == 2


def test_who_waits_for_a_lock_keeps_its_holder_from_nothing() -> None:
    with zmqtasks.Client(workers=1) as client:
        assert list(client.map(spawners.hold_and_spawn, ["one"] * 4)) == [9] * 4


def test_a_client_that_is_shut_down_waits_for_what_its_tasks_have_spawned(tmp_path: Path) -> None:
    with zmqtasks.Client(workers=2) as client:
        pushed = client.submit(spawners.push, str(tmp_path), 500)
    assert pushed.result() == 500
    assert len(os.listdir(tmp_path)) == 500


def test_a_task_that_pushes_calls_does_not_wait_behind_them(tmp_path: Path) -> None:
    """Its client is slow to say that it has taken them: another worker could have its place meanwhile, and for long."""
    with zmqtasks.Client(workers=1) as client:
        pushing = client.submit(spawners.leave_behind, str(tmp_path), 3)
        wait_until((tmp_path / "begun").exists)
        client._registry.embedded.call_soon(time.sleep, 0.3)
        (tmp_path / "push").touch()
        try:
            assert pushing.result(10) == 3
        finally:
            (tmp_path / "go").touch()
    assert len(list(tmp_path.glob("left-*"))) == 3


def test_what_fails_and_nobody_waits_for_is_logged(client: zmqtasks.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        client.submit(spawners.drop, 77).result(10)
        wait_until(lambda: caplog.records, lambda: caplog.text)
    assert "calls of tests.mesh.spawners.fail that tasks have spawned" in caplog.text
    assert "ValueError: 77" in caplog.text


def test_what_fails_fails_where_it_is_waited_for(client: zmqtasks.Client) -> None:
    told = client.submit(spawners.failing, "why").result(30)
    assert told == [
        *("ValueError", "WorkerCrashed", "TooBig", "NoneType"),
        *("a task may give 1,048,", "the future o", "TimeoutError"),
    ]


def test_a_trace_goes_on_in_what_is_spawned(client: zmqtasks.Client) -> None:
    assert client.options(trace_id="t1").submit(spawners.inherited).result(10) == ["t1", "other"]


def test_what_a_killed_worker_has_spawned_goes_on_without_it(client: zmqtasks.Client, tmp_path: Path) -> None:
    assert client.submit(spawners.spawn_and_die, str(tmp_path)).result(20) == "again"
    assert (tmp_path / "child").exists()


def test_a_task_whose_call_dies_with_its_worker_gets_the_result_of_another_run(tmp_path: Path) -> None:
    waits = tmp_path / "waits"
    with (
        node_process(tmp_path / "a") as a,
        node_process(tmp_path / "b") as b,
        zmqtasks.Client(a.endpoints[-1], b.tcp) as client,
    ):
        waiting = client.submit(spawners.wait_long, str(tmp_path))
        pid = int(wait_until(lambda: waits.exists() and waits.read_text()))
        waits.unlink()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: waits.exists() and waits.read_text())
        (tmp_path / "go").touch()
        assert waiting.result(20) == "went"


def test_a_client_with_a_journal_says_that_its_tasks_spawn_nothing(tmp_path: Path) -> None:
    with (
        zmqtasks.Client(workers=1, journal=tmp_path / "j.db") as client,
        pytest.raises(RuntimeError, match="in a client with a journal tasks submit no tasks"),
    ):
        client.submit(spawners.fib, 3).result(20)
