"""Large arguments and results fill a link of 50 Mbit/s between a client and its node, both ways.

Promised: heartbeats arrive all the same: neither end suspects the other, no session ends, nothing is lost. Hosts are
network namespaces; skipped where there can be none.
"""

from __future__ import annotations

import time
from typing import Any

from tests.hosts import netns
from tests.hosts.load import BIN_S
from tests.hosts.mesh import Load, start_nodes
from tests.hosts.netns import Hosts
from tests.mesh.chaos.frame import Frame

MBIT = 50
BODY_BYTES = 65_536
WORKERS = 4
FULL = 0.5
"""Of the link, each way, where nothing else is in the way; less, and nothing was put to the test."""
UNWANTED = ("nothing comes from", "is over: silent", "lease has ended")


def run(frame: Frame) -> dict[str, Any]:
    """Fill the link for `frame.amount.seconds`."""
    if reason := netns.missing():
        frame.tell(f"SKIPPED: {reason}")
        frame.unjudged.append(reason)
        return {"skipped": reason}
    assert frame.amount.seconds is not None
    with Hosts(2) as network:
        client, node = network.hosts
        nodes = start_nodes([node], frame.role, workers=WORKERS)
        load = Load(client, [node], frame.role, "--nap", "0", "--size", str(BODY_BYTES))
        frame.fault(f"{MBIT} Mbit/s, full of bodies of {BODY_BYTES >> 10} KiB both ways")
        network.narrow(node, MBIT)
        narrowed_at = time.monotonic()
        time.sleep(frame.amount.seconds)
        ended_at = time.monotonic()
        logs = {role.name: role.log.read_text(errors="replace") for role in (*nodes, load.role)}
        judgement = load.stop()
    for name, log in logs.items():
        unwanted = [line for line in log.splitlines() if any(text in line for text in UNWANTED)]
        frame.demand_in_time(not unwanted, f"{name} has missed heartbeats: {unwanted}")
    frame.demand(judgement.lost == 0, f"{judgement.lost} of {judgement.handed_out} tasks lost")
    frame.demand(judgement.doubled == 0, f"{judgement.doubled} results came twice")
    came = sum(count for at, count in judgement.bins.items() if narrowed_at <= at * BIN_S < ended_at)
    mbit = came * BODY_BYTES * 8 / 1e6 / (ended_at - narrowed_at)
    frame.demand_in_time(mbit >= FULL * MBIT, f"only {mbit:.0f} Mbit/s passed each way")
    return {"tasks": judgement.handed_out, "lost": judgement.lost, "doubled": judgement.doubled, "mbit_s": round(mbit)}
