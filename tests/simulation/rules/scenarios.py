"""Directed scenarios: each needs one rule or another, and fails without it. With all of them it passes.

Owns one fault at a time, for what random schedules cannot see: how long something takes, what is kept for nothing, and
what takes a fault that they do not have.
"""

from __future__ import annotations

from typing import Any

from tests.simulation.harness import CLIENT, SimMesh
from tests.simulation.layout import Layout
from tests.simulation.oracle import judge
from tests.simulation.processes import NodeProcess
from tests.simulation.scenarios import (
    executions,
    finish,
    long_stop,
    long_tasks,
    started,
    vanishing_node,
)
from zmqtasks.messages import OutcomeKind
from zmqtasks.options import TaskOptions
from zmqtasks.testing import Conditions, Fate

__all__ = ["long_stop"]


def node_at(mesh: SimMesh, place: str = "node0") -> NodeProcess:
    process = mesh.processes[place]
    assert isinstance(process, NodeProcess)
    return process


def _at_work(mesh: SimMesh, place: str = "node0") -> list[Any]:
    """Return the workers of a node that run something."""
    return [worker for worker in node_at(mesh, place).workers._workers.values() if worker.stretch]


def finish_s(mesh: SimMesh, limit_s: float) -> float:
    """Let all jobs end, and return how long that took."""
    began = mesh.clock.time()
    mesh.clock.run_until(lambda: bool(mesh.jobs) and mesh.all_ended(), limit_s)
    judge(mesh)
    return mesh.clock.time() - began


def run_once(mesh: SimMesh) -> None:
    again = [task for (_, task), times in executions(mesh).items() if times > 1]
    assert not again, f"run more than once: {again[:10]}"


# Sessions


def lost_runs_cost_no_pause() -> None:
    """Runs of messages are lost, and others follow them: none of it takes the 2 s of who has to guess."""
    mesh = started(layout=Layout(nodes=1, workers=1, conditions=Conditions(latency_s=0.02)))
    mesh.submit(4000, lambda index, before: Fate(0.001))
    for turn in range(8):
        mesh.clock.call_later(0.5 + 0.45 * turn, mesh.network.reset, CLIENT, "node0")
    took_s = finish_s(mesh, 60.0)
    assert took_s < 7.0, f"it took {took_s:.1f} s"


def a_hello_that_was_lost_is_repeated() -> None:
    mesh = SimMesh(1, Layout(nodes=1))
    mesh.clock.run_until(lambda: any(connection.flight for connection in mesh.network._connections), 5.0)
    mesh.network.partition(CLIENT, "node0")
    mesh.network.reset(CLIENT, "node0")
    mesh.network.heal(CLIENT, "node0")
    mesh.clock.run_until(mesh.client.ventilator.nodes, 10.0)


def a_vanished_node_is_given_up() -> None:
    vanishing_node()


def a_vanished_node_gets_nothing_more() -> None:
    mesh = started()
    mesh.submit(60, long_tasks)
    mesh.clock.call_later(0.5, lambda: mesh.kill("node0", silently=True))
    mesh.clock.advance(12.0)
    assert len(mesh.client.ventilator.nodes()) == 2, "a node that never answered counts as up"
    finish(mesh)


def a_silent_node_gets_nothing_new() -> None:
    mesh = started(layout=Layout(nodes=2))
    mesh.network.partition(CLIENT, "node0")
    mesh.clock.call_later(4.0, mesh.submit, 4, long_tasks)
    mesh.clock.call_later(9.0, mesh.network.heal, CLIENT, "node0")
    took_s = finish_s(mesh, 20.0)
    assert took_s < 7.0, f"tasks waited for a silent node: {took_s:.1f} s"


def a_starved_client_misjudges_nobody() -> None:
    """It gets slivers of time, each too short to be told what came; what did come is not silence."""
    mesh = started(layout=Layout(nodes=1))
    client = mesh.client

    def sleep() -> None:
        client.clock.stop()
        mesh.network.stop(CLIENT)

    def wake() -> None:
        client.clock.resume()
        mesh.network.inboxes[CLIENT].stopped = False  # the kernel has it; nobody has looked yet

    for turn in range(20):
        mesh.clock.call_later(turn, sleep)
        mesh.clock.call_later(turn + 0.9, wake)
    mesh.clock.advance(25.0)
    assert not mesh.watch.closings


def a_long_task_breaks_no_session() -> None:
    mesh = started(layout=Layout(nodes=1))
    mesh.submit(1, lambda index, before: Fate(30.0))
    finish(mesh)
    assert not mesh.watch.closings, f"{mesh.watch.closings} sessions were closed"


def a_silent_client_is_kept() -> None:
    """The client cannot be heard for half a minute, longer than a session lasts, and the tasks take longer still."""
    mesh = started(layout=Layout(nodes=1))
    mesh.submit(2, lambda index, before: Fate(40.0))
    mesh.clock.call_later(1.0, mesh.network.partition, CLIENT, "node0")
    mesh.clock.call_later(31.0, mesh.network.heal, CLIENT, "node0")
    finish(mesh, 120.0)
    run_once(mesh)


def a_dead_client_is_dropped() -> None:
    """The host of a client is gone, and with it whoever wanted what nodes do."""
    mesh = started(layout=Layout(clients=2, nodes=1))
    mesh.submit(1000, lambda index, before: Fate(0.001 if index < 100 else 1000.0), client=1)
    mesh.clock.call_later(5.0, lambda: mesh.kill("client1", silently=True))
    mesh.clock.advance(4.0)
    held = node_at(mesh).node._holding
    assert held.busy() == 2
    assert held.queued() > 0
    mesh.clock.advance(71.0)
    assert (held.busy(), held.queued()) == (0, 0), f"still held: {held!r}"


def a_queue_does_not_outlive_its_session() -> None:
    """What was thought to be short waits on the node when the session ends, and after it."""
    mesh = started(layout=Layout(nodes=1))
    mesh.submit(250, lambda index, before: Fate(0.001 if index < 100 else 1.0))
    mesh.clock.call_later(1.0, mesh.network.partition, CLIENT, "node0")
    mesh.clock.call_later(13.0, mesh.network.heal, CLIENT, "node0")
    finish(mesh, 300.0)
    run_once(mesh)


def long_tasks_outlive_a_session() -> None:
    mesh = started(layout=Layout(nodes=1))
    mesh.submit(4, lambda index, before: Fate(25.0))
    mesh.clock.call_later(0.5, mesh.network.partition, CLIENT, "node0")
    mesh.clock.call_later(15.5, mesh.network.heal, CLIENT, "node0")
    finish(mesh, 120.0)
    run_once(mesh)


def results_outlive_a_session() -> None:
    """What ended while its client could not be told is told later, and not run again."""
    mesh = started(layout=Layout(nodes=1))
    mesh.submit(12, long_tasks)
    mesh.clock.call_later(2.5, mesh.network.partition, CLIENT, "node0")
    mesh.clock.call_later(5.0, mesh.network.reset, CLIENT, "node0")
    mesh.clock.call_later(15.5, mesh.network.heal, CLIENT, "node0")
    finish(mesh)
    run_once(mesh)


# Work


def a_late_success_counts() -> None:
    """A task went elsewhere when its node was cut off; there it takes for ever, and the first result comes yet."""
    mesh = started(layout=Layout(nodes=2, workers=1))
    mesh.submit(2, lambda index, before: Fate((30.0, 5.0)[index] if before == 0 else 1000.0))
    mesh.clock.advance(0.5)
    place = next(p for p in ("node0", "node1") if any(w.stretch.start == 0 for w in _at_work(mesh, p)))
    mesh.network.partition(CLIENT, place)
    mesh.clock.call_later(20.0, mesh.network.heal, CLIENT, place)

    def ended() -> bool:
        mesh.check()
        return mesh.all_ended()

    mesh.clock.run_until(ended, 120.0)


def neighbours_of_a_killer_are_not_blamed() -> None:
    mesh = started(layout=Layout(nodes=1))
    options = TaskOptions(crash_limit=1)
    job = mesh.submit(500, lambda index, before: Fate(0.002, crashes=index == 177), options)
    mesh.run_until(mesh.all_ended, 60.0)
    failed = {index: kind for index, kind in job.kinds.items() if kind is not OutcomeKind.OK}
    assert failed == {177: OutcomeKind.CRASHED}, f"blamed: {sorted(failed)}"


def a_killer_of_nodes_is_found() -> None:
    """One task of many kills each node that runs it; it alone is told of as that, before the others are through."""
    mesh = started(layout=Layout(nodes=1))
    deaths: list[float] = []

    def kill_its_node() -> None:
        if node_at(mesh).alive and any(w.stretch.start <= 5 < w.stretch.stop for w in _at_work(mesh)):
            deaths.append(mesh.clock.time())
            mesh.kill("node0")
            mesh.clock.call_later(0.5, mesh.restart, "node0")

    def fate(index: int, before: int) -> Fate:
        if index == 5:
            mesh.clock.call_later(0.05, kill_its_node)
        return Fate(1.0)

    job = mesh.submit(40, fate)
    mesh.run_until(mesh.all_ended, 100.0)
    failed = {index: kind for index, kind in job.kinds.items() if kind is not OutcomeKind.OK}
    assert failed == {5: OutcomeKind.NODE_KILLER}, f"told of: {failed}"
    took_s = deaths[-1] - deaths[0]
    assert took_s < 15.0, f"it took {took_s:.1f} s to have it alone"


def silence_kills_no_task() -> None:
    mesh = started(layout=Layout(nodes=1, workers=1))
    mesh.submit(1, lambda index, before: Fate(100.0))
    for at_s in (1.0, 21.0, 41.0, 61.0):
        mesh.clock.call_later(at_s, mesh.network.partition, CLIENT, "node0")
        mesh.clock.call_later(at_s + 12.0, mesh.network.heal, CLIENT, "node0")
    finish(mesh, 200.0)


def draining_blames_nobody() -> None:
    """A node hands back what it has not begun, of tasks that may not crash even once."""
    mesh = started(layout=Layout(nodes=2))
    options = TaskOptions(crash_limit=1)
    mesh.submit(250, lambda index, before: Fate(0.001 if index < 100 else 0.3), options)
    mesh.clock.call_later(1.0, mesh.drain, "node0")
    mesh.clock.call_later(20.0, mesh.restart, "node0")
    finish(mesh, 100.0)
