"""Several nodes on this machine, over tcp on loopback: what another node costs, or gives.

Two workers in all where there are one or two nodes, four where there are four. There are no keys yet, so this is
without encryption.
"""

from __future__ import annotations

from bench.cases.case import MESH, Case, Figures, Reach, rate, times
from bench.peers.peer import Peer
from bench.work import nothing

WORKERS = {"1 node": (1, 2), "2 nodes": (2, 1), "4 nodes": (4, 1)}
SUBMITTED, MAPPED = 20_000, 500_000
MAP_RATE, SUBMIT_RATE = "mapped_a_second", "submitted_a_second"


def measure(peer: Peer, variant: str, size: int, chunk: int | None) -> Figures:
    """Start the nodes, warm them up, and measure as W1 and W2 do."""
    import zmqtasks
    import zmqtasks.testing

    nodes, workers = WORKERS[variant]
    with zmqtasks.testing.local_mesh(nodes, workers) as addresses, zmqtasks.Client(*addresses) as client:
        sum(client.map(nothing, range(10_000)))
        mapped = rate(MAPPED, lambda: client.map(nothing, range(MAPPED)))
        submitted = rate(SUBMITTED, lambda: [f.result() for f in [client.submit(nothing, n) for n in range(SUBMITTED)]])
    return {
        "seconds": mapped["seconds"] + submitted["seconds"],
        MAP_RATE: mapped["tasks_a_second"],
        SUBMIT_RATE: submitted["tasks_a_second"],
    }


CASE = Case(
    "W12",
    "nodes",
    "calls a second by map and by submit, through 1, 2 and 4 nodes over tcp on this machine, without encryption",
    measure,
    MAP_RATE,
    peers=(MESH,),
    variants=tuple(WORKERS),
    demand=None,
    reaches=(
        Reach("map: 2 nodes by 1", lambda at: times(at(MESH, MAP_RATE, "2 nodes"), at(MESH, MAP_RATE, "1 node"))),
        Reach(
            "submit: 2 nodes by 1",
            lambda at: times(at(MESH, SUBMIT_RATE, "2 nodes"), at(MESH, SUBMIT_RATE, "1 node")),
        ),
    ),
    quick=("1 node", "2 nodes"),
)
