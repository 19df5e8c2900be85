"""A crowd of nodes that join, drop and return at once, on one client.

    python -m tests.simulation.crowd --times 3
    python -m tests.simulation.crowd --nodes 1000 --times 1 --out FILE

Each time all nodes start at once, and have to be up within 10 s of simulated time. While each has work, all are killed
and started again at their addresses; all have to be up again as soon, and the work has to end. Nobody may be given up
for silence who spoke, and a node may cost no more processor time than `NODE_MS`. Exit code 1 where that was broken.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any

from tests.simulation.harness import SimMesh
from tests.simulation.layout import Layout
from tests.simulation.oracle import judge
from zmqtasks.testing import Fate

NODES = 1000
UP_S = 10.0
"""Simulated seconds until all nodes are up."""
NODE_MS = 100.0
"""Processor time of this program for each node and time, all of client, node and network together."""
LOOK_S = 0.05
KILLED_AT_S = 1.5
TASK_S = 1.0
TASKS_A_NODE = 3
IDLE_S = 10.0
"""All stay for so long: what a crowd costs that does nothing but beat."""


def play(seed: int, nodes: int = NODES) -> dict[str, Any]:
    """Let it happen once; return the figures.

    Raises:
        AssertionError: a promise was broken.
    """
    began_s = time.process_time()
    mesh = SimMesh(seed, Layout(nodes=nodes, workers=1))
    joined_s = _until_up(mesh, life=0)
    job = mesh.submit(TASKS_A_NODE * nodes, lambda index, before: Fate(TASK_S))
    mesh.clock.advance(KILLED_AT_S)
    assert mesh.client.ventilator.aboard() >= nodes
    places = [f"node{number}" for number in range(nodes)]
    for place in places:
        mesh.kill(place)
    for place in places:
        mesh.restart(place)
    returned_s = _until_up(mesh, life=1)
    mesh.clock.advance(TASKS_A_NODE * TASK_S + 5.0)
    assert mesh.all_ended(), repr(job)
    mesh.clock.advance(IDLE_S)
    mesh.check()
    judge(mesh)
    assert not mesh.watch.silences, f"{mesh.watch.silences} sessions were given up for silence"
    assert len(mesh.client.ventilator.nodes()) == nodes
    node_ms = (time.process_time() - began_s) * 1000 / nodes
    assert node_ms <= NODE_MS, f"{node_ms:.1f} ms of processor time a node, more than {NODE_MS:g}"
    return {
        "nodes": nodes,
        "joined_s": round(joined_s, 2),
        "returned_s": round(returned_s, 2),
        "simulated_s": round(mesh.clock.time() - 1000, 1),
        "tasks": job.total,
        "executions": len(mesh.ledger),
        "cpu_ms_a_node": round(node_ms, 1),
    }


def _until_up(mesh: SimMesh, life: int) -> float:
    """Return how long it took until every node of this life was up."""
    began = mesh.clock.time()
    while not all(link.is_up and str(link.partner).endswith(f".{life}") for link in mesh.client.ventilator.links):
        assert mesh.clock.time() - began <= UP_S, f"{len(mesh.client.ventilator.nodes())} nodes are up after {UP_S:g} s"
        mesh.clock.advance(LOOK_S)
    return mesh.clock.time() - began


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], prog="python -m tests.simulation.crowd"
    )
    parser.add_argument("--nodes", type=int, default=NODES, help=f"how many ({NODES})")
    parser.add_argument("--times", type=int, default=3, help="how often (3)")
    parser.add_argument("--seed", type=int, default=0, help="seed to begin with (0)")
    parser.add_argument("--out", help="file to append the record to, a line of JSON")
    wanted = parser.parse_args()
    logging.disable()
    runs, broken = [], []
    for seed in range(wanted.seed, wanted.seed + wanted.times):
        try:
            runs.append(play(seed, wanted.nodes))
            print(f"seed {seed}: {runs[-1]}", flush=True)
        except AssertionError as error:
            broken.append(f"seed {seed}: {str(error)[:1000]}")
            print(broken[-1], flush=True)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"scenario": "crowd", "at": now, "times": wanted.times, "runs": runs, "broken": broken}
    print(json.dumps(record))
    if wanted.out:
        with open(wanted.out, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
