"""Workers that are set up, replaced and torn down: nothing of it shows in the results."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

import zmqtasks
from tests.cli import programs
from tests.mesh import functions, wishes
from tests.waiting import wait_until

MIB = 2**20


def lines(path: Path) -> list[str]:
    """Return what was written, without who wrote it."""
    return [line.partition(" ")[2].strip() for line in path.read_text().splitlines()] if path.exists() else []


def writers(path: Path) -> list[int]:
    return [int(line.split()[0]) for line in path.read_text().splitlines()] if path.exists() else []


def said(path: Path, pid: int) -> list[str]:
    """Return what one process wrote."""
    return [what for who, what in zip(writers(path), lines(path), strict=True) if who == pid]


# Replacement


@pytest.mark.parametrize("retry", [True, False])
def test_a_worker_that_has_grown_is_replaced_before_its_next_task(retry: bool) -> None:
    limit, size = 150 * MIB, 20 * MIB
    with zmqtasks.Client(workers=2, recycle_memory=limit) as client:
        held = list(client.options(retry=retry).map(wishes.leak, [size] * 40))
    assert len(held) == 40
    assert len({pid for pid, _ in held}) >= 4, "each has room for a few"
    assert max(resident for _, resident in held) < limit + size + 64 * MIB


def test_short_tasks_that_leak_are_noticed_in_the_middle_of_a_chunk() -> None:
    limit, size = 100 * MIB, MIB
    with zmqtasks.Client(workers=1, recycle_memory=limit) as client:
        held = list(client.map(wishes.leak, [size] * 500))
    assert len({pid for pid, _ in held}) >= 4
    assert max(resident for _, resident in held) < limit + 64 * MIB


def test_a_worker_that_is_old_is_replaced_though_it_is_idle() -> None:
    with zmqtasks.Client(workers=1, max_worker_age=0.3) as client:
        pids: set[int] = set()

        def seen() -> bool:
            pids.add(client.submit(functions.pid).result(30))
            return len(pids) >= 4

        wait_until(seen, lambda: pids)


def test_a_worker_that_is_old_ends_what_it_has(tmp_path: Path) -> None:
    with zmqtasks.Client(workers=1, max_worker_age=0.2) as client:
        futures = [client.submit(wishes.pid_after, 0.7) for _ in range(3)]
        pids = [future.result(30) for future in futures]
    assert len(set(pids)) == 3


# Set-up


def test_an_initializer_that_takes_too_long_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    with zmqtasks.Client(workers=1, initializer=wishes.never_ready, start_timeout=0.3) as client:
        error = client.submit(functions.double, 1).exception(30)
    assert isinstance(error, zmqtasks.WorkerCrashed)
    assert "not ready 0.3 s after its start" in str(error)


def test_an_initializer_that_takes_its_time_is_let() -> None:
    with zmqtasks.Client(workers=1, initializer=time.sleep, initargs=(0.4,), start_timeout=30) as client:
        assert client.submit(functions.double, 1).result(30) == 2


# Tear-down


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "ledger"
    monkeypatch.setenv("FINALIZER_LEDGER", str(path))
    return path


@pytest.mark.parametrize("how", ["thread", "fork"])
def test_who_leaves_says_farewell_once(ledger: Path, how: str) -> None:
    with zmqtasks.Client(workers=1, finalizer=wishes.finalize) as client:
        pid = client.submit(wishes.end_with, str(ledger), how).result(30)
        wait_until(lambda: len(lines(ledger)) >= 2, lambda: lines(ledger))
        (left,) = set(writers(ledger))
    assert left != pid
    assert said(ledger, left) == ["finalizer", "exit handler"]


def test_who_is_stopped_says_farewell(ledger: Path) -> None:
    with zmqtasks.Client(workers=1, finalizer=wishes.finalize, max_tasks_per_worker=1) as client:
        pid = client.submit(wishes.register_exit, str(ledger)).result(30)
        wait_until(lambda: writers(ledger)[:2] == [pid, pid], lambda: ledger.exists() and ledger.read_text())
    assert lines(ledger)[:2] == ["finalizer", "exit handler"]


def test_at_the_end_of_a_client_its_workers_say_farewell(ledger: Path) -> None:
    with zmqtasks.Client(workers=2, finalizer=wishes.finalize) as client:
        wait_until(lambda: len(set(client.map(wishes.pid_after, [0.01] * 4))) == 2)  # both workers are ready
        pid = client.submit(wishes.register_exit, str(ledger)).result(30)
    assert said(ledger, pid) == ["finalizer", "exit handler"]
    assert lines(ledger).count("finalizer") >= 2, "those that had nothing to do as well"


def test_a_client_that_is_left_by_ctrl_c_waits_for_no_farewell(ledger: Path) -> None:
    client = zmqtasks.Client(workers=1, finalizer=wishes.hang)
    client.submit(functions.double, 1).result(30)
    client.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert not ledger.exists()


@pytest.mark.parametrize("finalizer", [wishes.finalize_badly, wishes.leave_by_exit])
def test_a_finalizer_that_raises_harms_nothing(
    ledger: Path, capfd: pytest.CaptureFixture[str], finalizer: object
) -> None:
    with zmqtasks.Client(workers=1, finalizer=finalizer, max_tasks_per_worker=1) as client:  # type: ignore[arg-type]
        pid = client.submit(wishes.register_exit, str(ledger)).result(30)
        wait_until(lambda: writers(ledger)[:2] == [pid, pid], lambda: ledger.exists() and ledger.read_text())
        assert client.submit(functions.double, 1).result(30) == 2
    assert lines(ledger)[:2] == ["finalizer", "exit handler"]
    assert "in finalize_badly" in (seen := capfd.readouterr().err) or "in leave_by_exit" in seen


def test_a_finalizer_that_hangs_is_cut_short(ledger: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with zmqtasks.Client(workers=1, finalizer=wishes.hang, max_tasks_per_worker=1, end_timeout=0.3) as client:
        pids = {client.submit(functions.pid).result(30) for _ in range(3)}
        wait_until(lambda: pids <= set(writers(ledger)), lambda: ledger.exists() and ledger.read_text())
        for pid in pids:
            wait_until(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))  # type: ignore[misc]
    assert "in hang" in capfd.readouterr().err, "it says where"


def test_words_of_the_asyncio_client(ledger: Path) -> None:
    async def run() -> int:
        options = {"initializer": functions.set_state, "initargs": (1,), "finalizer": wishes.finalize}
        async with zmqtasks.AsyncClient(workers=1, max_tasks_per_worker=1, **options) as client:  # type: ignore[arg-type]
            pid = await client.submit(functions.pid)
            await asyncio.to_thread(wait_until, lambda: pid in writers(ledger))
            return len(await client.submit(functions.get_state))

    assert asyncio.run(run()) == 1


def test_words_of_the_command(tmp_path: Path, ledger: Path) -> None:
    own = ["--initializer", "tests.mesh.wishes:finalize", "--finalizer", "tests.mesh.wishes:finalize"]
    own += ["--max-worker-age", "1 h", "--recycle-memory", "1 GiB", "--start-timeout", "1 min", "--end-timeout", "9 s"]
    with (
        programs.program(tmp_path, "node", "worker", "--bind", "127.0.0.1:0", "--workers", "1", *own) as node,
        zmqtasks.Client(node.address) as client,
    ):
        pid = client.submit(wishes.pid_after, 0.0).result(30)
        assert writers(ledger).count(pid) == 1
        node.signal(15)
        assert node.wait() == 0
    assert writers(ledger).count(pid) == 2


def test_what_is_not_there_is_told_by_the_command(tmp_path: Path) -> None:
    own = ["--initializer", "tests.mesh.wishes:nobody"]
    with programs.program(tmp_path, "node", "worker", "--bind", "127.0.0.1:0", "--workers", "1", *own) as node:
        wait_until(lambda: "has no function 'nobody'" in node.stderr, lambda: node.stderr)


def test_senseless_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="recycle_memory, finalizer: for a node that is started here only"):
        zmqtasks.Client("tcp://127.0.0.1:1", recycle_memory="1 GiB", finalizer=wishes.finalize)
    with pytest.raises(ValueError, match="end_timeout must be above 0"):
        zmqtasks.Client(end_timeout=0)
