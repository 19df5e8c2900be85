"""Malformed and foreign frames: to the decoder, so many; then as many to the live inboxes of all roles, as fast as they
take them, while a job runs beside it; then connections to these inboxes that are no ZMTP, or stop being it.

Promised: nobody ends, memory stays flat, logs stay short, and frames slow the job by less than 30 %. Connections are
bound by nothing: ZeroMQ has accepted one before we hear of it. The hostile programs have a lower priority than the
roles (`hostile.py`), as they have the same cores: that they take what is left of the processor is not what is judged.
"""

from __future__ import annotations

import os
import time
from itertools import islice
from typing import Any, NamedTuple

from tests.mesh.chaos import hostile
from tests.mesh.chaos.beside import Beside
from tests.mesh.chaos.frame import Frame
from tests.mesh.chaos.roles import Role, wait_for
from tests.mesh.chaos.usage import usage_of
from tests.mesh.nodes import free_port
from tests.wire.mutations import Frames
from zmqtasks.options import MIB, Limits
from zmqtasks.transport.intake import Intake

WARM_UP = 5_000
MOST_GROWTH_BYTES = 5 * MIB
MOST_LOG_LINES = 100
MOST_OTHERS = 0.25
"""Where programs that are none of ours take more of the processors than this, rates say nothing."""
LEAST_RATE = 0.7
AHEAD = 5_000
END_S = 300.0


class Plan(NamedTuple):
    """How long."""

    attack_s: float
    least_turns: int
    most_s: float
    connections_turns: int


QUICK, FULL = Plan(4.0, 4, 90.0, 2), Plan(40.0, 8, 690.0, 1)
MANY = 1_000_000


def run(frame: Frame) -> dict[str, Any]:
    """Give `frame.times` frames to the decoder, then as many to live inboxes."""
    decoder = _decode(frame)
    nodes = [frame.node("node-unix", local=True), frame.node("node-tcp")]
    sink, store = frame.sink("sink", local=True)
    port = free_port()
    bind = f"tcp://127.0.0.1:{port}"
    ventilator = frame.ventilator("ventilator", "note_1ms", nodes, "--bind", bind, sink=sink)
    feeder = frame.feed(ventilator, ahead=AHEAD)
    roles = [*nodes, sink, ventilator]
    if not frame.await_progress(1_000):
        raise RuntimeError("the job does not get going")
    live = _attack(frame, roles, [*frame.addresses.values(), bind])
    tasks = feeder.end()
    code = ventilator.wait(END_S)
    frame.demand(code == 0, f"the ventilator ended with exit code {code}")
    return {**decoder, **live, **frame.judge({0: tasks}, store).figures()}


def _decode(frame: Frame) -> dict[str, Any]:
    """Take malformed frames as an inbox does; anything but a refusal ends the scenario."""
    intake = Intake(Limits(), lambda message, sender: False, time.monotonic)
    frames = iter(Frames(frame.seed))
    for one in islice(frames, WARM_UP):
        intake.take(one)
    before = usage_of(os.getpid())
    began = time.monotonic()
    for one in islice(frames, frame.times):
        intake.take(one)
    elapsed_s, after = time.monotonic() - began, usage_of(os.getpid())
    assert before is not None
    assert after is not None
    growth = after.memory_bytes - before.memory_bytes
    frame.faults += frame.times
    frame.tell(f"the decoder took {frame.times:,} frames in {elapsed_s:.0f} s, {intake.malformed:,} malformed")
    frame.demand(growth <= MOST_GROWTH_BYTES, f"the decoder grew by {growth / MIB:.1f} MiB")
    return {"decoded": frame.times, "malformed": intake.malformed, "decoder_growth_bytes": growth}


def _attack(frame: Frame, roles: list[Role], tcp: list[str]) -> dict[str, Any]:
    plan = FULL if frame.times >= MANY else QUICK
    unix = [str(path) for path in (frame.folder / "tmp").rglob("*") if path.is_socket()]
    pushes, locals_ = _hostile(frame, "pushes", tcp), _hostile(frame, "unix", unix)
    connections = _hostile(frame, "connections", tcp)
    by_frames = Beside(frame, roles, [pushes, locals_], plan.attack_s)
    by_connections = Beside(frame, roles, [connections], plan.attack_s)
    by_connections.turn()
    by_frames.turn()  # whatever grows once has grown by now
    before = _memory(roles)
    by_frames = Beside(frame, roles, [pushes, locals_], plan.attack_s)
    _attack_by_frames(frame, plan, by_frames)
    by_connections = Beside(frame, roles, [connections], plan.attack_s)
    for _ in range(plan.connections_turns):
        by_connections.turn()
    growth = {name: after - before.get(name, after) for name, after in _memory(roles).items()}
    _judge_roles(frame, roles, growth)
    return {
        "by_frames": by_frames.figures(), "by_connections": by_connections.figures(), "attacker_nice": hostile.NICE,
        "growth_bytes": growth, "log_lines": {role.name: _lines(role) for role in roles},
    }  # fmt: skip


def _hostile(frame: Frame, kind: str, targets: list[str]) -> Role:
    """Start a hostile program, and stop it as soon as it sends."""
    role = frame.program(kind, hostile.__name__.rpartition(".")[2], kind, str(frame.seed), *targets)
    if not wait_for(lambda: role.output.strip(), 60.0):
        raise RuntimeError(f"{role.name} does not attack: {role.log.read_text()}")
    role.stop()
    return role


def _attack_by_frames(frame: Frame, plan: Plan, beside: Beside) -> None:
    """Attack until so many frames have been taken, and judge what the job lost."""
    began, turns = time.monotonic(), 0
    while turns < plan.least_turns or (beside.sent < frame.times and time.monotonic() - began < plan.most_s):
        beside.turn()
        turns += 1
    frame.faults += beside.sent
    if beside.sent < frame.times:
        frame.unjudged.append(
            f"live inboxes have taken {beside.sent:,} frames of {frame.times:,} in {plan.most_s:.0f} s"
        )
    slowed = f"the job runs at {beside.ratio:.2f} of its rate while roles are sent useless frames"
    if beside.ratio < LEAST_RATE and beside.others_share() > MOST_OTHERS:
        frame.unjudged.append(f"{slowed}, and others take {beside.others_share():.0%} of the processors")
    else:
        frame.demand(beside.ratio >= LEAST_RATE, slowed)


def _judge_roles(frame: Frame, roles: list[Role], growth: dict[str, int]) -> None:
    for role in roles:
        frame.demand(role.is_alive, f"{role.name} has ended under the attack")
        frame.demand(_lines(role) <= MOST_LOG_LINES, f"the log of {role.name} has {_lines(role)} lines")
        grown = growth.get(role.name, 0)
        frame.demand(grown <= MOST_GROWTH_BYTES, f"{role.name} grew by {grown / MIB:.1f} MiB")


def _lines(role: Role) -> int:
    return len(role.log.read_text(errors="replace").splitlines())


def _memory(roles: list[Role]) -> dict[str, int]:
    return {role.name: usage.memory_bytes for role in roles if (usage := role.usage()) is not None}
