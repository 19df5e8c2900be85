"""Back-pressure from end to end: sinks that are stopped, consumers that are slow, producers that run far ahead.

Promised: each process stays within its byte bound and a fifth: what it holds beyond what it held when nothing was under
way. What is lent between processes of one host is no memory of any of them, and counted apart. `frame.seconds` is how
long each case presses.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.mesh.chaos.frame import Frame
from tests.mesh.chaos.roles import Role, wait_for
from zmqtasks.options import MIB

NODE_BYTES = 2 * 256 * MIB
"""`window_bytes`, of arguments and of results."""
LENT_BYTES = 512 * MIB
SINK_BYTES = 2 * 64 * MIB
"""What one node has on the way, and what is just being written, once more."""
VENTILATOR_BYTES = 3 * 64 * MIB
"""Input read ahead: as text, as arguments and, sent and not done, as bodies."""
CLIENT_BYTES = 4 * 64 * MIB
"""Arguments pulled, as values and as bodies, and results not taken, as bodies and as values."""
MARGIN = 1.2
LOOK_S = 0.05
READY_S = 60.0
CLIENTS = 5
LINE_BYTES = 10_000


def run(frame: Frame) -> dict[str, Any]:
    """Press in each way."""
    cases: dict[str, Callable[[Frame], dict[str, Any]]] = {
        "sink stopped, results lent": lambda frame: _stopped_sink(frame, "note_lent"),
        "sink stopped, results copied": lambda frame: _stopped_sink(frame, "note_copied"),
        "slow consumer of map": lambda frame: _client(frame, "slow-consumer"),
        "endless arguments of map": lambda frame: _client(frame, "endless-arguments"),
        "five clients on one node": _sharing,
    }
    figures: dict[str, Any] = {}
    for name, case in cases.items():
        frame.fault(name)
        figures[name] = case(frame)
        frame.tell(f"{figures[name]}")
        for role in frame.roles:
            role.end()
        frame.roles.clear()
    return figures


class _Peaks:
    """A thread that looks at what processes hold, and knows the most beyond what they held at first."""

    def __init__(self, roles: Iterable[Role]) -> None:
        self._roles = list(roles)
        self._first = {role.name: self._memory(role) for role in self._roles}
        self.most = dict.fromkeys(self._first, 0)
        self.lent = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @staticmethod
    def _memory(role: Role) -> int:
        usage = role.usage()
        return usage.memory_bytes if usage else 0

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            for role in self._roles:
                self.most[role.name] = max(self.most[role.name], self._memory(role) - self._first[role.name])
            self.lent = max(self.lent, _lent_bytes(self._roles))

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def judge(self, frame: Frame, bounds: dict[str, int]) -> dict[str, float]:
        """Hold the peaks against the bounds, by the first part of a role's name; return them in MiB."""
        self.end()
        for name, most in self.most.items():
            bound = bounds[name.split("-")[0]]
            held = f"{name} held {most / MIB:.0f} MiB more than at rest, its bound is {bound / MIB:.0f} MiB"
            frame.demand(most <= MARGIN * bound, held)
        frame.demand(self.lent <= MARGIN * LENT_BYTES, f"{self.lent / MIB:.0f} MiB were lent")
        return {name: round(most / MIB, 1) for name, most in self.most.items()} | {"lent": round(self.lent / MIB, 1)}


def _lent_bytes(roles: Iterable[Role]) -> int:
    """Return the bytes of all files of loans that these roles and their children have, each once."""
    found: dict[int, int] = {}
    for role in roles:
        for pid in (role.pid, *role.children()):
            with contextlib.suppress(OSError):
                for fd in Path(f"/proc/{pid}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        if "zmqtasks-loan" in os.readlink(fd):
                            looked = os.stat(fd)
                            found[looked.st_ino] = looked.st_blocks * 512
    return sum(found.values())


class _Endless:
    """A pipe that always has another line, for as long as somebody reads."""

    def __init__(self, role: Role) -> None:
        self.lines = 0
        self._role = role
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(BrokenPipeError, ValueError):
            while not self._over.is_set():
                self._role.input.write(b"%09d" % self.lines + b"x" * LINE_BYTES + b"\n")
                self.lines += 1

    def end(self) -> None:
        self._over.set()
        self._role.kill()
        self._thread.join()


def _stopped_sink(frame: Frame, function: str) -> dict[str, Any]:
    """Stop the sink while results of `function` come, with input that never ends; then let it go on."""
    node = frame.node(f"node-{function}", workers=2)
    sink, store = frame.sink(f"sink-{function}")
    ventilator = frame.ventilator(f"ventilator-{function}", function, [node], "--lines", sink=sink)
    peaks = _Peaks([node, sink, ventilator])
    endless = _Endless(ventilator)
    if not frame.await_progress(20, READY_S):
        raise RuntimeError("the job does not get going")
    sink.stop()
    still = _stands_still(frame)
    sink.go_on()
    moved = frame.await_progress(20, READY_S)
    endless.end()
    frame.demand(still, "tasks are executed though their results are not taken")
    frame.demand(moved, "nothing goes on when the sink does")
    bounds = {"node": NODE_BYTES, "sink": SINK_BYTES, "ventilator": VENTILATOR_BYTES}
    figures = peaks.judge(frame, bounds)
    for role in (node, sink):
        role.end()
    store.unlink(missing_ok=True)
    return figures | {"lines_read": endless.lines}


def _stands_still(frame: Frame) -> bool:
    """Wait until no task is executed any more, for as long as a case may press."""
    deadline = time.monotonic() + 10 * (frame.amount.seconds or 1)
    executed, since = -1, time.monotonic()
    while time.monotonic() < deadline:
        time.sleep(LOOK_S)
        if frame.ledger.executions != executed:
            executed, since = frame.ledger.executions, time.monotonic()
        elif time.monotonic() - since > 2.0:
            return True
    return False


def _client(frame: Frame, kind: str) -> dict[str, Any]:
    """Let one client with a node of its own press."""
    role = frame.program(f"client-{kind}", "pressing", kind)
    _await_output(role)
    peaks = _Peaks([role])
    time.sleep(frame.amount.seconds or 1)
    taken = int(role.output.split()[-1])
    figures = peaks.judge(frame, {"client": CLIENT_BYTES})
    role.kill()
    return figures | {"taken": taken}


def _sharing(frame: Frame) -> dict[str, Any]:
    """Let several clients press on one node."""
    node = frame.node("node-shared", workers=2)
    peaks = _Peaks([node])
    where = frame.addresses[node.name]
    roles = [frame.program(f"client-{number}", "pressing", "sharing", where) for number in range(CLIENTS)]
    for role in roles:
        _await_output(role)
    beside = _Peaks(roles)
    time.sleep(frame.amount.seconds or 1)
    taken = [int(role.output.split()[-1]) for role in roles]
    figures = peaks.judge(frame, {"node": NODE_BYTES}) | beside.judge(frame, {"client": CLIENT_BYTES})
    for role in roles:
        role.kill()
    return figures | {"taken": taken}


def _await_output(role: Role) -> None:
    if not wait_for(lambda: role.output.strip(), READY_S):
        raise RuntimeError(f"{role.name} prints nothing: {role.log.read_text(errors='replace')[-2000:]}")
