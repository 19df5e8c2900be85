"""Nodes die by kill -9 under tasks of 1 ms, one after the other, and are started again at the same address.

Promised: nothing is lost, each task is recorded once, and no more than a fifth of the work is done twice.
"""

from __future__ import annotations

from typing import Any

from tests.mesh.chaos.frame import Frame

NODES = 3
BETWEEN_TASKS = 1500
"""Executed between two faults: a whole window of each node."""
END_S = 300.0
MOST_EXECUTIONS = 1.2


def run(frame: Frame) -> dict[str, Any]:
    """Kill `frame.times` nodes."""
    nodes = [frame.node(f"node-{n}", local=n == 0) for n in range(NODES)]
    sink, store = frame.sink("sink")
    ventilator = frame.ventilator("ventilator", "note_1ms", nodes, sink=sink)
    feeder = frame.feed(ventilator)
    for _ in range(frame.times):
        if not frame.await_progress(BETWEEN_TASKS):
            frame.complain("the mesh stands still")
            break
        victim = frame.chance.choice(nodes)
        frame.fault(f"kill -9 of {victim.name} after {frame.ledger.executions:,} executions")
        victim.kill()
        victim.restart()
        victim.await_ready()
    frame.await_progress(BETWEEN_TASKS)
    tasks = feeder.end()
    code = ventilator.wait(END_S)
    frame.demand(code == 0, f"the ventilator ended with exit code {code}")
    verdict = frame.judge({0: tasks}, store)
    frame.demand(verdict.executions_per_task <= MOST_EXECUTIONS, f"{verdict.executions_per_task:.3f} executions a task")
    return verdict.figures()
