"""Nothing is lost and nothing is left: kill -9 of each process, and a connection that is cut."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import zmqtasks
from tests.mesh import functions
from tests.mesh.nodes import Relay, free_port, node_process
from tests.waiting import wait_until
from zmqtasks.processes import linux


def test_kill_9_of_workers_loses_nothing(tmp_path: Path) -> None:
    """Workers die from outside, again and again, while results stream."""
    with zmqtasks.Client(workers=2) as client:
        killed = 0
        seen = []
        for value in client.map(functions.double, range(60_000)):
            seen.append(value)
            if len(seen) % 15_000 == 1:
                victim = client.submit(functions.pid).result(20)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    killed += 1
        assert seen == list(range(0, 120_000, 2))
        assert killed == 4


def test_kill_9_of_the_own_node_between_calls_and_again() -> None:
    with zmqtasks.Client(workers=1) as client:
        for number in range(150):
            if number in (50, 100):
                own = client._registry.embedded._own
                assert own is not None
                assert own.pid is not None
                os.kill(own.pid, signal.SIGKILL)
            assert client.submit(functions.double, number).result(60) == 2 * number


def test_kill_9_of_a_node_with_a_second_one_loses_nothing(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with (
        node_process(tmp_path / "a") as first,
        node_process(tmp_path / "b") as second,
        zmqtasks.Client(first.tcp, second.tcp) as client,
    ):
        # Both nodes have work before one dies.
        futures = [client.submit(functions.note, i, str(ledger), 0.002) for i in range(600)]
        wait_until(lambda: sum(f.done() for f in futures) > 50, lambda: sum(f.done() for f in futures))
        first.kill()
        results = [future.result(40) for future in futures]
    assert results == list(range(600))
    executions = Counter(map(int, ledger.read_text().split()))
    assert set(executions) == set(range(600))
    assert sum(executions.values()) <= 720


def test_the_death_of_a_node_on_this_host_is_known_at_once(tmp_path: Path) -> None:
    """Not after 10 s of silence: its process is gone."""
    with node_process(tmp_path / "a") as node, zmqtasks.Client(node.tcp) as client:
        once = client.options(retry=False)
        future = once.submit(functions.note_or_wait, 1, str(tmp_path / "begun"), str(tmp_path))
        wait_until((tmp_path / "begun").exists)
        killed_at = time.monotonic()
        node.kill()
        assert isinstance(future.exception(30), zmqtasks.TaskLost)
        assert time.monotonic() - killed_at < 5


def test_the_own_node_is_started_again(tmp_path: Path) -> None:
    with zmqtasks.Client(workers=1) as client:
        parent = client.submit(os.getppid).result(20)
        futures = [client.submit(functions.note, i, str(tmp_path / "ledger"), 0.002) for i in range(300)]
        wait_until(lambda: sum(f.done() for f in futures) > 20, lambda: sum(f.done() for f in futures))
        os.kill(parent, signal.SIGKILL)
        assert [future.result(30) for future in futures] == list(range(300))
        assert client.submit(os.getppid).result(20) != parent


@pytest.fixture
def relays() -> Iterator[list[Relay]]:
    made: list[Relay] = []
    yield made
    for relay in made:
        relay.close()


def test_a_connection_that_is_cut_and_heals_loses_nothing(tmp_path: Path, relays: list[Relay]) -> None:
    """Both ways between client and node are reset four times while 200,000 tasks pass."""
    port, client_port = free_port(), free_port()
    to_node, to_client = Relay(port), Relay(client_port)
    relays += [to_node, to_client]
    with node_process(tmp_path / "a", workers=2, advertise=to_node.address, port=port) as node:
        assert node.endpoints == [to_node.address]
        address = f"tcp://127.0.0.1:{client_port}"
        with zmqtasks.Client(to_node.address, bind=address, advertise=to_client.address) as client:
            cuts, seen = 0, []
            for value in client.map(functions.double, range(200_000)):
                seen.append(value)
                if len(seen) in (20_000, 60_000, 100_000, 140_000):
                    for relay in relays:
                        relay.cut()
                    cuts += 1
    assert seen == list(range(0, 400_000, 2))
    assert cuts == 4
    assert to_node.resets >= 4
    assert to_node.passed_bytes + to_client.passed_bytes > 500_000


CLIENT = """
import subprocess, sys, time, zmqtasks
from tests.mesh import functions

client = zmqtasks.Client(workers=2)
functions_there = [client.submit(functions.leave_a_child, sys.argv[1]), client.submit(time.sleep, 300)]
print("up", flush=True)
time.sleep(300)
"""


def _processes_of(group_mark: str) -> list[str]:
    """Return the processes in whose environment a mark stands."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if group_mark.encode() in Path("/proc", pid, "environ").read_bytes():
                found.append(f"{pid} {Path('/proc', pid, 'cmdline').read_bytes()[:200]!r}")
    return found


@pytest.mark.parametrize("victim", ["client", "node"])
def test_kill_9_leaves_nothing_behind(tmp_path: Path, temporary: Path, victim: str) -> None:
    """After kill -9 of the client, or of its node and then the client, no process and no file is left."""
    mark = f"ZMQTASKS_TEST_MARK={tmp_path}"
    name, _, value = mark.partition("=")
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(tmp_path / "child")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, name: value},
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "up\n"
        wait_until((tmp_path / "child").exists)
        assert len(_processes_of(mark)) >= 5
        if victim == "node":
            (node,) = linux.children_of(process.pid)
            os.kill(node, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    wait_until(lambda: not _processes_of(mark), lambda: _processes_of(mark), timeout_s=4)
    wait_until(lambda: not os.listdir(temporary), lambda: os.listdir(temporary), timeout_s=4)


def test_an_orderly_end_leaves_no_file(temporary: Path) -> None:
    threads = threading.active_count()
    with zmqtasks.Client(workers=1) as client:
        client.submit(abs, 1).result(20)
        assert len(os.listdir(temporary)) == 2
        assert threading.active_count() == threads + 1
    assert os.listdir(temporary) == []
    assert threading.active_count() == threads


def test_a_long_temporary_folder_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("long-" * 20)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    with zmqtasks.Client(workers=1) as client:
        assert client.submit(abs, -1).result(20) == 1
