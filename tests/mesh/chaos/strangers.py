"""Strangers at the doors of a mesh that has a key: silent connections, malformed ones, messages that never end, frames
that claim a GiB; and a member whose arguments are a bomb.

Promised: the job beside them goes on, memory stays bounded, logs stay short, and within 10 s after the last of them a
new member is served. The hostile programs have a lower priority than the roles, as they have the same cores.
"""

from __future__ import annotations

import struct
import subprocess
import time
from typing import Any

import zmq

from tests.mesh.chaos import hostile
from tests.mesh.chaos.frame import Frame
from tests.mesh.chaos.roles import ROOT, Role, command, wait_for
from tests.mesh.chaos.usage import usage_of
from tests.mesh.strangers import JOB, address, connected_push, hello
from zmqtasks.messages import Chunk, Job, PeerState, SessionId, Status, Tasks
from zmqtasks.messages import Role as PeerRole
from zmqtasks.options import MIB, TaskOptions
from zmqtasks.transport.keys import read_pair
from zmqtasks.wire import codec, payload

A_SECOND = 2_000
"""Malformed connections that are asked for."""
SILENT_PER_MALFORMED = 30
"""60,000 malformed connections come with 2,000 silent ones."""
MOST_S = 120.0
"""How long a busy machine may take to make them all."""
MOST_GROWTH_BYTES = 64 * MIB
MOST_LOG_LINES = 200
MOST_DESCRIPTORS = 50
"""That are open after all have gone, beyond those before: the new members' may not have been closed yet."""
SERVED_S = 10.0
BOMBS = 5
RAW_SIZE_AT = 8
"""Where a body says how large it is; source: wire/bodies.py."""
LEAST_TASKS = 500
"""That are done while each kind of stranger is there."""


def run(frame: Frame) -> dict[str, Any]:
    """Let `frame.times` malformed connections come, and the others with them."""
    key = ("--key", str(frame.folder / "mesh.key"))
    subprocess.run(command("keygen", key[1]), cwd=ROOT, check=True, capture_output=True)
    node = frame.node("node", *key)
    sink, store = frame.sink("sink", *key)
    ventilator = frame.ventilator("ventilator", "note_1ms", [node], *key, sink=sink)
    feeder = frame.feed(ventilator, ahead=2_000)
    if not frame.await_progress(LEAST_TASKS):
        raise RuntimeError("the job does not get going")
    roles, doors = [node, sink], list(frame.addresses.values())
    descriptors = {role.name: usage.descriptors for role in roles if (usage := role.usage())}
    silent = _come(frame, f"silent-{max(1, frame.times // SILENT_PER_MALFORMED)}", doors)
    before = _memory(roles)
    figures: dict[str, Any] = {"silent": _count(silent)}
    _judge(frame, roles, before, f"{_count(silent):,} silent connections")
    claims = _come(frame, "claims", doors)
    began = time.monotonic()
    malformed = _come(frame, "connections", doors)
    done = wait_for(lambda: _count(malformed) >= frame.times, MOST_S)
    figures |= {"malformed": _count(malformed), "malformed_s": round(time.monotonic() - began, 1)}
    figures |= {"claims": _count(claims)}
    if not done:
        frame.unjudged.append(f"{_count(malformed):,} malformed connections of {frame.times:,} in {MOST_S:.0f} s")
    _judge(frame, roles, before, f"{_count(malformed):,} malformed connections beside them")
    served = {"beside": _serve(frame, frame.addresses["node"], key)}
    figures["bombs"] = _throw_bombs(frame, frame.addresses["node"], key[1])
    _judge(frame, roles, before, f"{BOMBS} bombs of a member")
    for role in (silent, claims, malformed):
        role.kill()
    served["after"] = _serve(frame, frame.addresses["node"], key)
    frame.demand_in_time(served["after"] <= SERVED_S, f"a new member was served after {served['after']:.1f} s")
    frame.faults += figures["malformed"] + figures["silent"] + figures["claims"]
    tasks = feeder.end()
    frame.demand(ventilator.wait(120.0) == 0, "the ventilator did not succeed")
    opened = {role.name: usage.descriptors - descriptors[role.name] for role in roles if (usage := role.usage())}
    frame.demand(max(opened.values()) <= MOST_DESCRIPTORS, f"descriptors were left open: {opened}")
    growth = {name: round((now - before[name]) / MIB, 1) for name, now in _memory(roles).items()}
    lines = {role.name: len(role.log.read_text(errors="replace").splitlines()) for role in roles}
    frame.demand(max(lines.values()) <= MOST_LOG_LINES, f"logs have {lines} lines")
    return {
        **figures,
        "served_s": served,
        "growth_mib": growth,
        "descriptors": opened,
        "log_lines": lines,
    } | frame.judge({0: tasks}, store).figures()


def _come(frame: Frame, kind: str, doors: list[str]) -> Role:
    """Start a hostile program, and wait until it does what it is for."""
    role = frame.program(kind, hostile.__name__.rpartition(".")[2], kind, str(frame.seed), *doors)
    wanted = int(kind.rpartition("-")[2]) if kind.startswith("silent") else 1
    if not wait_for(lambda: _count(role) >= wanted, MOST_S):
        frame.unjudged.append(f"{kind}: no more than {_count(role)} came in {MOST_S:.0f} s")
    return role


def _count(role: Role) -> int:
    """Return what a hostile program says of what it has done."""
    return int((role.output.split() or ["0"])[-1])


def _throw_bombs(frame: Frame, node: str, key: str) -> int:
    """Send, as a member, arguments that say they are small and are 200 MiB of zeros once they are opened."""
    (run,) = payload.pack([bytes(200 * MIB)], compression="lz4")
    assert isinstance(run.body, bytes)
    body = bytearray(run.body)
    struct.pack_into(">Q", body, RAW_SIZE_AT, 1000)
    pair, _ = read_pair(key)
    with zmq.Context() as context, connected_push(context, node, pair) as push:
        push.setsockopt(zmq.SNDTIMEO, 60_000)
        session = SessionId(77, 1)
        push.send(codec.encode(hello(session, PeerRole.VENTILATOR)))
        job = Job(JOB, "bomb", address(), TaskOptions(), payload.pack_name("math:sqrt"))
        for number in range(BOMBS):
            chunk = Chunk(JOB, 1, number, number + 1, number, bytes(body))
            push.send(codec.encode(Tasks(session, number + 1, (job,) if not number else (), (chunk,))))
        frame.await_progress(LEAST_TASKS)
        push.send(codec.encode(Status(session, address(), session.epoch, state=PeerState.BYE)))
        push.close(linger=10_000)
    return BOMBS


def _judge(frame: Frame, roles: list[Role], before: dict[str, int], what: str) -> None:
    """Make sure that the job goes on, and that nobody grows."""
    began = time.monotonic()
    frame.demand_in_time(frame.await_progress(LEAST_TASKS), f"the job stands still under {what}")
    frame.tell(f"{what}: {LEAST_TASKS} tasks took {time.monotonic() - began:.1f} s")
    for role in roles:
        frame.demand(role.is_alive, f"{role.name} has ended under {what}")
    for name, now in _memory(roles).items():
        grown = now - before[name]
        frame.demand(grown <= MOST_GROWTH_BYTES, f"{name} grew by {grown / MIB:.1f} MiB under {what}")


def _memory(roles: list[Role]) -> dict[str, int]:
    """Return what each role and its largest child hold: of a node, a worker."""
    held = {}
    for role in roles:
        looks = [role.usage(), *map(usage_of, role.children())]
        own, *others = [look.memory_bytes if look else 0 for look in looks]
        held[role.name] = own + max(others, default=0)
    return held


def _serve(frame: Frame, node: str, key: tuple[str, str]) -> float:
    """Return how long a new member takes to be answered, beyond what its program takes to begin."""
    began = time.monotonic()
    line = command("status", "--node", node, *key, "--timeout", "60 s")
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    elapsed_s = time.monotonic() - began
    frame.demand(done.returncode == 0, f"a new member was not served: {done.stderr.strip()}")
    frame.tell(f"a new member was served after {elapsed_s:.1f} s")
    return round(elapsed_s, 1)
