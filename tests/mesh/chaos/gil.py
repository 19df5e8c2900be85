"""A client is held up for 20 s by C code that keeps the interpreter's lock.

In turn it is a client of nodes that run already, and one with a node of its own.

Promised: its own stall is not the silence of others, and others bear with it: no task is run again.
"""

from __future__ import annotations

import json
from typing import Any

from tests.mesh.chaos.frame import Frame

HOLD_S = 20.0
END_S = 600.0


def run(frame: Frame) -> dict[str, Any]:
    """Hold up `frame.times` clients, one after the other."""
    nodes = [frame.node("node-0"), frame.node("node-1", local=True)]
    told = []
    for job in range(frame.times):
        addresses = [frame.addresses[node.name] for node in nodes] if job % 2 == 0 else []
        frame.fault(f"a client of {'two nodes' if addresses else 'its own node'} holds the lock for {HOLD_S:.0f} s")
        client = frame.program(f"client-{job}", "gil_client", str(job), str(HOLD_S), *addresses)
        code = client.wait(END_S)
        frame.demand(code == 0, f"client {job} ended with exit code {code}")
        if code == 0:
            told.append(json.loads(client.output))
    counts = frame.ledger.counts({job: one["tasks"] for job, one in enumerate(told)})
    again = sum(times > 1 for count in counts.values() for times in count)
    wrong = sum(one["wrong"] for one in told)
    frame.demand(not again, f"{again} tasks were run again")
    frame.demand(not wrong, f"{wrong} results are wrong")
    frame.demand(len(told) == frame.times, "a client did not come through")
    return {"tasks": sum(one["tasks"] for one in told), "rerun": again, "wrong": wrong, "clients": told}
