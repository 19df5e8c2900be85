"""The queue of a program that hands out tasks, tended from elsewhere."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

import zmqtasks
from tests.cli.programs import Program, program, run
from tests.mesh import functions
from tests.mesh.nodes import free_port
from tests.mesh.strangers import Keys
from tests.waiting import wait_until
from zmqtasks.ventilator import stewards

WORKER = ("worker", "--bind", "127.0.0.1:0", "--workers", "1", "--standby", "0")
HALTING = ("chores:halt_at_100", "input.jsonl", "--bind", "127.0.0.1:0")


def queue(folder: Path, care: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the command where it does not write the module anew that a worker may be importing."""
    (folder / "asking").mkdir(exist_ok=True)
    return run(folder / "asking", "queue", care, *args)


def tend(folder: Path, care: str, address: str, *args: str) -> dict[str, Any]:
    done = queue(folder, care, "--ventilator", address, "--json", *args)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def wait_until_halted(folder: Path, command: Program) -> None:
    """Wait until the first task, number 100, is all that is aboard."""
    wait_until(lambda: tend(folder, "length", command.address)["waiting"] == 29, lambda: command.stderr)


def test_a_run_is_counted_paused_pulled_from_and_purged(tmp_path: Path) -> None:
    (tmp_path / "input.jsonl").write_text("".join(f"{number}\n" for number in range(100, 130)))
    with program(tmp_path, "run", "run", *HALTING, "--workers", "1", "-o", "out.jsonl") as running:
        wait_until_halted(tmp_path, running)
        assert tend(tmp_path, "pause", running.address) == {
            "address": running.address, "queue": "default", "waiting": 29, "delayed": 0, "taken": 0, "paused": True
        }  # fmt: skip
        pulled = queue(tmp_path, "pull", "--ventilator", running.address, "--most", "5")
        assert (pulled.returncode, pulled.stderr) == (0, "")
        assert pulled.stdout.split() == ["101", "102", "103", "104", "105"]
        (tmp_path / "go").touch()
        assert not tend(tmp_path, "resume", running.address, "--queue", "another")["paused"]
        table = queue(tmp_path, "purge", "--ventilator", running.address).stdout.splitlines()
        assert table[0].split() == ["address", "queue", "waiting", "delayed", "taken", "paused"]
        assert table[1].split() == [running.address, "default", "0", "0", "24", "True"]
        assert running.wait() == 1, "all have ended: nothing waits for resume"
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["task"] for row in rows if row["ok"]] == [0]
    assert sorted(int(row["input"]) for row in rows if not row["ok"]) == list(range(101, 130))
    assert {row["error"]["kind"] for row in rows if not row["ok"]} == {"cancelled"}


def test_a_standalone_sink_records_what_was_purged(tmp_path: Path) -> None:
    (tmp_path / "input.jsonl").write_text("".join(f"{number}\n" for number in range(100, 130)))
    with (
        program(tmp_path, "worker", *WORKER) as node,
        program(tmp_path, "sink", "sink", "--bind", "127.0.0.1:0", "-o", "out.db") as sink,
        program(tmp_path, "vent", "ventilator", *HALTING, "--node", node.address, "--sink", sink.address) as command,
    ):
        wait_until_halted(tmp_path, command)
        assert tend(tmp_path, "purge", command.address)["taken"] == 29
        (tmp_path / "go").touch()
        assert command.wait() == 1
        with sqlite3.connect(tmp_path / "out.db") as file:
            told = file.execute("select status, count(*) from results group by status").fetchall()
        file.close()
        assert told == [("cancelled", 29), ("ok", 1)]
        # A node has no queue to tend, and nobody else is there.
        asked = ("--ventilator", node.address, "--ventilator", "127.0.0.1:1", "--timeout", "0.5 s")
        refused = queue(tmp_path, "length", *asked)
        assert refused.returncode == 4
        assert refused.stderr.splitlines() == [
            f"zmqtasks: error: {node.address} refused: this peer accepts sessions of "
            "node, observer, ventilator, not of a steward",
            "zmqtasks: error: tcp://127.0.0.1:1 did not answer within 0.5 s",
        ]


def test_a_client_with_an_address_is_tended_by_an_admin_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stewards, "PULLED_AT_ONCE", 2)
    keys, where, gate = Keys(tmp_path), f"127.0.0.1:{free_port()}", tmp_path / "gate"
    keys.make("ada", "submit")
    keys.make("root", "admin")
    keys.let_in("ada", "root")
    keys.let_in("root", "ada")
    settings = {"bind": f"tcp://{where}", "key": keys.file("ada"), "workers": 1, "standby": 0}
    with zmqtasks.Client(**settings) as client:  # type: ignore[arg-type]
        busy = client.submit(functions.wait_for, str(gate))
        wait_until(busy.running, lambda: busy)
        client.queue().pause()
        unshowable = client.submit(functions.double, {1, 2})
        calls = [client.submit(functions.double, number) for number in range(5)]
        asked = ("pull", "--ventilator", f"ada@{where}", "--most", "3")
        stranger = queue(tmp_path, *asked, "--key", keys.file("ada"), "--timeout", "0.5 s")
        assert stranger.returncode == 4
        pulled = queue(tmp_path, *asked, "--key", keys.file("root"))
        assert pulled.stdout.split() == ["0", "1", "2"], pulled.stderr
        assert [call.cancelled() for call in calls] == [True, True, True, False, False]
        assert not unshowable.cancelled()
        assert client.queue().length() == 3
        gate.touch()
        client.shutdown(cancel_futures=True)
