"""`worker --join`: a client that knows one node finds all, also those that come later."""

from __future__ import annotations

from pathlib import Path

import zmqtasks
from tests.cli.programs import program
from tests.waiting import wait_until


def nodes_of(client: zmqtasks.Client) -> set[str]:
    ventilator = client._registry.embedded.ventilator
    return {link.partner or "" for link in ventilator.nodes()}


def test_one_address_is_enough_and_nodes_come_and_leave(tmp_path: Path) -> None:
    worker = ("worker", "--bind", "127.0.0.1:0", "--workers", "1")
    with program(tmp_path, "a", *worker) as first, program(tmp_path, "b", *worker, "--join", first.address) as second:
        (tmp_path / "nodes.txt").write_text(second.address)
        with zmqtasks.Client(first.address) as client:
            wait_until(lambda: len(nodes_of(client)) == 2, lambda: nodes_of(client))
            with program(tmp_path, "c", *worker, "--join", f"file:{tmp_path / 'nodes.txt'}") as third:
                assert third.address
                wait_until(lambda: len(nodes_of(client)) == 3, lambda: nodes_of(client))
                first.process.terminate()
                assert first.wait() == 0
                wait_until(lambda: len(nodes_of(client)) == 2, lambda: nodes_of(client))
                assert list(client.map(abs, range(-100, 0))) == list(range(100, 0, -1))
