"""The way between a client and nodes on other hosts breaks, for 0.5 to 20 s, and heals: one way, both ways, with a
reset of each connection, or losing 5 % of all packets. Hosts are network namespaces; skipped where there can be none.

Promised: nothing is lost, each result comes once, and two heartbeats after a way has healed the mesh is at full rate:
at 80 % of what it was before. A fault is not judged where the machine was so busy that the rate fell without it.
"""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

from tests.hosts import netns
from tests.hosts.mesh import Judgement, Load, start_nodes
from tests.hosts.netns import Host, Hosts
from tests.mesh.chaos.frame import Frame
from zmqtasks.records import Value

NODES, WORKERS, NAP_S = 2, 2, 0.05
IDEAL = NODES * WORKERS / NAP_S / 10
"""Results in a bin of 0.1 s, where nothing but the tasks takes time."""
BEFORE_S, AFTER_S = 2.5, 4.0
SHORTEST_S, LONGEST_S = 0.5, 20.0
QUICK_TIMES, QUICK_S = 4, (6.0, 2.5, 0.5, 3.0)
BACK_S = 2.0
"""Two heartbeats."""
LEAST, STEADY = 0.5, 0.75
"""Of the ideal rate: with less, a return to it tells nothing; with less, a late one tells nothing."""
KINDS = ("both ways", "one way there", "reset", "5 % loss", "one way back")


class Fault(Value):
    """What was done, and when by the monotonic clock."""

    number: int
    kind: str
    nodes: int
    broken_at: float
    healed_at: float


def run(frame: Frame) -> dict[str, Any]:
    """Break and heal the way `frame.times` times."""
    if reason := netns.missing():
        frame.tell(f"SKIPPED: {reason}")
        frame.unjudged.append(reason)
        return {"skipped": reason}
    with Hosts(1 + NODES) as network:
        client, *nodes = network.hosts
        start_nodes(nodes, frame.role, workers=WORKERS)
        load = Load(client, nodes, frame.role, "--nap", str(NAP_S))
        faults = [_break(frame, network, number) for number in range(frame.times)]
        load.want_result()
        load.wait_for_result()
        judgement = load.stop()
    frame.demand(judgement.lost == 0, f"{judgement.lost} of {judgement.handed_out} tasks lost")
    frame.demand(judgement.doubled == 0, f"{judgement.doubled} results came twice")
    executions = frame.ledger.executions / judgement.handed_out
    return {
        "tasks": judgement.handed_out, "lost": judgement.lost, "doubled": judgement.doubled,
        "executions_per_task": round(executions, 4), **_judge(frame, faults, judgement),
    }  # fmt: skip


def _break(frame: Frame, network: Hosts, number: int) -> Fault:
    client, *nodes = network.hosts
    quick = frame.times <= QUICK_TIMES
    kind = KINDS[number % len(KINDS)]
    chosen = nodes if quick else frame.chance.sample(nodes, frame.chance.randint(1, NODES))
    seconds = QUICK_S[number] if quick else frame.chance.uniform(SHORTEST_S, LONGEST_S)
    time.sleep(BEFORE_S)
    broken_at = time.monotonic()
    for node in chosen:
        _cut(network, client, node, kind)
    frame.fault(f"{kind} for {seconds:.1f} s, to {len(chosen)} of {NODES} nodes")
    time.sleep(seconds)
    network.heal()
    healed_at = time.monotonic()
    time.sleep(AFTER_S)
    return Fault(number + 1, kind, len(chosen), broken_at, healed_at)


def _cut(network: Hosts, client: Host, node: Host, kind: str) -> None:
    match kind:
        case "both ways":
            network.part(client, node)
        case "one way there":
            network.drop(client, node)
        case "one way back":
            network.drop(node, client)
        case "reset":
            network.reset(client, node)
        case _:
            network.lose(client, node, 5)


def _judge(frame: Frame, faults: list[Fault], judgement: Judgement) -> dict[str, Any]:
    back: list[float] = []
    for fault in faults:
        lasted = fault.healed_at - fault.broken_at
        what = f"fault {fault.number}, {fault.kind} for {lasted:.1f} s to {fault.nodes} nodes"
        usual = judgement.rate(fault.broken_at - BEFORE_S + 0.5, fault.broken_at)
        after = judgement.back_after(fault.healed_at, usual)
        shown = "never" if after is None else f"{after:.1f} s after it healed"
        frame.tell(f"{what}: at {usual:g} results in 0.1 s before, back {shown}")
        if after is not None and after <= BACK_S and usual >= LEAST * IDEAL:
            back.append(after)
        elif usual < LEAST * IDEAL or _was_busy(fault, judgement, usual):
            frame.unjudged.append(f"{what}: back {shown}, but this machine was too busy to tell")
        else:
            back.append(AFTER_S if after is None else after)  # what the record shows is the least it was
            frame.complain(f"{what}: back at full rate {shown}")
    if not back:
        return {"judged": 0}
    ordered = sorted(back)
    return {
        "judged": len(back),
        "back_median_s": round(statistics.median(ordered), 2),
        "back_p90_s": round(ordered[math.ceil(0.9 * len(ordered)) - 1], 2),
        "back_max_s": round(ordered[-1], 2),
    }


def _was_busy(fault: Fault, judgement: Judgement, usual: float) -> bool:
    """Tell whether the machine was too busy before or after a fault for its mesh to keep up a rate."""
    before = judgement.was_awake(fault.broken_at - BEFORE_S, fault.broken_at)
    after = judgement.was_awake(fault.healed_at, fault.healed_at + BACK_S)
    return not before or not after or usual < STEADY * IDEAL
