"""A small supervisor that tests kill: `python -m tests.processes.supervisor FOLDER [METHOD]`, or started by launch."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from tests.processes import tasks
from tests.processes.crew import Crew
from zmqtasks.processes.launch import Lifeline
from zmqtasks.wire.payload import Form


def set_up(crew: Crew, folder: Path) -> dict[str, int]:
    """Start two workers, one that hangs and one that leaves processes behind; return all pids."""
    pids = {"hanging": crew.ready(0), "idle": crew.ready(1)}
    for number, how in enumerate(("plain", "setsid", "double fork")):
        crew.results(tasks.start_child, [(str(folder / f"child{number}"), how)], form=Form.MANY, slot=1)
        pids[how] = int((folder / f"child{number}").read_text())
    crew.give(tasks.hang, [str(folder / "hanging")])
    crew.until((folder / "hanging").exists)
    return pids | {f"zygote {pid}": pid for pid in crew.force._spawner.pids()}


def main(report_fd: int) -> None:
    """Be launched, report the pids, end with the owner."""
    lifeline = Lifeline(report_fd)
    config: dict[str, Any] = lifeline.read_config()
    if config.get("refuse"):
        lifeline.report_error(config["refuse"])
        return
    if config.get("die"):
        sys.exit(config["die"])
    folder = Path(config["folder"])
    with Crew(cleanup_dir=config["cleanup_dir"], method=config.get("method", "auto")) as crew:
        pids = set_up(crew, folder)
        gone = asyncio.Event()
        lifeline.watch(crew.loop, gone.set)
        lifeline.report(pids=pids)
        if config.get("deaf"):
            gone = asyncio.Event()
        crew.loop.run_until_complete(gone.wait())
