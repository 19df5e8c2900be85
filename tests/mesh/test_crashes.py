"""A worker that dies takes nobody with it: what its task is told, who runs the others, who comes after it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import zmqtasks
from tests.mesh import deaths
from tests.waiting import wait_until

SIGNALS = {
    "segfault": signal.SIGSEGV,
    "kill": signal.SIGKILL,
    "abort": signal.SIGABRT,
    "overflow_the_stack": signal.SIGSEGV,
    "die_when_sent": signal.SIGKILL,
}
CODES = {"exit_hard": 3, "exit_softly": 4}


@pytest.fixture(scope="module")
def module_client() -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=2) as client:
        client.submit(deaths.own_pid, 1).result(30)
        yield client


@pytest.fixture
def client(module_client: zmqtasks.Client) -> zmqtasks.Client:
    return module_client


@pytest.mark.parametrize("death", [death.__name__ for death in deaths.ALL])
def test_every_death_is_explained(client: zmqtasks.Client, death: str) -> None:
    error = client.options(crash_limit=1).submit(deaths.print_and_die, death, 60).exception(30)
    assert isinstance(error, zmqtasks.WorkerCrashed)
    assert (error.signal, error.exit_code) == (SIGNALS.get(death), CODES.get(death))
    assert error.peak_bytes > 2**20
    assert error.pid != os.getpid()
    assert error.pid
    assert len(error.node) == 16
    if death in ("segfault", "abort", "overflow_the_stack"):
        assert f"in {death}" in error.stack
        assert "in print_and_die" in error.stack
    if death == "exit_softly":  # its worker lives, and goes on printing; a traceback says where it was called
        assert "in exit_softly" in str(error.__cause__)
    else:
        assert error.output.splitlines() == [f"line {line}" for line in range(10, 60)]


def test_who_kills_a_worker_from_outside_is_told_by_its_signal(client: zmqtasks.Client, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    future = client.options(crash_limit=1).submit(deaths.wait_to_be_killed, str(note))
    pid = int(wait_until(lambda: note.exists() and note.read_text()))
    os.kill(pid, signal.SIGTERM)
    error = future.exception(30)
    assert isinstance(error, zmqtasks.WorkerCrashed)
    assert (error.signal, error.pid) == (signal.SIGTERM, pid)
    assert error.output.splitlines() == ["here I am"]


def test_who_killed_a_worker_is_tried_again_alone(client: zmqtasks.Client, tmp_path: Path) -> None:
    """It gets three workers; from the second on no neighbour is in its chunk, so that none runs again."""
    futures = [client.submit(deaths.note_and_die_at, i, 200, str(tmp_path)) for i in range(400)]
    assert [i for i, future in enumerate(futures) if future.exception(30)] == [200]
    assert [future.result() for i, future in enumerate(futures) if i != 200] == [i for i in range(400) if i != 200]
    runs = {int(path.name): path.read_text().split() for path in tmp_path.iterdir()}
    assert len(runs[200]) == len(set(runs[200])) == 3
    assert max(len(pids) for i, pids in runs.items() if i != 200) <= 2


def test_what_had_been_told_is_not_run_again(client: zmqtasks.Client, tmp_path: Path) -> None:
    """Tasks that take longer than results wait for company are told one by one."""
    once = client.options(crash_limit=1)
    futures = [once.submit(deaths.note_and_die_at, i, 30, str(tmp_path), 0.006) for i in range(40)]
    assert [i for i, future in enumerate(futures) if future.exception(30)] == [30]
    runs = {int(path.name): len(path.read_text().split()) for path in tmp_path.iterdir()}
    assert runs == dict.fromkeys(range(40), 1)


def test_of_a_thousand_tasks_and_fifty_deaths_nothing_is_lost_and_no_innocent_blamed(client: zmqtasks.Client) -> None:
    once = client.options(crash_limit=1)
    futures = [once.submit(deaths.die_each, i, 20) for i in range(1000)]
    errors = {i: future.exception(60) for i, future in enumerate(futures)}
    failed = {i: error for i, error in errors.items() if error}
    assert list(failed) == list(range(19, 1000, 20))
    assert [futures[i].result() for i in range(1000) if i not in failed] == [i for i in range(1000) if i % 20 != 19]
    for i, error in failed.items():
        death = deaths.ALL[i // 20 % len(deaths.ALL)].__name__
        assert isinstance(error, zmqtasks.WorkerCrashed)
        assert (error.signal, error.exit_code) == (SIGNALS.get(death), CODES.get(death)), (i, death)


def test_a_fresh_process_each() -> None:
    with zmqtasks.Client(workers=2, max_tasks_per_worker=1) as client:
        assert len(set(client.map(deaths.own_pid, range(60)))) == 60
