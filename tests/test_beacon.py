"""The beacon: a node that was told so is found on the local network, and strangers there do no harm."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

import zmqtasks
from tests.cli.programs import program
from tests.waiting import wait_until_async
from zmqtasks import seeds
from zmqtasks.beacon import Announcer, heard
from zmqtasks.errors import BindError
from zmqtasks.seeds import Seeds, expand

MESH = f"test-{os.getpid()}"
"""Others may test on this host at the same time."""


def test_who_listens_hears_who_announces_himself_and_notices_when_he_falls_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zmqtasks.machines.beacons.SILENT_S", 1.5)
    said: dict[str, Sequence[str]] = {}

    async def play() -> None:
        announcer = Announcer(MESH, ("tcp://127.0.0.1:7700", "unix:///not/said"))
        asking = Seeds((f"lan:{MESH}",), said.__setitem__, lambda: 0.0)
        asking.open()
        await wait_until_async(lambda: said.get(f"lan:{MESH}") == ("tcp://127.0.0.1:7700",), lambda: said)
        announcer.close()
        await wait_until_async(lambda: said.get(f"lan:{MESH}") == (), lambda: said)
        await asking.close()

    asyncio.run(play())


def test_a_client_finds_a_node_by_its_beacon(tmp_path: Path) -> None:
    with program(tmp_path, "node", "worker", "--bind", "127.0.0.1:0", "--workers", "1", "--beacon", MESH) as node:
        assert node.address
        with zmqtasks.Client(f"lan:{MESH}") as client:
            assert client.submit(abs, -1).result(20.0) == 1


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"zmqtasks1 other tcp://10.0.0.7:7700",
        b"zmqtasks1 mesh unix:///tmp/x",
        b"zmqtasks1 mesh tcp://10.0.0.7",
        b"\xff" * 600,
    ],
)
def test_what_is_no_announcement_of_this_mesh_is_not_heard(datagram: bytes) -> None:
    assert heard(datagram, "mesh") == ""
    assert heard(b"zmqtasks1 mesh tcp://10.0.0.7:7700", "mesh") == "tcp://10.0.0.7:7700"


def test_where_nobody_announces_himself_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "HEAR_S", 0.05)
    with pytest.raises(
        BindError, match="no node announces itself on the local network; start one with: zmqtasks worker"
    ):
        expand((f"lan:{MESH}-nobody",))
