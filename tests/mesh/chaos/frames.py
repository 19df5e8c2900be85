"""Malformed and foreign frames: to the decoder, so many; then to the live inboxes of all roles, as fast as they take
them, while a job runs beside it.

Promised: nobody ends, memory stays flat, logs stay short, and the job is slowed by less than 30 %. The job is measured
in turns, with the hostile programs stopped and going on. These have a lower priority than the roles (`hostile.py`), as
they have the same cores: that they take what is left of the processor is not what is judged.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import psutil

from tests.mesh.chaos import hostile
from tests.mesh.chaos.frame import Frame
from tests.mesh.chaos.roles import Role, wait_for
from tests.mesh.chaos.usage import usage_of
from tests.mesh.nodes import free_port
from tests.wire.mutations import Frames
from zmqtasks.options import MIB, Limits
from zmqtasks.transport.intake import Intake

WARM_UP = 5_000
TURN_S = 4.0
MANY = 1_000_000
FEW_TURNS, MANY_TURNS = 4, 30
MOST_GROWTH_BYTES = 5 * MIB
MOST_LOG_LINES = 100
MOST_OTHERS = 0.25
"""Where programs that are none of ours take more of the processors than this, rates say nothing."""
LEAST_RATE = 0.7
AHEAD = 5_000
END_S = 300.0


def run(frame: Frame) -> dict[str, Any]:
    """Give `frame.times` frames to the decoder, then attack for a number of turns."""
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
    attack = _Attack(frame, [*frame.addresses.values(), bind])
    live = _attack(frame, roles, attack)
    tasks = feeder.end()
    code = ventilator.wait(END_S)
    frame.demand(code == 0, f"the ventilator ended with exit code {code}")
    return {**decoder, **live, **frame.judge({0: tasks}, store).figures()}


def _decode(frame: Frame) -> dict[str, Any]:
    """Take malformed frames as an inbox does; anything but a refusal ends the scenario."""
    intake = Intake(Limits(), lambda message: False, time.monotonic)
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


class _Attack:
    """The hostile programs, which can be stopped and go on."""

    def __init__(self, frame: Frame, tcp: list[str]) -> None:
        temporary = frame.folder / "tmp"
        unix = [str(path) for path in temporary.rglob("*") if path.is_socket()]
        module = hostile.__name__.rpartition(".")[2]
        targets = {"pushes": tcp, "connections": tcp, "unix": unix}
        self.roles = [
            frame.program(kind, module, kind, str(frame.seed), *where) for kind, where in targets.items() if where
        ]
        for role in self.roles:
            if not wait_for(lambda role=role: role.output.strip(), 60.0):  # type: ignore[misc]
                raise RuntimeError(f"{role.name} does not attack: {role.log.read_text()}")
        self.pause()

    def pause(self) -> None:
        for role in self.roles:
            role.stop()

    def go_on(self) -> None:
        for role in self.roles:
            role.go_on()

    def sent(self) -> dict[str, int]:
        """Return how many frames or connections each has sent."""
        return {f"sent_by_{role.name}": int(role.output.split()[-1]) for role in self.roles}


def _attack(frame: Frame, roles: list[Role], attack: _Attack) -> dict[str, Any]:
    turns = MANY_TURNS if frame.times >= MANY else FEW_TURNS
    rates: dict[bool, list[float]] = {False: [], True: []}
    costs: dict[bool, list[float]] = {False: [], True: []}
    before: dict[str, int] = {}
    others = _Others(lambda: _spent_s([*roles, *attack.roles]))
    for turn in range(turns):
        for attacked in (False, True):
            if attacked:
                attack.go_on()
            rate, cost = _measure(frame, roles)
            attack.pause()
            rates[attacked].append(rate)
            costs[attacked].append(cost)
        if turn == 0:
            before = _memory(frame, roles)
        ratio = rates[True][-1] / rates[False][-1]
        frame.tell(f"turn {turn + 1}: {rates[False][-1]:.0f} tasks a second, attacked {ratio:.2f} of that")
    growth = {name: after - before.get(name, after) for name, after in _memory(frame, roles).items()}
    ratio = statistics.median(rates[True]) / statistics.median(rates[False])
    slowed = f"the job runs at {ratio:.2f} of its rate while roles are attacked"
    if ratio < LEAST_RATE and others.share() > MOST_OTHERS:
        frame.unjudged.append(f"{slowed}, and others take {others.share():.0%} of the processors")
    else:
        frame.demand(ratio >= LEAST_RATE, slowed)
    for role in roles:
        frame.demand(role.is_alive, f"{role.name} has ended under the attack")
        lines = len(role.log.read_text(errors="replace").splitlines())
        frame.demand(lines <= MOST_LOG_LINES, f"the log of {role.name} has {lines} lines")
        grown = growth.get(role.name, 0)
        frame.demand(grown <= MOST_GROWTH_BYTES, f"{role.name} grew by {grown / MIB:.1f} MiB")
    return {
        "rate_attacked": round(ratio, 3), "tasks_per_s": round(statistics.median(rates[False])),
        "cpu_us_per_task": round(statistics.median(costs[False])),
        "cpu_us_per_task_attacked": round(statistics.median(costs[True])),
        "attack_costs_cores": round(statistics.median(_extra_cores(rates, costs)), 3),
        "attacker_nice": hostile.NICE, "others_cpu_share": round(others.share(), 2), **attack.sent(),
        "growth_bytes": growth,
        "log_lines": {role.name: len(role.log.read_text(errors="replace").splitlines()) for role in roles},
    }  # fmt: skip


def _extra_cores(rates: dict[bool, list[float]], costs: dict[bool, list[float]]) -> list[float]:
    """Return the processors that all roles together took beyond what their tasks cost without the attack."""
    both = zip(rates[True], costs[True], costs[False], strict=True)
    return [rate * (attacked - quiet) / 1e6 for rate, attacked, quiet in both]


class _Others:
    """How much of the processors programs take that are none of ours."""

    def __init__(self, own_s: Callable[[], float]) -> None:
        self._own_s = own_s
        self._began = self._look()

    def share(self) -> float:
        """Return it as a part of all, since this was made."""
        busy, idle, own = (now - then for now, then in zip(self._look(), self._began, strict=True))
        return max(0.0, busy - own) / max(busy + idle, 1e-9)

    def _look(self) -> tuple[float, float, float]:
        times = psutil.cpu_times()
        idle = times.idle + times.iowait
        return sum(times[:8]) - idle, idle, self._own_s()


def _measure(frame: Frame, roles: list[Role]) -> tuple[float, float]:
    """Return tasks a second, and microseconds of processor that all roles and their workers took for one."""
    executed, spent, began = frame.ledger.executions, _spent_s(roles), time.monotonic()
    time.sleep(TURN_S)
    tasks = max(frame.ledger.executions - executed, 1)
    return tasks / (time.monotonic() - began), (_spent_s(roles) - spent) / tasks * 1e6


def _spent_s(roles: list[Role]) -> float:
    total = 0.0
    for role in roles:
        if role.is_alive:
            for pid in (role.pid, *role.children()):
                try:
                    times = psutil.Process(pid).cpu_times()
                except psutil.Error:
                    continue
                total += times.user + times.system
    return total


def _memory(frame: Frame, roles: list[Role]) -> dict[str, int]:
    return {role.name: usage.memory_bytes for role in roles if (usage := role.usage()) is not None}
