"""Calls that nobody wants any more: taken back from nodes, killed where they run, stopped when the client goes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

import zmqtasks
from tests.mesh import functions
from tests.mesh.nodes import node_process
from tests.waiting import wait_until, wait_until_async
from zmqtasks.embedded.views import View


@pytest.fixture
def client() -> Iterator[zmqtasks.Client]:
    """A client with one worker; what a failed test leaves running does not hold it up."""
    with zmqtasks.Client(workers=1) as client:
        yield client
        client._registry.abort()


class Blocked:
    """A worker that waits in a task, with others behind it: some aboard its node, some not."""

    def __init__(self, client: zmqtasks.Client, folder: Path, tasks: int = 300) -> None:
        self.release, self.ledger, self.begun = folder / "release", folder / "ledger", folder / "begun"
        self.ledger.touch()
        self.begun.mkdir()
        # Nodes get ahead only what is known to be short, and no chunk holds more than 64 of what waits then.
        for _ in range(8):
            client.submit(functions.note_pid_and_wait, str(self.begun), str(self.begun)).result(20)
            client.submit(functions.note, -1, str(self.ledger)).result(20)
        for path in self.begun.iterdir():
            path.unlink()
        self.running = client.submit(functions.note_pid_and_wait, str(self.begun), str(self.release))
        wait_until(lambda: list(self.begun.iterdir()), lambda: self.running)
        self.waiting = [client.submit(functions.note, i, str(self.ledger)) for i in range(tasks)]
        # The first chunk goes to the worker, ahead; only of a later one can be said that it was not begun.
        (node,) = client._registry.embedded.ventilator.nodes()
        # What was said before all of the above had ended is not about these.
        wait_until(lambda: node.data.status.load.done == 16 and node.data.status.load.queued, lambda: self.waiting)

    def aboard(self) -> list[concurrent.futures.Future[int]]:
        return [future for future in self.waiting if future.running()]

    def worker(self) -> int:
        return int(next(self.begun.iterdir()).name)

    def noted(self) -> list[int]:
        return sorted(value for value in map(int, self.ledger.read_text().split()) if value >= 0)


def is_gone(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}")


def pid_in(folder: Path) -> int:
    wait_until(lambda: list(folder.iterdir()), timeout_s=20)
    return int(next(folder.iterdir()).name)


# Taken back -------------------------------------------------------------------------------------------------------


def test_what_was_not_begun_is_taken_back_also_from_the_node(client: zmqtasks.Client, tmp_path: Path) -> None:
    blocked = Blocked(client, tmp_path)
    aboard = blocked.aboard()
    cancelled = [index for index, future in enumerate(blocked.waiting) if future.cancel()]
    assert not blocked.running.cancel()
    blocked.release.touch()
    done, _ = concurrent.futures.wait(blocked.waiting, timeout=20)
    assert len(done) == len(blocked.waiting)
    assert [index for index, future in enumerate(blocked.waiting) if future.cancelled()] == cancelled
    assert sum(future.cancelled() for future in aboard) >= 1, "one chunk is ahead at the worker, the next one not"
    assert blocked.noted() == sorted(set(range(len(blocked.waiting))) - set(cancelled))
    assert blocked.running.result(20)


def test_who_waits_for_a_task_hears_that_it_was_taken_back(client: zmqtasks.Client, tmp_path: Path) -> None:
    blocked = Blocked(client, tmp_path)
    called: list[object] = []
    last = blocked.aboard()[-1]
    last.add_done_callback(called.append)
    completed = concurrent.futures.as_completed([last], timeout=20)
    waiter = threading.Thread(target=lambda: called.append(next(completed)))
    waiter.start()
    assert last.cancel()
    waiter.join()
    assert called == [last, last]
    assert last.cancel(), "it is, so it is"
    with pytest.raises(CancelledError):
        last.result(0)
    blocked.release.touch()


def test_a_retry_that_waits_is_taken_back(client: zmqtasks.Client, tmp_path: Path) -> None:
    future = client.options(retries=5, backoff=60.0).submit(functions.fail_times, 1, 5, str(tmp_path))
    ventilator = client._registry.embedded.ventilator
    wait_until(lambda: list(tmp_path.iterdir()) and ventilator.waiting() and not ventilator.aboard())
    assert future.cancel()
    assert len(list(tmp_path.iterdir())) == 1


def test_in_a_callback_nobody_waits_for_a_node(client: zmqtasks.Client, tmp_path: Path) -> None:
    blocked = Blocked(client, tmp_path)
    last, said = blocked.aboard()[-1], []
    blocked.waiting[-1].add_done_callback(lambda _: said.append(last.cancel()))
    client._registry.embedded.call(blocked.waiting[-1].cancel)
    assert said == [False]
    wait_until(last.cancelled, lambda: last)
    blocked.release.touch()


def test_shutdown_takes_back_what_is_queued_on_nodes(client: zmqtasks.Client, tmp_path: Path) -> None:
    blocked = Blocked(client, tmp_path)
    aboard = blocked.aboard()
    client.shutdown(wait=False, cancel_futures=True)
    wait_until(lambda: any(future.cancelled() for future in aboard), lambda: aboard)
    wait_until(lambda: all(future.cancelled() for future in set(blocked.waiting) - set(aboard)), lambda: aboard)
    blocked.release.touch()
    client.shutdown()
    assert all(future.done() for future in blocked.waiting)
    assert blocked.noted() == [i for i, future in enumerate(blocked.waiting) if not future.cancelled()]


def test_a_node_that_is_stopped_is_not_waited_for(tmp_path: Path) -> None:
    """And what it was asked for goes on once it is back."""
    with node_process(tmp_path / "a") as node, zmqtasks.Client(node.tcp) as client:
        blocked = Blocked(client, tmp_path)
        last = blocked.aboard()[-1]
        os.kill(node.launched.pid, signal.SIGSTOP)
        try:
            assert not last.cancel()
        finally:
            os.kill(node.launched.pid, signal.SIGCONT)
        blocked.release.touch()
        assert last.result(20) in range(len(blocked.waiting))


# asyncio ----------------------------------------------------------------------------------------------------------


def test_an_awaited_call_that_is_cancelled_is_taken_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with zmqtasks.AsyncClient(workers=1) as client:
            blocked = await asyncio.to_thread(Blocked, _plain(client), tmp_path)
            aboard = blocked.aboard()
            waiting = [asyncio.wrap_future(future) for future in blocked.waiting]
            tasks = [asyncio.ensure_future(_await(future)) for future in waiting]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            try:
                await wait_until_async(lambda: any(future.cancelled() for future in aboard), lambda: aboard)
                await wait_until_async(lambda: all(f.cancelled() for f in set(blocked.waiting) - set(aboard)))
            finally:
                blocked.release.touch()
            assert all(isinstance(end, asyncio.CancelledError) for end in ends)

    asyncio.run(main())


async def _await(future: asyncio.Future[object]) -> object:
    return await future


def _plain(client: zmqtasks.AsyncClient) -> zmqtasks.Client:
    """Return the other face of the same client."""
    plain = zmqtasks.Client.__new__(zmqtasks.Client)
    plain._view, plain._registry = View({}), client._registry
    return plain


def test_an_asyncio_future_can_be_killed(tmp_path: Path) -> None:
    async def main() -> None:
        async with zmqtasks.AsyncClient(workers=1) as client:
            future = client.submit(functions.note_pid_and_wait, str(tmp_path), str(tmp_path / "never"))
            await wait_until_async(lambda: list(tmp_path.iterdir()), timeout_s=20)
            worker = pid_in(tmp_path)
            assert zmqtasks.kill(future)
            with pytest.raises(asyncio.CancelledError):
                await future
            await wait_until_async(lambda: is_gone(worker))
            assert await client.submit(functions.double, 2) == 4

    asyncio.run(main())


# Killed -----------------------------------------------------------------------------------------------------------


def test_kill_stops_what_runs_and_nothing_else(client: zmqtasks.Client, tmp_path: Path) -> None:
    blocked = Blocked(client, tmp_path)
    worker = blocked.worker()
    assert zmqtasks.kill(blocked.running)
    assert blocked.running.cancelled()
    assert not zmqtasks.kill(blocked.running), "it had ended"
    assert [future.result(20) for future in blocked.waiting] == list(range(len(blocked.waiting)))
    wait_until(lambda: is_gone(worker))
    assert not zmqtasks.kill(blocked.waiting[0])
    assert blocked.noted() == list(range(len(blocked.waiting)))


@pytest.mark.parametrize("options", [{}, {"retry": False}], ids=["at-least-once", "at-most-once"])
def test_kill_spares_the_rest_of_the_chunk(client: zmqtasks.Client, tmp_path: Path, options: dict[str, bool]) -> None:
    """One of some dozen tasks that travelled together runs for ever; the others give their results."""
    view, ledger, begun = client.options(**options), tmp_path / "ledger", tmp_path / "begun"
    begun.mkdir()
    assert sum(f.result(20) for f in [view.submit(functions.note_or_wait, i, "", "") for i in range(2000)])
    bad = 25
    hold = client.submit(functions.wait_for, str(tmp_path / "go"))
    futures = [view.submit(functions.note_or_wait, i, str(ledger), str(begun) if i == bad else "") for i in range(200)]
    (tmp_path / "go").touch()
    hold.result(20)
    worker = pid_in(begun)
    assert futures[bad].kill()
    with pytest.raises(CancelledError):
        futures[bad].result(20)
    assert [f.result(20) for i, f in enumerate(futures) if i != bad] == [i for i in range(200) if i != bad]
    wait_until(lambda: is_gone(worker))
    noted = [int(line) for line in ledger.read_text().split()]
    assert set(noted) == set(range(200))
    assert noted.count(bad) == 1
    if options:
        assert len(noted) == 200


def test_kill_stops_what_waits_or_is_queued(client: zmqtasks.Client, tmp_path: Path) -> None:
    blocked = Blocked(client, tmp_path)
    killed = [blocked.aboard()[-1], blocked.waiting[-1]]
    assert all(future.kill() for future in killed)
    assert concurrent.futures.wait(killed, timeout=20).not_done == set()
    blocked.release.touch()
    left = [i for i, future in enumerate(blocked.waiting) if future not in killed]
    assert [blocked.waiting[i].result(20) for i in left] == left
    assert blocked.noted() == left


def test_kill_right_after_submit(client: zmqtasks.Client, tmp_path: Path) -> None:
    """The request may overtake the task on its way to the node."""
    for _ in range(20):
        future = client.submit(functions.spin_forever)
        assert zmqtasks.kill(future)
    assert client.submit(functions.double, 2).result(20) == 4


def test_kill_takes_futures_of_tasks_only() -> None:
    with pytest.raises(TypeError, match=r"kill\(\) takes what submit\(\) of a zmqtasks client returned"):
        zmqtasks.kill(concurrent.futures.Future())


# The client goes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_leaving_by_force_ends_what_runs(tmp_path: Path, error: type[BaseException]) -> None:
    def leave() -> None:
        with zmqtasks.Client(workers=1) as client:
            futures.append(client.submit(functions.note_pid_and_wait, str(tmp_path), str(tmp_path / "never")))
            workers.append(pid_in(tmp_path))
            raise error

    futures: list[concurrent.futures.Future[int]] = []
    workers: list[int] = []
    with pytest.raises(error):
        leave()
    wait_until(lambda: is_gone(workers[0]), timeout_s=2)
    assert isinstance(futures[0].exception(0), zmqtasks.TaskLost)


def test_what_a_map_that_was_left_had_running_ends_with_the_client(tmp_path: Path) -> None:
    with node_process(tmp_path / "a") as node, zmqtasks.Client(node.tcp) as client:
        begun = tmp_path / "begun"
        begun.mkdir()
        releases = itertools.chain([str(tmp_path)], itertools.repeat("/never"))
        results = client.map(functions.note_pid_and_wait, itertools.repeat(str(begun)), releases)
        worker = next(results)
        ventilator = client._registry.embedded.ventilator
        wait_until(ventilator.aboard)
        results.close()  # type: ignore[attr-defined]
        client.shutdown()
        wait_until(lambda: is_gone(worker))
        with zmqtasks.Client(node.tcp) as other:
            assert other.submit(functions.double, 2).result(20) == 4


CLIENT = """
import sys, zmqtasks
from tests.mesh import functions

client = zmqtasks.Client(sys.argv[1], lease=3)
client.submit(functions.note_pid_and_wait, sys.argv[2], "/never").result()
"""


def test_a_node_stops_what_a_dead_client_left_when_its_lease_ends(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()
    with node_process(tmp_path / "a") as node:
        process = subprocess.Popen([sys.executable, "-c", CLIENT, node.tcp, str(begun)])
        try:
            worker = pid_in(begun)
        finally:
            process.kill()
            process.wait()
        assert not is_gone(worker), "its client may come back"
        wait_until(lambda: is_gone(worker), timeout_s=30)


def test_a_lease_has_to_outlast_the_beat() -> None:
    with pytest.raises(ValueError, match="lease must be 2 seconds or more"):
        zmqtasks.Client(workers=1, lease=1)
