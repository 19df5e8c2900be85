"""The wall clock of each role in turn jumps forward by a day, and later back.

Promised: no effect. Nothing is lost, run twice or found to have taken too long; no session ends; the mesh goes on at
once. Only the times in the sink's rows are those of its clock. Skipped where there is no C compiler: see clock_jump.c.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.mesh.chaos.frame import TASKS, Frame
from tests.mesh.chaos.roles import Role, command
from tests.mesh.nodes import free_port

SOURCE = Path(__file__).with_name("clock_jump.c")
DAY_S = 86_400
WORKERS = 2
TIMEOUT = "60 s"
"""Of each task: much longer than it takes, and much shorter than a jump."""
PER_S, BETWEEN_TASKS = 200.0, 100
AFTER_S = 4.0
"""Longer than a silence that is suspected: what a jump does to a session shows by then."""
ON_S = 10.0
"""How long the mesh may stand still after a jump."""
END_S = 120.0


def run(frame: Frame) -> dict[str, Any]:
    """Let `frame.times` clocks jump."""
    compiler = shutil.which("cc")
    if compiler is None:
        frame.tell("SKIPPED: no C compiler; on Debian: apt install gcc libc6-dev")
        frame.unjudged.append("no C compiler")
        return {"skipped": "no C compiler"}
    library = frame.folder / "clock_jump.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True, timeout=60)
    clocks = _Clocks(frame, library)
    store = frame.folder / "sink.db"
    node, node_address = clocks.serve("node", "worker", "--workers", str(WORKERS))
    sink, sink_address = clocks.serve("sink", "sink", "-o", str(store))
    ventilator = clocks.start(
        "ventilator", "ventilator", f"{TASKS}:note_1ms", "--node", node_address, "--sink", sink_address,
        "--timeout", TIMEOUT, "-", takes_input=True,
    )  # fmt: skip
    feeder = frame.feed(ventilator, per_s=PER_S)
    roles = [node, ventilator, sink]
    frame.await_progress(BETWEEN_TASKS)
    waits = [clocks.jump(roles[number % len(roles)]) for number in range(frame.times)]
    tasks = feeder.end()
    frame.demand(ventilator.wait(END_S) == 0, "the ventilator failed")
    verdict = frame.judge({0: tasks}, store)
    frame.demand(verdict.rerun == 0, f"{verdict.rerun} tasks were run twice")
    for role in (node, ventilator):
        log = role.log.read_text(errors="replace")
        ended = [line for line in log.splitlines() if "is over: silent" in line or "lease has ended" in line]
        frame.demand(not ended, f"sessions of {role.name} ended: {ended}")
    days = _days_ahead(store)
    frame.demand(frame.times < len(roles) or days > 0, "no row has the time of a clock that had jumped")
    return {**verdict.figures(), "longest_wait_s": round(max(waits), 2), "rows_a_day_ahead": days}


class _Clocks:
    """Roles whose clocks can jump: each has a file with its offset."""

    def __init__(self, frame: Frame, library: Path) -> None:
        self._frame, self._library = frame, library
        self._offsets: dict[str, int] = {}

    def serve(self, name: str, *args: str) -> tuple[Role, str]:
        """Start a role that listens; return it with its address."""
        address = f"tcp://127.0.0.1:{free_port()}"
        role = self.start(name, args[0], "--bind", address, "--advertise", address, *args[1:])
        role.await_ready()
        return role, address

    def start(self, name: str, *args: str, takes_input: bool = False) -> Role:
        """Start a role under a clock of its own."""
        self._set(name, 0)
        preload = ("env", f"LD_PRELOAD={self._library}", f"CLOCK_JUMP={self._file(name)}")
        return self._frame.role(name, [*preload, *command("-v", *args)], takes_input).start()

    def jump(self, role: Role) -> float:
        """Let a clock jump by a day, forward or back again; return how long the mesh took to go on, in seconds."""
        offset = 0 if self._offsets[role.name] else DAY_S
        loaded = Path(f"/proc/{role.pid}/maps").read_text()
        self._frame.demand(self._library.name in loaded, f"the clock of {role.name} cannot be made to jump")
        self._set(role.name, offset)
        self._frame.fault(f"the clock of {role.name} jumps a day {'forward' if offset else 'back'}")
        began = time.monotonic()
        on = self._frame.await_progress(BETWEEN_TASKS, ON_S)
        waited = time.monotonic() - began
        self._frame.demand_in_time(on, f"the mesh stands still {waited:.1f} s after a jump of {role.name}")
        time.sleep(AFTER_S)
        return waited

    def _set(self, name: str, offset: int) -> None:
        self._offsets[name] = offset
        path = self._file(name)
        if not path.exists():
            path.write_bytes(bytes(8))
        with open(path, "r+b") as file:
            file.write(offset.to_bytes(8, "little", signed=True))

    def _file(self, name: str) -> Path:
        return self._frame.folder / f"{name}.clock"


def _days_ahead(store: Path) -> int:
    """Return how many rows have a time that is still to come."""
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM results WHERE recorded_at > ?", (later,)).fetchone()[0])
