"""Programs with a journal: killed, refused, run again. What is done is not run again, what runs is adopted."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import zmqtasks
from tests.cli.programs import environment, program, run
from tests.cli.test_run import numbers, rows
from tests.mesh.journalled import QUICK, SLOW, ledger
from tests.mesh.nodes import free_port, node_process
from tests.waiting import wait_until
from zmqtasks.errors import JournalInUse, JournalMismatch


def start(folder: Path, retry: str, address: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "tests.mesh.journalled", str(folder), retry, address]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())


@pytest.mark.parametrize(("over", "retry"), [("tcp", "retry"), ("unix", "once")])
def test_a_killed_program_that_is_run_again_adopts_what_runs(tmp_path: Path, over: str, retry: str) -> None:
    port = free_port()
    advertise = f"tcp://127.0.0.1:{port}" if over == "tcp" else ""
    with node_process(tmp_path / "n", workers=2, port=port, advertise=advertise) as node:
        first = start(tmp_path, retry, node.tcp)
        try:
            wait_until(lambda: len(ledger(tmp_path)) == QUICK + 2, lambda: ledger(tmp_path), 60)
        finally:
            first.kill()
            first.communicate()
        again = start(tmp_path, retry, node.tcp)
        try:
            # One of those that run ends before the program is there again, or while it comes.
            (tmp_path / "go").touch()
            out, err = again.communicate(timeout=100)
        finally:
            again.kill()
    assert again.returncode == 0, err
    assert out.startswith(f"{list(range(QUICK))} ")
    executed = ledger(tmp_path)
    if retry == "retry":
        assert executed == list(range(-SLOW, QUICK))
        assert out.strip().endswith(str([str(-1 - number) for number in range(SLOW)]))
    else:
        assert len(set(executed)) == len(executed)  # never twice
        assert out.count("TaskLost") == SLOW + QUICK - len(executed)


def test_a_client_gets_back_what_is_recorded_failures_as_well(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    for runs in range(2):
        with zmqtasks.Client(workers=1, journal=path) as client:
            assert list(client.map(divmod, range(500), [7] * 500)) == [divmod(n, 7) for n in range(500)]
            futures = [client.submit(int, text) for text in ("1", "x", "3")]
            assert [futures[0].result(), futures[2].result()] == [1, 3]
            with pytest.raises(ValueError, match="invalid literal"):
                futures[1].result()
            assert list(client.map(abs, range(-2000, 0), ordered=False)) or runs
            futures = [client.submit(abs, value) for value in (-1, threading.Lock(), -3)]
            assert [futures[0].result(), futures[2].result()] == [1, 3]
            with pytest.raises(zmqtasks.SerializationError):  # an argument that cannot travel is no hindrance
                futures[1].result()
            with pytest.raises(JournalInUse, match="this program"):
                zmqtasks.Client(journal=path)


async def _mapped(path: Path) -> list[tuple[int, int]]:
    async with zmqtasks.AsyncClient(workers=1, journal=path) as client:
        return [value async for value in client.map(divmod, range(500), [7] * 500)]


def test_a_client_for_asyncio_has_the_same_journal_and_other_calls_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    for _ in range(2):
        assert asyncio.run(_mapped(path)) == [divmod(n, 7) for n in range(500)]
    with sqlite3.connect(path) as file:
        assert file.execute("SELECT SUM(stop - start) FROM outcomes").fetchone() == (500,)  # none of them twice
    file.close()
    with zmqtasks.Client(workers=1, journal=path) as client:
        with pytest.raises(JournalMismatch, match=r"task.* of divmod had other arguments"):
            list(client.map(divmod, range(1, 501), [7] * 500))
        with pytest.raises(JournalMismatch):
            client.submit(divmod, 1, 7)
    with zmqtasks.Client(workers=1, journal=path) as client, pytest.raises(JournalMismatch, match="begun with divmod"):
        client.submit(int, 1).result()


def test_an_interrupted_command_says_how_to_go_on_and_does(tmp_path: Path) -> None:
    options = ("-o", "out.db", "--journal", "journal.db", "--workers", "1")
    (tmp_path / "in.txt").write_text(numbers(200))
    with program(tmp_path, "first", "run", "chores:halt_at_100", "in.txt", *options) as first:
        wait_until(lambda: _done(tmp_path) > 5, lambda: first.stderr, 60)
        second = run(tmp_path, "run", "chores:halt_at_100", "in.txt", *options)
        assert (second.returncode, f"pid {first.process.pid}" in second.stderr) == (2, True), second.stderr
        first.signal(signal.SIGINT)
        wait_until(lambda: "interrupted" in first.stderr, lambda: first.stderr, 60)
        (tmp_path / "go").touch()
        assert first.wait() == 130
        assert "give the same command again: the journal journal.db knows what is done" in first.stderr
    fewer = run(tmp_path, "run", "chores:halt_at_100", "-", *options, stdin="0\n1\n")
    assert (fewer.returncode, "the input 2; give the same input" in fewer.stderr) == (2, True), fewer.stderr
    done = _done(tmp_path)
    again = run(tmp_path, "run", "chores:halt_at_100", "in.txt", *options)
    assert (again.returncode, f"{done} of them done" in again.stderr) == (0, True), again.stderr
    assert rows(tmp_path / "out.db", "SELECT task, value FROM results") == [(n, str(n)) for n in range(200)]


def _done(folder: Path) -> int:
    if not (folder / "out.db").exists():
        return 0
    try:
        return int(rows(folder / "out.db", "SELECT COUNT(*) FROM results")[0][0])
    except Exception:  # the tables are not there yet
        return 0


def test_a_journal_without_a_place_for_results_is_refused(tmp_path: Path) -> None:
    refused = run(tmp_path, "run", "chores:double", "--journal", "journal.db", stdin="1\n")
    assert (refused.returncode, "--journal needs -o FILE" in refused.stderr) == (2, True)
    assert not (tmp_path / "journal.db").exists()
