"""Several nodes on this machine: what another node costs, or gives; and what encryption costs.

Two workers in all where there are one or two nodes, four where there are four. Peers on one machine speak through Unix
sockets; in the last two variants, all goes over tcp on loopback, as it does between machines, without and with a key.
"""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.cases.case import MESH, Case, Figures, Reach, rate, times
from bench.peers.peer import Peer
from bench.work import nothing

if TYPE_CHECKING:
    import zmqtasks

TCP, KEY = "tcp", "tcp, key"
WORKERS = {"1 node": (1, 2), "2 nodes": (2, 1), "4 nodes": (4, 1)}
SUBMITTED, MAPPED = 20_000, 500_000
MAP_RATE, SUBMIT_RATE = "mapped_a_second", "submitted_a_second"


def measure(peer: Peer, variant: str, size: int, chunk: int | None) -> Figures:
    """Start the nodes, warm them up, and measure as W1 and W2 do."""
    with _over_tcp(variant == KEY) if variant in (TCP, KEY) else _on_nodes(*WORKERS[variant]) as client:
        sum(client.map(nothing, range(10_000)))
        mapped = rate(MAPPED, lambda: client.map(nothing, range(MAPPED)))
        submitted = rate(SUBMITTED, lambda: [f.result() for f in [client.submit(nothing, n) for n in range(SUBMITTED)]])
    return {
        "seconds": mapped["seconds"] + submitted["seconds"],
        MAP_RATE: mapped["tasks_a_second"],
        SUBMIT_RATE: submitted["tasks_a_second"],
    }


@contextlib.contextmanager
def _on_nodes(nodes: int, workers: int) -> Iterator[zmqtasks.Client]:
    import zmqtasks
    import zmqtasks.testing

    with zmqtasks.testing.local_mesh(nodes, workers) as addresses, zmqtasks.Client(*addresses) as client:
        yield client


@contextlib.contextmanager
def _over_tcp(with_key: bool) -> Iterator[zmqtasks.Client]:
    """Yield a client and a node with two workers, of which each says that it is reached over tcp alone."""
    import zmqtasks

    command = [sys.executable, "-m", "zmqtasks"]
    with tempfile.TemporaryDirectory() as folder:
        key = f"{folder}/mesh.key" if with_key else ""
        if key:
            subprocess.run([*command, "keygen", key], check=True, capture_output=True)
        there, here = _free_address(), _free_address()
        worker = ["worker", "--workers", "2", "--bind", there, "--advertise", there, "--key", key]
        with subprocess.Popen([*command, *worker], stderr=subprocess.PIPE, text=True) as node:
            try:
                assert node.stderr
                assert any(re.search("ready at", line) for line in node.stderr)
                with zmqtasks.Client(there, bind=here, advertise=here, key=key) as client:
                    yield client
            finally:
                node.terminate()


def _free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"tcp://127.0.0.1:{server.getsockname()[1]}"


CASE = Case(
    "W12",
    "nodes",
    "calls a second by map and by submit, through 1, 2 and 4 nodes on this machine; over tcp, without and with a key",
    measure,
    MAP_RATE,
    peers=(MESH,),
    variants=(*WORKERS, TCP, KEY),
    demand=None,
    reaches=(
        Reach("map: 2 nodes by 1", lambda at: times(at(MESH, MAP_RATE, "2 nodes"), at(MESH, MAP_RATE, "1 node"))),
        Reach(
            "submit: 2 nodes by 1",
            lambda at: times(at(MESH, SUBMIT_RATE, "2 nodes"), at(MESH, SUBMIT_RATE, "1 node")),
        ),
        Reach(
            "map: with a key by without", lambda at: times(at(MESH, MAP_RATE, KEY), at(MESH, MAP_RATE, TCP)), least=0.7
        ),
        Reach(
            "submit: with a key by without",
            lambda at: times(at(MESH, SUBMIT_RATE, KEY), at(MESH, SUBMIT_RATE, TCP)),
            least=0.7,
        ),
    ),
    quick=("1 node", "2 nodes", TCP, KEY),
)
