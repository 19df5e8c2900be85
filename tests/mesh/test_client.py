"""The public client: a true executor on a node of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dis
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import zmqtasks
from tests.mesh import functions
from tests.waiting import wait_until
from zmqtasks.embedded.registry import Registry
from zmqtasks.embedded.submitted import SubmittedJob
from zmqtasks.wire.functions import TASK_MARK


@pytest.fixture(scope="module")
def module_client() -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=2) as client:
        # All connections stand before a test counts descriptors.
        client.submit(functions.double, 1).result(60)
        yield client


@pytest.fixture
def client(module_client: zmqtasks.Client) -> zmqtasks.Client:
    return module_client


@pytest.fixture
def own_client() -> Iterator[zmqtasks.Client]:
    """For a test that counts what a client has, keeps its workers busy, or leaves much behind on its way."""
    with zmqtasks.Client(workers=2) as client:
        yield client


def test_submit_returns_the_result(client: zmqtasks.Client) -> None:
    assert client.submit(pow, 2, 10).result(10) == 1024
    assert client.submit(functions.add, 1, 2, c=3).result(10) == 6
    assert client.submit(functions.double, "ab").result(10) == "abab"


def test_calls_of_all_forms_mix(client: zmqtasks.Client) -> None:
    futures = []
    for i in range(50):
        futures += [client.submit(int, str(i)), client.submit(int, str(i), 16), client.submit(int)]
        futures += [client.submit(int, str(i), base=10), client.options(priority=1).submit(int, str(i))]
    expected = [[i, int(str(i), 16), 0, i, i] for i in range(50)]
    assert [future.result(60) for future in futures] == [value for five in expected for value in five]


def test_a_function_that_is_marked_later_has_other_options(client: zmqtasks.Client, tmp_path: Path) -> None:
    (tmp_path / "now").touch()
    assert client.submit(functions.wait_for, str(tmp_path / "now")).result(60)
    try:
        zmqtasks.task(timeout=0.05)(functions.wait_for)
        with pytest.raises(zmqtasks.TaskTimeout):
            client.submit(functions.wait_for, str(tmp_path / "never")).result(60)
    finally:
        delattr(functions.wait_for, TASK_MARK)
    assert client.submit(functions.wait_for, str(tmp_path / "now")).result(60)


def test_wherever_ctrl_c_comes_the_other_calls_get_their_own_results(own_client: zmqtasks.Client) -> None:
    """It is let in after each call that `submit` makes in turn: that is where the interpreter looks for it."""
    codes = {Registry.submit.__code__, SubmittedJob.begin.__code__}
    for moment in range(1000):
        left, called = moment, False

        def trace(frame: FrameType, event: str, arg: object) -> Any:
            nonlocal left, called
            if frame.f_code not in codes:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                left -= called
                if left < 0:
                    sys.settrace(None)
                    raise KeyboardInterrupt
                called = "CALL" in dis.opname[frame.f_code.co_code[frame.f_lasti]]
            return trace

        before = [own_client.submit(functions.double, n) for n in range(moment % 2)]
        sys._getframe().f_trace_opcodes = True
        sys.settrace(trace)
        try:
            last: Any = own_client.submit(functions.double, "last")
        except KeyboardInterrupt:
            last = None
        finally:
            sys.settrace(None)
        after = [own_client.submit(functions.double, n) for n in range(4)]
        assert [future.result(20) for future in (*before, *after)] == [*range(0, 2 * len(before), 2), 0, 2, 4, 6]
        if last is not None:
            assert last.result(20) == "lastlast"
            break
    assert moment > 10


def test_few_jobs_are_kept_open(own_client: zmqtasks.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqtasks.embedded.registry.OPEN_JOBS", 2)
    known = [functions.double, abs, int, float, str]
    for _ in range(3):
        for function in known:
            assert own_client.submit(function, 3).result(60) == function(3)
    assert len(own_client._registry._by_use) <= 3
    assert {job.closed for job in own_client._registry._submitted.values()} == {False}


def test_it_runs_in_other_processes(client: zmqtasks.Client) -> None:
    pids = {future.result(10) for future in [client.submit(functions.pid) for _ in range(20)]}
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 2


def test_lambdas_and_closures_travel_by_value(client: zmqtasks.Client) -> None:
    offset = 5
    assert client.submit(lambda value: value + offset, 1).result(10) == 6
    assert [f.result(10) for f in [client.submit(lambda i=i: i) for i in range(300)]] == list(range(300))


def test_map_is_ordered_and_complete(client: zmqtasks.Client) -> None:
    assert list(client.map(functions.double, range(10_000))) == list(range(0, 20_000, 2))
    assert list(client.map(pow, [2, 3, 4], [5, 6])) == [32, 729]
    assert list(client.map(functions.double, iter("abc"))) == ["aa", "bb", "cc"]
    assert list(client.map(functions.double, [])) == []


def test_map_unordered_yields_everything_once(client: zmqtasks.Client) -> None:
    assert sorted(client.map(functions.double, range(5_000), ordered=False)) == list(range(0, 10_000, 2))


def test_map_is_lazy_and_takes_endless_arguments(own_client: zmqtasks.Client) -> None:
    results = own_client.map(functions.double, itertools.count())
    assert list(itertools.islice(results, 1000)) == list(range(0, 2000, 2))
    results.close()  # type: ignore[attr-defined]


def test_map_hands_on_what_a_slow_iterator_has_given(client: zmqtasks.Client) -> None:
    gate = threading.Event()

    def slow() -> Iterator[int]:
        yield 1
        gate.wait(10)
        yield 2

    results = client.map(functions.double, slow(), buffersize=1)
    assert next(results) == 2
    gate.set()
    assert list(results) == [4]


def test_map_bounds_what_is_pulled(client: zmqtasks.Client) -> None:
    pulled = []
    source = (pulled.append(i) or i for i in range(100_000))  # type: ignore[func-returns-value]
    results = client.map(functions.double, source, buffersize=10)
    assert [next(results) for _ in range(50)] == list(range(0, 100, 2))
    assert len(pulled) <= 61
    results.close()  # type: ignore[attr-defined]


def test_map_times_out(own_client: zmqtasks.Client, tmp_path: Path) -> None:
    release = tmp_path / "release"
    with pytest.raises(TimeoutError):
        next(own_client.map(functions.wait_for, [str(release)], timeout=0.1))
    release.touch()


def test_map_refuses_senseless_sizes(client: zmqtasks.Client) -> None:
    with pytest.raises(ValueError, match="chunksize must be 1 or more"):
        client.map(functions.double, [1], chunksize=0)
    with pytest.raises(ValueError, match="buffersize must be 1 or more"):
        client.map(functions.double, [1], buffersize=0)
    with pytest.raises(TypeError, match="at least one iterable"):
        client.map(functions.double)


def test_as_completed_and_wait_work(client: zmqtasks.Client) -> None:
    futures = [client.submit(functions.double, i) for i in range(50)]
    done, not_done = concurrent.futures.wait(futures, timeout=20)
    assert (len(done), len(not_done)) == (50, 0)
    again = [client.submit(functions.double, i) for i in range(50)]
    assert sorted(f.result() for f in concurrent.futures.as_completed(again, timeout=20)) == list(range(0, 100, 2))


def test_wrap_future_works(client: zmqtasks.Client) -> None:
    async def main() -> int:
        return await asyncio.wrap_future(client.submit(functions.double, 4))

    assert asyncio.run(main()) == 8


def test_run_in_executor_works(client: zmqtasks.Client) -> None:
    async def main() -> int:
        return await asyncio.get_running_loop().run_in_executor(client, functions.double, 4)

    assert asyncio.run(main()) == 8


def test_a_waiting_call_can_be_cancelled(own_client: zmqtasks.Client, tmp_path: Path) -> None:
    release, ledger = tmp_path / "release", tmp_path / "ledger"
    begun = tmp_path / "begun"
    begun.mkdir()
    blocked = [own_client.submit(functions.note_pid_and_wait, str(begun), str(release)) for _ in range(2)]
    wait_until(lambda: len(list(begun.iterdir())) == 2, lambda: blocked)
    waiting = [own_client.submit(functions.note, i, str(ledger)) for i in range(5)]
    assert all(future.cancel() for future in waiting[1:4])
    assert not blocked[0].cancel()
    release.touch()
    assert waiting[0].result(10) == 0
    assert waiting[4].result(10) == 4
    done, _ = concurrent.futures.wait(waiting, timeout=10)
    assert len(done) == 5
    with pytest.raises(concurrent.futures.CancelledError):
        waiting[1].result(0)
    assert sorted(ledger.read_text().split()) == ["0", "4"]


def test_many_threads_may_submit(client: zmqtasks.Client) -> None:
    results: list[list[int]] = []

    def use(base: int) -> None:
        results.append([f.result(20) for f in [client.submit(functions.double, base + i) for i in range(200)]])

    threads = [threading.Thread(target=use, args=(1000 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [list(range(2000 * n, 2000 * n + 400, 2)) for n in range(4)]


def test_arguments_and_results_are_let_go(client: zmqtasks.Client) -> None:
    import gc
    import weakref

    class Thing:
        pass

    thing = Thing()
    reference = weakref.ref(thing)
    future = client.submit(id, thing)
    future.result(10)
    del thing
    wait_until(lambda: gc.collect() >= 0 and reference() is None, reference)


def test_options_hold_for_a_view_only(client: zmqtasks.Client, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="try 0"):
        client.submit(functions.fail_times, 1, 2, str(tmp_path)).result(10)
    careful = client.options(retries=3)
    assert careful.submit(functions.fail_times, 1, 2, str(tmp_path)).result(10) == 1
    with pytest.raises(TypeError, match="no such task option: tiemout"):
        client.options(tiemout=3)
    with pytest.raises(ValueError, match="retries must be 0 or more"):
        client.options(retries=-1)


def test_options_of_the_decorator_travel(client: zmqtasks.Client, tmp_path: Path) -> None:
    assert client.submit(functions.marked_fail_times, 3, 2, str(tmp_path)).result(10) == 3


def test_backoff_delays_the_retry(client: zmqtasks.Client, tmp_path: Path) -> None:
    waiting = client.options(retries=1, backoff="0.2 s")
    assert waiting.submit(functions.fail_times, 3, 1, str(tmp_path)).result(10) == 3


def test_msgpack_mode_runs_marked_functions_only(client: zmqtasks.Client, tmp_path: Path) -> None:
    safe = client.options(serializer="msgpack")
    assert safe.submit(functions.marked_fail_times, 3, 0, str(tmp_path)).result(10) == 3
    with pytest.raises(zmqtasks.SerializationError, match="task"):
        safe.submit(functions.double, 3)


def test_after_shutdown_nothing_is_taken() -> None:
    client = zmqtasks.Client(workers=1)
    future = client.submit(functions.double, 2)
    client.shutdown()
    assert future.result(0) == 4
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        client.submit(functions.double, 2)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        client.map(functions.double, [2])
    client.shutdown()


def test_shutdown_without_waiting_still_resolves_futures(tmp_path: Path) -> None:
    release = tmp_path / "release"
    client = zmqtasks.Client(workers=1)
    future = client.submit(functions.wait_for, str(release))
    client.shutdown(wait=False)
    assert not future.done()
    release.touch()
    assert future.result(10) == str(release)
    client.shutdown(wait=True)


def test_shutdown_can_cancel_what_waits(tmp_path: Path) -> None:
    release = tmp_path / "release"
    client = zmqtasks.Client(workers=1)
    begun = tmp_path / "begun"
    begun.mkdir()
    running = client.submit(functions.note_pid_and_wait, str(begun), str(release))
    wait_until(lambda: list(begun.iterdir()), lambda: running)
    waiting = [client.submit(functions.double, i) for i in range(3)]
    client.shutdown(wait=False, cancel_futures=True)
    concurrent.futures.wait(waiting, timeout=10)
    assert all(future.cancelled() for future in waiting)
    release.touch()
    assert running.result(10)
    client.shutdown(wait=True)


def test_results_of_map_can_be_taken_after_the_client_has_ended() -> None:
    with zmqtasks.Client(workers=2) as client:
        results = client.map(functions.double, range(3000))
        started = client.map(functions.double, itertools.count())
        first = next(started)
    assert list(results) == list(range(0, 6000, 2))
    assert first == 0
    with pytest.raises(RuntimeError, match="before all arguments of map"):
        list(started)


def test_the_initializer_runs_in_each_worker() -> None:
    with zmqtasks.Client(workers=1, initializer=functions.set_state, initargs=("ready",)) as client:
        assert client.submit(functions.get_state).result(10) == ["ready"]


def test_workers_are_replaced_after_their_tasks() -> None:
    with zmqtasks.Client(workers=1, max_tasks_per_worker=5) as client:
        pids = [client.submit(functions.pid).result(10) for _ in range(40)]
    assert 4 <= len(set(pids)) <= 12


def test_senseless_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="workers must be 1 or more"):
        zmqtasks.Client(workers=0)
    with pytest.raises(ValueError, match="for a node that is started here only"):
        zmqtasks.Client("tcp://127.0.0.1:1", workers=2)


def test_no_node_is_said_so() -> None:
    with pytest.raises(zmqtasks.NoNodes, match=r"none of the nodes at tcp://127.0.0.1:9 .* zmqtasks worker"):
        zmqtasks.Client("tcp://127.0.0.1:9", connect_timeout=0.2)


def test_a_node_on_another_host_needs_a_key() -> None:
    with pytest.raises(zmqtasks.NotAuthorised, match="is on another machine and has to connect back"):
        zmqtasks.Client("tcp://192.0.2.7:7700", connect_timeout=0.2)


def test_two_clients_live_side_by_side() -> None:
    with zmqtasks.Client(workers=1) as one, zmqtasks.Client(workers=1) as other:
        assert one.submit(functions.pid).result(10) != other.submit(functions.pid).result(10)


SCRIPT = """
import zmqtasks

factor = 3

class Point:
    def __init__(self, x):
        self.x = x

def scale(point):
    return Point(point.x * factor)

client = zmqtasks.Client(workers=1)
print(client.submit(scale, Point(7)).result(20).x, [p.x for p in client.map(scale, map(Point, range(4)))])
future = client.submit(print, "printed by the task")
"""


def test_a_script_needs_no_guard_and_no_shutdown(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=30, check=False)
    assert ended.stderr == ""
    assert ended.stdout.splitlines() == ["21 [0, 3, 6, 9]", "printed by the task"]
    assert ended.returncode == 0
