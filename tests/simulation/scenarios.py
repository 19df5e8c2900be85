"""What several tests play: a mesh that is up, and one fault in it."""

from __future__ import annotations

from collections import Counter

from tests.simulation.harness import CLIENT, SimMesh
from tests.simulation.layout import Layout, Rules
from tests.simulation.oracle import judge, judge_leftovers
from zmqtasks.testing import Fate


def long_tasks(index: int, before: int) -> Fate:
    return Fate(1.0)


def finish(mesh: SimMesh, limit_s: float = 60.0) -> SimMesh:
    mesh.run_until(mesh.all_ended, limit_s)
    judge(mesh)
    judge_leftovers(mesh)
    return mesh


def executions(mesh: SimMesh) -> Counter[tuple[str, int]]:
    return Counter((run.job, run.task) for run in mesh.ledger)


def started(seed: int = 1, layout: Layout | None = None) -> SimMesh:
    """Return a mesh whose sessions are up."""
    mesh = SimMesh(seed, layout)
    ventilators = [client.ventilator for client in mesh.clients]
    mesh.run_until(lambda: all(len(v.nodes()) == mesh.layout.nodes and v.sink_is_up() for v in ventilators), 5.0)
    return mesh


def vanishing_node(rules: Rules | None = None) -> SimMesh:
    """One of three nodes is gone without a word, for good."""
    mesh = started(layout=Layout(rules=rules or Rules()))
    mesh.submit(12, long_tasks)
    mesh.clock.call_later(0.5, lambda: mesh.kill("node0", silently=True))
    return finish(mesh)


def long_partition(rules: Rules | None = None) -> SimMesh:
    """The only node cannot be reached for a while, and works on; what it sends comes back later than the client."""
    mesh = started(layout=Layout(nodes=1, rules=rules or Rules()))
    mesh.submit(12, long_tasks)
    mesh.clock.call_later(0.5, lambda: mesh.network.partition(CLIENT, "node0"))
    mesh.clock.call_later(16.0, lambda: mesh.network.heal(CLIENT, "node0"))
    return finish(mesh)


def long_stop(rules: Rules | None = None) -> SimMesh:
    """The client is stopped for most of a minute."""
    mesh = started(layout=Layout(rules=rules or Rules()))
    mesh.submit(60, long_tasks)
    mesh.clock.call_later(0.5, lambda: mesh.stop(CLIENT, 50.0))
    return finish(mesh, 120.0)
