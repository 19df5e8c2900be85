"""Calls that wait in their client: counted, held, dropped, taken back, and bounded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

import zmqtasks
from tests.mesh import functions
from tests.waiting import wait_until
from zmqtasks.embedded.pending import weight_of


@pytest.fixture(scope="module")
def module_client() -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=1, standby=0, max_pending=50, max_pending_bytes="1 MiB") as client:
        client.submit(functions.double, 1).result(30)  # opens the last connection there is to open
        yield client


@pytest.fixture
def client(module_client: zmqtasks.Client) -> Iterator[zmqtasks.Client]:
    """A client whose queue is paused: what is submitted waits."""
    module_client.queue().pause()
    yield module_client
    module_client.queue().resume()


def test_a_queue_is_counted_held_and_goes_on(client: zmqtasks.Client) -> None:
    queue = client.queue()
    futures = [client.submit(functions.double, number) for number in range(10)]
    client.options(delay=3600).submit(functions.double, 1)
    assert (queue.length(), queue.length(delayed=True), queue.is_paused) == (10, 11, True)
    assert client.queue("mail").length(delayed=True) == 0
    assert not any(future.running() for future in futures)
    queue.resume()
    assert [future.result(30) for future in futures] == [2 * number for number in range(10)]
    assert (queue.length(), queue.purge(), queue.length(delayed=True)) == (0, 1, 0)


def test_what_is_purged_is_cancelled(client: zmqtasks.Client) -> None:
    futures = [client.submit(functions.double, number) for number in range(10)]
    results = client.map(functions.double, range(3))
    assert client.queue().purge() == 13
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(30)
    with pytest.raises(CancelledError):
        next(results)


def test_calls_are_taken_back_into_the_program(client: zmqtasks.Client) -> None:
    futures = [client.submit(functions.add, number, 1, c=2) for number in range(6)]
    one, *others = client.queue().pull(3)
    assert (one.args, one.kwargs, one.future) == ((0, 1), {"c": 2}, futures[0])
    assert futures[0].running()
    assert not futures[0].cancel()
    one.run()
    others[0].future.set_result("mine")
    others[1]._replace(args=("no",)).run()
    assert futures[0].result(0) == functions.add(0, 1, c=2)
    assert futures[1].result(0) == "mine"
    with pytest.raises(TypeError):
        futures[2].result(0)
    assert client.queue().length() == 3
    assert futures[3].cancel()
    rest = client.queue().pull(99)
    assert [call.args[0] for call in rest] == [4, 5]
    for call in rest:
        call.run()
    client.submit(functions.double, 21)
    (single,) = client.queue().pull()
    assert (single.function, single.args, single.kwargs) == (functions.double, (21,), {})
    single.run()
    with pytest.raises(ValueError, match="most must be 1 or more"):
        client.queue().pull(0)


def test_who_submits_too_much_waits_for_room(client: zmqtasks.Client) -> None:
    futures = [client.submit(functions.double, number) for number in range(50)]
    hasty = client.options(submit_timeout=0)
    with pytest.raises(TimeoutError, match="no room for another call within 0 s: 50 calls"):
        hasty.submit(functions.double, 1)
    waiting = threading.Thread(target=lambda: futures.append(client.submit(functions.double, 50)))
    waiting.start()
    assert futures[7].cancel()
    waiting.join(30)
    assert len(futures) == 51
    # Callbacks of futures run in the loop's thread, where nobody may wait.
    assert client._registry.embedded.call(hasty.submit, functions.double, 2).cancel()
    client.queue().purge()


def test_a_client_that_shuts_down_holds_nobody_up(tmp_path: Path) -> None:
    told: list[BaseException] = []
    with zmqtasks.Client(workers=1, standby=0, max_pending=1) as client:
        busy = client.submit(functions.wait_for, str(tmp_path / "gate"))

        def submit() -> None:
            try:
                client.submit(functions.double, 1)
            except RuntimeError as error:
                told.append(error)

        waiting = threading.Thread(target=submit)
        waiting.start()
        client.queue().pause()
        client.shutdown(wait=False)
        waiting.join(30)
        (tmp_path / "gate").touch()
        assert busy.result(30)
    assert str(told[0]) == "cannot schedule new futures after shutdown"


def test_arguments_weigh_what_they_hold(client: zmqtasks.Client) -> None:
    hasty = client.options(submit_timeout=0)
    large = hasty.submit(len, b"x" * 2**21)
    with pytest.raises(TimeoutError, match="2097"):
        hasty.submit(len, b"x")
    assert large.cancel()
    assert client.queue().length() == 0
    half = [hasty.submit(len, bytearray(2**19 - 100)) for _ in range(2)]
    with pytest.raises(TimeoutError):
        hasty.submit(len, b"x" * 1000)
    assert all(future.cancel() for future in half)
    assert weight_of({"a": [b"123", "45"], "b": (memoryview(b"678"),)}) == 10
    assert weight_of(["ab"] * 5000) == 10_000
    with pytest.raises(ValueError, match="max_pending must be 1 or more"):
        zmqtasks.Client(max_pending=0)


def test_a_call_is_made_every_so_often(module_client: zmqtasks.Client, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.touch()
    periodic = module_client.every("50 ms", functions.note, 7, str(ledger))
    wait_until(lambda: len(ledger.read_text().split()) >= 3, lambda: periodic)
    periodic.cancel()
    assert periodic.runs >= 3
    with pytest.raises(ValueError, match="period must be above 0"):
        module_client.every(0, functions.pid)
    with (
        zmqtasks.Client(workers=1, standby=0, journal=tmp_path / "journal.db") as client,
        pytest.raises(ValueError, match="without a journal"),
    ):
        client.every(1, functions.pid)
