"""A bad task harms only itself: each failure ends as that task's own error, and its neighbours finish."""

from __future__ import annotations

import json
import signal
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zmqtasks
from tests.mesh import functions


@pytest.fixture(scope="module")
def module_client() -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=2) as client:
        # All connections stand before a test counts descriptors.
        client.submit(functions.double, 1).result(30)
        yield client


@pytest.fixture
def client(module_client: zmqtasks.Client) -> zmqtasks.Client:
    return module_client


def outcomes(client: Any, function: Any, count: int = 8, *more: Any) -> tuple[dict[int, Any], dict[int, BaseException]]:
    futures = [client.submit(function, i, *more) for i in range(count)]
    errors = {i: f.exception(30) for i, f in enumerate(futures)}
    failed = {i: error for i, error in errors.items() if error is not None}
    return {i: f.result() for i, f in enumerate(futures) if i not in failed}, failed


def the_others(bad: int, count: int = 8) -> dict[int, int]:
    return {i: i for i in range(count) if i != bad}


def test_an_exception_arrives_as_itself_with_the_remote_traceback(client: zmqtasks.Client) -> None:
    good, bad = outcomes(client, functions.raise_at, 8, 3)
    assert good == the_others(3)
    assert type(bad[3]) is ValueError
    assert str(bad[3]) == "bad value 3"
    assert isinstance(bad[3].__cause__, zmqtasks.RemoteTraceback)
    assert "in raise_at" in str(bad[3].__cause__)
    assert "zmqtasks/processes" not in str(bad[3].__cause__)


def test_an_exception_in_a_large_chunk_harms_only_itself(client: zmqtasks.Client) -> None:
    results = client.map(functions.raise_at, range(20_000), [19_000] * 20_000)
    seen = []
    with pytest.raises(ValueError, match="bad value 19000"):
        seen.extend(results)
    good, bad = outcomes(client, functions.raise_at, 2000, 1500)
    assert len(good) == 1999
    assert list(bad) == [1500]


def test_sys_exit_is_the_end_of_its_task_only(client: zmqtasks.Client) -> None:
    good, bad = outcomes(client, functions.exit_at, 8, 5)
    assert good == the_others(5)
    assert isinstance(bad[5], zmqtasks.WorkerCrashed)
    assert bad[5].exit_code == 7
    assert "sys.exit(7)" in str(bad[5])
    assert "in exit_at" in str(bad[5].__cause__)


def test_a_killed_worker_is_explained(client: zmqtasks.Client) -> None:
    good, bad = outcomes(client, functions.kill_at, 8, 2)
    assert good == the_others(2)
    error = bad[2]
    assert isinstance(error, zmqtasks.WorkerCrashed)
    assert error.signal == signal.SIGKILL
    assert "SIGKILL" in str(error)


def test_a_worker_that_ends_itself_is_explained(client: zmqtasks.Client) -> None:
    good, bad = outcomes(client, functions.exit_hard_at, 8, 2)
    assert good == the_others(2)
    assert isinstance(bad[2], zmqtasks.WorkerCrashed)
    assert bad[2].exit_code == 3


def test_neighbours_of_a_crash_in_the_same_chunk_finish(client: zmqtasks.Client) -> None:
    list(client.map(functions.kill_at, range(5000), [-1] * 5000))
    futures = [client.submit(functions.kill_at, i, 777) for i in range(2000)]
    failed = [i for i, future in enumerate(futures) if future.exception(30) is not None]
    assert failed == [777]
    assert [f.result() for i, f in enumerate(futures) if i != 777] == [i for i in range(2000) if i != 777]


def test_an_argument_that_cannot_be_pickled(client: zmqtasks.Client) -> None:
    futures = [client.submit(functions.double, threading.Lock() if i == 3 else i) for i in range(8)]
    assert isinstance(futures[3].exception(30), zmqtasks.SerializationError)
    assert "lock" in str(futures[3].exception())
    assert isinstance(futures[3].exception().__cause__, TypeError)  # type: ignore[union-attr]
    assert [f.result(30) for i, f in enumerate(futures) if i != 3] == [i * 2 for i in range(8) if i != 3]


def test_an_argument_that_cannot_be_loaded(client: zmqtasks.Client) -> None:
    items: list[Any] = [0, 1, functions.ExplodesWhenLoaded(), 3, 4]
    futures = [client.submit(functions.double, item) for item in items]
    assert isinstance(futures[2].exception(30), zmqtasks.SerializationError)
    assert "cannot be loaded" in str(futures[2].exception())
    assert [f.result(30) for i, f in enumerate(futures) if i != 2] == [0, 2, 6, 8]


def test_a_result_that_cannot_be_pickled(client: zmqtasks.Client) -> None:
    good, bad = outcomes(client, functions.unpicklable_at, 8, 6)
    assert good == the_others(6)
    assert isinstance(bad[6], zmqtasks.SerializationError)
    assert "lock" in str(bad[6])


def test_an_exception_that_cannot_be_rebuilt(client: zmqtasks.Client) -> None:
    error = client.submit(functions.raise_awkward, 3).exception(30)
    assert "3 and 3" in str(error)
    assert "in raise_awkward" in str(error.__cause__)  # type: ignore[union-attr]


def test_a_module_the_worker_lacks(client: zmqtasks.Client) -> None:
    ghost = types.ModuleType("ghost_module")
    exec("def work(value): return value", ghost.__dict__)
    ghost.work.__module__ = "ghost_module"
    sys.modules["ghost_module"] = ghost
    try:
        error = client.submit(ghost.work, 1).exception(30)
    finally:
        del sys.modules["ghost_module"]
    assert isinstance(error, ModuleNotFoundError)
    assert "ghost_module" in str(error)
    assert isinstance(error.__cause__, zmqtasks.RemoteTraceback)
    assert client.submit(functions.double, 1).result(30) == 2


def test_a_function_that_does_not_exist_there(client: zmqtasks.Client) -> None:
    def vanished(value: int) -> int:
        return value

    vanished.__module__, vanished.__qualname__ = "json", "vanished"
    json.vanished = vanished  # type: ignore[attr-defined]
    try:
        futures = [client.submit(vanished, i) for i in range(3)]
        errors = [future.exception(30) for future in futures]
    finally:
        del json.vanished  # type: ignore[attr-defined]
    assert all(isinstance(error, AttributeError) for error in errors)
    assert "module 'json' has no function 'vanished'" in str(errors[0])


def test_a_function_that_cannot_travel(client: zmqtasks.Client) -> None:
    lock = threading.Lock()
    with pytest.raises(zmqtasks.SerializationError, match="lock"):
        client.submit(lambda: lock)
    with pytest.raises(TypeError, match="not callable"):
        client.submit(3)  # type: ignore[arg-type]


def test_a_worker_that_dies_once_costs_nothing(client: zmqtasks.Client, tmp_path: Path) -> None:
    good, bad = outcomes(client, functions.kill_once, 8, 4, str(tmp_path))
    assert (good, bad) == ({i: i for i in range(8)}, {})


def test_at_most_once_ends_with_the_first_crash(client: zmqtasks.Client, tmp_path: Path) -> None:
    once = client.options(retry=False)
    good, bad = outcomes(once, functions.kill_once, 8, 4, str(tmp_path))
    assert good == the_others(4)
    assert isinstance(bad[4], zmqtasks.WorkerCrashed)


def test_an_overrun_is_ended_and_shows_where_it_was(client: zmqtasks.Client) -> None:
    hasty = client.options(timeout=0.3)
    stuck, fine = hasty.submit(functions.spin_forever), hasty.submit(functions.double, 2)
    assert fine.result(30) == 4
    error = stuck.exception(30)
    assert isinstance(error, zmqtasks.TaskTimeout)
    assert isinstance(error, TimeoutError)
    assert "in spin_forever" in error.stack


def test_too_much_memory_is_ended(client: zmqtasks.Client) -> None:
    small = client.options(max_memory="150 MiB")
    error = small.submit(functions.allocate, 300 * 2**20).exception(30)
    assert isinstance(error, zmqtasks.MemoryLimitExceeded)
    assert isinstance(error, MemoryError)
    assert error.peak_bytes > 150 * 2**20


def test_printing_harms_nothing(client: zmqtasks.Client, capfd: pytest.CaptureFixture[str]) -> None:
    assert client.submit(print, "from the task").result(30) is None


def test_a_result_that_is_too_big(client: zmqtasks.Client) -> None:
    error = client.submit(bytes, 600 * 2**20).exception(60)
    assert isinstance(error, zmqtasks.TooBig)
    assert client.submit(functions.double, 2).result(30) == 4


def test_an_initializer_that_fails_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    with zmqtasks.Client(workers=1, initializer=functions.fail_to_initialize) as client:
        error = client.submit(functions.double, 1).exception(30)
        again = client.submit(functions.double, 1).exception(30)
    assert isinstance(error, zmqtasks.WorkerCrashed)
    assert "no database here" in str(error)
    assert "no database here" in str(again)


def test_an_interrupted_block_ends_at_once() -> None:
    futures = []

    def interrupted() -> None:
        with zmqtasks.Client(workers=1) as client:
            futures.append(client.submit(functions.spin_forever))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert isinstance(futures[0].exception(0), zmqtasks.TaskLost)


def test_shutdown_in_a_callback_does_not_lock_up() -> None:
    client = zmqtasks.Client(workers=1)
    future = client.submit(functions.double, 1)
    future.add_done_callback(lambda _: client.shutdown())
    assert future.result(30) == 2
    client.shutdown()


def test_a_crash_tells_all_that_is_known(client: zmqtasks.Client) -> None:
    error = client.submit(functions.crash_with_a_stack, 1).exception(30)
    assert isinstance(error, zmqtasks.WorkerCrashed)
    assert error.signal == signal.SIGSEGV
    assert error.output.splitlines()[-1] == "about to crash"
    assert "Segmentation fault" in error.stack
    assert "in crash_with_a_stack" in error.stack
    assert error.peak_bytes > 2**20
    assert error.pid
    assert error.node
    assert "about to crash" in str(error)
