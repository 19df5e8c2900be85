"""What the tasks of a client share over the whole mesh: locks, semaphores, rates, keys and values."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import zmqtasks
from tests.mesh import sharers
from tests.mesh.nodes import NodeProcess, Relay, free_port, node_process
from tests.waiting import wait_until
from zmqtasks.messages import Address


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NodeProcess, NodeProcess]]:
    folder = tmp_path_factory.mktemp("nodes")
    with node_process(folder / "a", workers=2) as a, node_process(folder / "b", workers=1) as b:
        yield a, b


@pytest.fixture(scope="module")
def module_client(nodes: tuple[NodeProcess, NodeProcess]) -> Iterator[zmqtasks.Client]:
    """Two nodes: one over a Unix socket, one over TCP."""
    with zmqtasks.Client(nodes[0].endpoints[-1], nodes[1].tcp) as client:
        wait_until(lambda: len(set(client.map(sharers.pid, [()] * 9))) == 3)  # all connections are made
        yield client


@pytest.fixture
def client(module_client: zmqtasks.Client) -> zmqtasks.Client:
    return module_client


def test_one_at_a_time_holds_a_lock_on_whatever_node(client: zmqtasks.Client) -> None:
    list(client.map(sharers.add_one, ["counted"] * 60))
    assert client.get_key("counted") == 60
    assert not client.lock("counted").is_locked()


def test_a_client_and_its_tasks_hold_the_same_lock(client: zmqtasks.Client) -> None:
    with client.lock("both") as lock:
        assert lock.is_locked()
        assert client.submit(sharers.take, "both", 0).result(10) is False
        assert client.submit(sharers.take, "both", 0.05).result(10) is False
        waiting = client.submit(sharers.take, "both", None)
        with pytest.raises(RuntimeError, match="holds the lock already"):
            lock.acquire()
    assert waiting.result(10) is True
    assert lock.release() is False


def test_who_has_lost_a_lock_to_time_cannot_release_the_next_one(client: zmqtasks.Client) -> None:
    told = client.submit(sharers.outlive, "outlived").result(10)
    assert told == [True, True, False, None, False, True, True, float("inf"), True, False]


def test_a_lock_that_a_task_leaves_behind_is_free(client: zmqtasks.Client) -> None:
    assert client.submit(sharers.leave_behind, "left").result(10) is True
    assert client.lock("left").acquire(10)


def test_the_lock_of_a_killed_worker_goes_to_the_next_at_once(client: zmqtasks.Client, tmp_path: Path) -> None:
    holding = client.submit(sharers.hold, "held", str(tmp_path))
    begun = tmp_path / "begun"
    wait_until(lambda: begun.exists() and begun.read_text())
    lock = client.lock("held")
    assert not lock.acquire(0)
    os.kill(int(begun.read_text()), signal.SIGKILL)
    assert lock.acquire(10)
    assert holding.result(10) == "again"
    assert lock.release()


def test_the_lock_of_a_killed_node_goes_to_the_next(tmp_path: Path) -> None:
    with (
        node_process(tmp_path / "a") as doomed,
        node_process(tmp_path / "b") as other,
        zmqtasks.Client(doomed.endpoints[-1]) as client,
    ):
        holding = client.submit(sharers.hold, "held", str(tmp_path))
        wait_until((tmp_path / "begun").exists)
        embedded = client._registry.embedded
        embedded.call(embedded.ventilator.add_node, Address("", "", (other.tcp,)))
        doomed.kill()
        assert client.lock("held").acquire(10)
        assert holding.result(10) == "again"


def test_nothing_asked_is_lost_or_done_twice_where_connections_are_reset(tmp_path: Path) -> None:
    port = free_port()
    relay = Relay(port)
    try:
        with (
            node_process(tmp_path / "a", workers=2, port=port, advertise=relay.address),
            zmqtasks.Client(relay.address) as client,
        ):
            jobs = [client.submit(sharers.add_one, "n", 40) for _ in range(2)]
            while not all(job.done() for job in jobs):
                passed = relay.passed_bytes + 2_000
                wait_until(lambda passed=passed: relay.passed_bytes > passed or all(job.done() for job in jobs))
                relay.cut()
            assert client.get_key("n") == 80
            assert relay.resets > 2
    finally:
        relay.close()


def test_a_semaphore_lets_so_many_in(client: zmqtasks.Client) -> None:
    seen = list(client.map(sharers.enter, ["two"] * 40, [2] * 40))
    assert max(seen) == 2
    semaphore = client.semaphore("two", 2)
    assert [semaphore.acquire(0), semaphore.acquire(0), semaphore.acquire(0)] == [True, True, False]
    with pytest.raises(ValueError, match="in use with 2 places, not 3"):
        client.semaphore("two", 3).acquire(0)
    assert [semaphore.release(), semaphore.release(), semaphore.release()] == [True, True, False]


def test_a_rate_holds_over_all_nodes(client: zmqtasks.Client) -> None:
    times = sorted(client.map(sharers.turn, ["api"] * 16))
    # The turns are told as they come; what is measured here is when that arrives.
    assert times[15] - times[0] >= 0.3 - 0.09
    limit = client.rate_limit("seldom", 5, per=60)
    assert [limit.acquire(0) for _ in range(6)] == [True] * 5 + [False]


def test_keys_have_values(client: zmqtasks.Client) -> None:
    assert client.get_key("k") is None
    assert client.get_key("k", 7) == 7
    assert client.set_key("k", {"a": [1, 2]}) is True
    assert client.set_key("k", {"a": [1]}) is False
    found = client.get_key("k")
    found["a"].append(3)
    assert client.get_key("k") == {"a": [1]}
    assert (client.delete_key("k"), client.delete_key("k")) == (True, False)
    with pytest.raises(zmqtasks.TooBig, match="may take 1,048,576 bytes"):
        client.set_key("k", bytes(2**20))
    with pytest.raises(zmqtasks.SerializationError):
        client.set_key("k", threading.Lock())


def test_there_is_no_current_client_outside_of_a_task(client: zmqtasks.Client) -> None:
    with pytest.raises(RuntimeError, match="code that runs inside a task"):
        zmqtasks.current_client()
    assert "code that runs inside a task" in client.submit(sharers.fork_and_ask).result(10)


def test_what_is_nonsense_is_told_at_once(client: zmqtasks.Client) -> None:
    for wrong in (
        lambda: client.lock(""),
        lambda: client.lock("l", 0),
        lambda: client.lock("l").acquire(-1),
        lambda: client.semaphore("s", 0),
        lambda: client.rate_limit("r", 0),
        lambda: client.rate_limit("r", 1, 0),
    ):
        with pytest.raises(ValueError, match=r"."):
            wrong()
    with pytest.raises(TypeError, match="make one where it is needed"):
        pickle.dumps(client.lock("l"))


def test_a_task_that_waits_for_a_lock_is_interrupted_in_time(client: zmqtasks.Client, tmp_path: Path) -> None:
    with client.lock("never"):
        waiting = client.options(timeout=0.2, grace=20).submit(sharers.interrupted, "never", str(tmp_path))
        with pytest.raises(zmqtasks.TaskTimeout):
            waiting.result(15)
        assert (tmp_path / "interrupted").exists()
    assert client.submit(sharers.take, "never", 5).result(10) is True


def test_who_waits_while_the_client_is_shut_down_is_told_so() -> None:
    with zmqtasks.Client(workers=1) as client:
        lock, told = client.lock("l"), []
        lock.acquire()

        def wait() -> None:
            with pytest.raises(RuntimeError, match="shut down") as caught:
                client.lock("l").acquire()
            told.append(caught.value)

        thread = threading.Thread(target=wait)
        thread.start()
        wait_until(lambda: client._registry.embedded.ventilator.home.waiting())
    thread.join(10)
    assert told
    with pytest.raises(RuntimeError, match="shut down"):
        lock.is_locked()
