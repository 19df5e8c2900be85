"""Nodes that end while they have work: by signal and by command, in a bound, at a notice, before their wall time."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import zmqtasks
from tests.cli.programs import program, run
from tests.mesh import functions
from tests.waiting import wait_until

ANY = ("worker", "--bind", "127.0.0.1:0", "--workers", "1", "--standby", "0")


def noted(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()]


def test_what_runs_at_the_end_of_the_bound_runs_again_elsewhere(tmp_path: Path) -> None:
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    begun.mkdir()
    blocking = (functions.note_pid_and_wait, str(begun), str(gate))
    with (
        program(tmp_path, "a", *ANY, "--drain-timeout", "0.2 s") as first,
        program(tmp_path, "b", *ANY) as second,
        zmqtasks.Client(first.address, second.address) as client,
    ):
        blocked = [client.submit(*blocking) for _ in range(2)]
        wait_until(lambda: len(list(begun.iterdir())) == 2, lambda: blocked)
        first.signal(signal.SIGTERM)
        assert first.wait() == 0, "one signal ends it within its bound"
        assert "what 1 workers still run is stopped, and handed back" in first.stderr
        assert not any(future.done() for future in blocked)
        gate.touch()
        assert len({future.result(30) for future in blocked}) == 1, "both ended on the other node"
        once = client.options(retry=False).submit(functions.note_pid_and_wait, str(begun), "/never")
        wait_until(once.running, lambda: once)
        stopped = run(tmp_path, "stop", "--node", second.address)
        assert (stopped.returncode, stopped.stderr) == (0, f"zmqtasks: {second.address} has ended\n")
        assert second.wait() == 0
        with pytest.raises(zmqtasks.TaskLost):
            once.result(30)
        client.shutdown(wait=False, cancel_futures=True)


def test_the_command_drains_waits_and_tells_who_does_not_answer(tmp_path: Path) -> None:
    ledger, gate = tmp_path / "ledger", tmp_path / "gate"
    with (
        program(tmp_path, "a", *ANY) as node,
        program(tmp_path, "sink", "sink", "--bind", "127.0.0.1:0", "-o", "x.db") as sink,
        zmqtasks.Client(node.address) as client,
    ):
        client.submit(functions.note, 0, str(ledger)).result(30)
        busy = client.submit(functions.wait_for, str(gate))
        wait_until(busy.running, lambda: busy)
        for number in range(1, 4):
            client.submit(functions.note, number, str(ledger))
        # Those that are there are told, whatever the others say.
        asked = ("--node", node.address, "--node", sink.address, "--node", "127.0.0.1:1")
        told = run(tmp_path, "drain", *asked, "--no-wait", "--timeout", "0.5 s")
        assert told.returncode == 4
        assert told.stderr.splitlines() == [
            f"zmqtasks: error: {sink.address} is a sink, not a node; it ends with Ctrl-C or SIGTERM",
            "zmqtasks: error: tcp://127.0.0.1:1 did not answer within 0.5 s",
        ]
        gate.touch()
        assert busy.result(30) == str(gate), "what runs may end: no bound was said"
        assert node.wait() == 0
        assert noted(ledger) == [0]
        client.shutdown(wait=False, cancel_futures=True)


def test_before_the_wall_time_nothing_begins_that_cannot_end_and_a_file_is_a_notice(tmp_path: Path) -> None:
    ledger, notice = tmp_path / "ledger", tmp_path / "notice"
    with (
        program(tmp_path, "a", *ANY, "--drain-file", str(notice)) as steady,
        program(tmp_path, "b", *ANY, "--walltime", "1 h") as brief,
        program(tmp_path, "c", *ANY, "--walltime", "1 s") as idle,
        zmqtasks.Client(steady.address, brief.address) as client,
    ):
        calls = client.options(timeout="2 h")
        futures = [calls.submit(functions.note, number, str(ledger)) for number in range(12)]
        assert [future.result(60) for future in futures] == list(range(12))
        assert brief.wait() == 0
        assert "cannot be expected to end before the wall time" in brief.stderr
        assert sorted(noted(ledger)) == list(range(12)), "and was not begun there"
        notice.touch()
        assert steady.wait() == idle.wait() == 0
        assert f"{notice} is there" in steady.stderr
