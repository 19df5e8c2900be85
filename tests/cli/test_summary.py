"""What a node tells at its end, and how it refuses to begin."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest

import zmqtasks
from tests.cli.programs import program, run
from tests.mesh import watched
from tests.waiting import wait_until

ANY = "127.0.0.1:0"


def test_a_node_gives_an_account_of_its_run(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    worker = ("worker", "--bind", ANY, "--workers", "1", "--summary", str(path))
    with program(tmp_path, "node", *worker) as node:
        with zmqtasks.Client(node.address) as client:
            assert list(client.map(watched.double, range(100))) == [2 * n for n in range(100)]
            client.submit(watched.fail, "no").exception(30)
            client.options(crash_limit=1).submit(watched.die).exception(30)
        node.process.send_signal(signal.SIGTERM)
        wait_until(lambda: node.process.poll() is not None, lambda: node.stderr)
    account = json.loads(path.read_text())
    assert (account["exit_code"], account["why"], node.process.returncode) == (0, "drained", 0)
    assert (account["metrics"]["done"], account["metrics"]["failed"], account["metrics"]["crashed"]) == (100, 1, 1)
    assert account["workers"]["starts"] == account["workers"]["exits"] >= 2
    assert account["start"] < account["end"]
    assert 0 < account["cpu"]["workers_s"] < account["wall_s"] * 8
    assert account["cpu"]["utilization"] > 0
    assert "ended (drained)" in node.stderr
    assert "100 tasks done, 1 failed, 1 crashed" in node.stderr


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("--workers", "0"), 2),
        (("--threads", "2", "--concurrency", "2"), 2),
        (("--log-format", "xml"), 2),
        (("--max-memory", "much"), 2),
        (("--initializer", "nonsense"), 2),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(tmp_path: Path, args: tuple[str, ...], code: int) -> None:
    assert run(tmp_path, "worker", "--bind", ANY, *args).returncode == code


def test_an_address_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        bind = f"127.0.0.1:{server.getsockname()[1]}"
        refused = run(tmp_path, "worker", "--bind", bind)
    assert refused.returncode == 4
    assert bind in refused.stderr
