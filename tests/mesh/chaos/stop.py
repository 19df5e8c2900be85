"""Any role is stopped by SIGSTOP for a while and goes on, sometimes several one after the other, a node also with all
its workers, as when a machine is suspended.

Promised: nothing is lost, and nothing that a stopped peer says late is held against a task. Where a whole node was
stopped for so long that its tasks run elsewhere, the task in its worker fails when it goes on (`note_or_oversleep`): a
stale failure, of which nothing may be recorded.
"""

from __future__ import annotations

import time
from typing import Any

from tests.mesh.chaos.frame import Frame
from tests.mesh.chaos.roles import Role
from tests.mesh.chaos.tasks import OVERSLEPT, frozen_mark

NODES = 2
SHORTEST_S, LONGEST_S = 5.0, 30.0
QUICK_S = 6.0
QUICK_TIMES = 5
"""Up to so many, stops are short."""
AHEAD = 2000
BETWEEN_TASKS = 200
END_S = 300.0
BACK_S = 90.0
"""How long the mesh may take to get on again after the last of those stopped has gone on."""


def run(frame: Frame) -> dict[str, Any]:
    """Stop roles `frame.times` times."""
    nodes = [frame.node(f"node-{n}", local=n == 0) for n in range(NODES)]
    sink, store = frame.sink("sink", local=True)
    ventilator = frame.ventilator("ventilator", "note_or_oversleep", nodes, sink=sink)
    feeder = frame.feed(ventilator, ahead=AHEAD)
    roles = [*nodes, sink, ventilator]
    while frame.faults < frame.times:
        if not frame.await_progress(BETWEEN_TASKS, BACK_S):
            frame.complain(f"the mesh stands still {BACK_S} s after the last stop")
            break
        _stop_some(frame, nodes, roles)
    tasks = feeder.end()
    code = ventilator.wait(END_S)
    frame.demand(code == 0, f"the ventilator ended with exit code {code}")
    stale = len(list(frame.folder.glob(f"{OVERSLEPT}*")))
    return frame.judge({0: tasks}, store).figures() | {"stale_failures_made": stale}


def _stop_some(frame: Frame, nodes: list[Role], roles: list[Role]) -> None:
    """Stop one role, or two of them one shortly after the other; then let them go on."""
    chosen = frame.chance.sample(roles, min(frame.chance.choice((1, 1, 2)), frame.times - frame.faults))
    for role in chosen:
        _stop(frame, role, nodes)
        time.sleep(frame.chance.uniform(0, 1.0))
    time.sleep(QUICK_S if frame.times <= QUICK_TIMES else frame.chance.uniform(SHORTEST_S, LONGEST_S))
    for role in chosen:
        role.go_on()
        frame.tell(f"{role.name} goes on")
        time.sleep(frame.chance.uniform(0, 1.0))


def _stop(frame: Frame, role: Role, nodes: list[Role]) -> None:
    whole = role in nodes and frame.chance.random() < 0.5
    mark = frozen_mark(str(frame.folder), role.pid)
    if whole:
        open(mark, "w").close()
    frame.fault(f"SIGSTOP of {role.name}{' with its workers' if whole else ''}")
    role.stop(whole=whole)
