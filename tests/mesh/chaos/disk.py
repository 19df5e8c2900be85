"""The disk of the sink is full, its file read-only, its database locked by somebody else; and all of it ends again.

Promised: the sink acknowledges nothing that is not stored, says why (in its log and through `zmqtasks status`) and
lives on; the mesh comes to a stop, goes on when there is room, and nothing is lost or recorded twice. Needs root, for a
disk of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.mesh.chaos.frame import Frame
from tests.mesh.chaos.plain import plain
from tests.mesh.chaos.roles import ROOT, Role, command, wait_for

DISK = "64m"
BLOCK = b"\0" * 65536
BETWEEN_TASKS = 200
TOLD_S = 60.0
STANDSTILL_S = 3.0
END_S = 300.0


def run(frame: Frame) -> dict[str, Any]:
    """Make each of the faults `frame.times` times, with each format in turn."""
    if os.geteuid() != 0:
        frame.unjudged.append("a disk of its own needs root")
        return {}
    disk = frame.folder / "disk"
    disk.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk))
    try:
        jobs: dict[int, int] = {}
        stores = []
        for number, ending in enumerate(("jsonl", "db")):
            tasks, results = _faults(frame, number, disk / f"results.{ending}")
            jobs[number] = tasks
            stores.append(plain(results, frame.folder))
        return frame.judge(jobs, *stores).figures()
    finally:
        for role in frame.roles:
            role.end()
        subprocess.run(["umount", str(disk)], check=False)


def _faults(frame: Frame, number: int, results: Path) -> tuple[int, Path]:
    nodes = [frame.node(f"{results.name}-node", local=True)]
    sink, _ = frame.sink(f"{results.name}-sink", file=str(results))
    ventilator = frame.ventilator(f"{results.name}-ventilator", "note_sized", nodes, sink=sink)
    feeder = frame.feed(ventilator, number, ahead=1000)
    faults: list[Callable[[Frame, Role, Path], None]] = [_full, _read_only]
    if results.suffix == ".db":
        faults.append(_locked)
    for _ in range(frame.times):
        for fault in faults:
            frame.demand(frame.await_progress(BETWEEN_TASKS), f"nothing goes on before {fault.__name__[1:]}")
            fault(frame, sink, results)
    frame.demand(frame.await_progress(BETWEEN_TASKS), "nothing goes on after all")
    tasks = feeder.end()
    code = ventilator.wait(END_S)
    frame.demand(code == 0, f"the ventilator ended with exit code {code}")
    for role in (ventilator, *nodes, sink):
        role.end()
    return tasks, results


def _full(frame: Frame, sink: Role, results: Path) -> None:
    frame.fault(f"the disk of {results.name} is full")
    filler = results.with_name("filler")
    with filler.open("ab", buffering=0) as file:

        def fill() -> bool:
            with contextlib.suppress(OSError):
                while True:
                    file.write(BLOCK)
            return "cannot be stored" in sink.log.read_text()[seen:]

        seen = len(sink.log.read_text())
        frame.demand(wait_for(fill, TOLD_S), "the sink does not say that the disk is full")
        _stands_still(frame, sink)
    filler.unlink()


def _locked(frame: Frame, sink: Role, results: Path) -> None:
    frame.fault(f"{results.name} is locked by another program")
    connection = sqlite3.connect(results, isolation_level=None, timeout=TOLD_S)
    connection.execute("BEGIN IMMEDIATE")
    seen = len(sink.log.read_text())
    told = wait_for(lambda: "database is locked" in sink.log.read_text()[seen:], TOLD_S)
    frame.demand(told, "the sink does not say that its database is locked")
    _stands_still(frame, sink)
    connection.execute("ROLLBACK")
    connection.close()


def _read_only(frame: Frame, sink: Role, results: Path) -> None:
    """Who has a file open keeps its disk writable: so the sink is killed, and finds it read-only when it comes back."""
    frame.fault(f"{results.name} is read-only when its sink is started again")
    sink.kill()
    _mount("-o", "remount,ro", str(results.parent))
    sink.restart()
    code = sink.wait(TOLD_S)
    said = sink.log.read_text()
    frame.demand(code == 2 and "cannot write results" in said, f"the sink ended with exit code {code}: {said}")
    _mount("-o", "remount,rw", str(results.parent))
    sink.restart()
    sink.await_ready()


def _stands_still(frame: Frame, sink: Role) -> None:
    """Look that nothing is begun any more, and that the sink says so to whoever asks."""
    frame.demand(wait_for(lambda: _begun(frame) == 0, TOLD_S), "tasks are begun though nothing can be stored")
    asked = subprocess.run(
        command("status", "--json", "--timeout", "30 s", "--node", frame.addresses[sink.name]),
        capture_output=True, cwd=ROOT, check=False,
    )  # fmt: skip
    trouble = json.loads(asked.stdout or b"{}").get("trouble", "")
    frame.demand("cannot be stored" in trouble, f"zmqtasks status says {trouble!r} {asked.stderr.decode()!r}")
    frame.demand(sink.is_alive, "the sink has ended")


def _begun(frame: Frame) -> int:
    before = frame.ledger.executions
    time.sleep(STANDSTILL_S)
    return frame.ledger.executions - before


def _mount(*args: str) -> None:
    subprocess.run(["mount", *args], check=True)
