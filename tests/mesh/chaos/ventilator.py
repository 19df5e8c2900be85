"""kill -9 of whoever hands out tasks, with a journal, at any moment; the same command line then goes on. Nodes stay up.

Three forms in turn: `zmqtasks ventilator` with a standalone sink, the same with a file of its own (`-o`), and a program
with a `Client`. Promised: each task is recorded once, and at most 1 % is executed again.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tests.mesh.chaos import tasks
from tests.mesh.chaos.frame import PATIENT, TASKS, Frame
from tests.mesh.chaos.roles import Role, command, program, wait_for

FORMS = ("sink", "file", "client")
NODES = 2
FUNCTION = "note_1ms"
TASKS_A_KILL = 1500
LEAST_TASKS, MOST_TASKS = 50, 1200
"""Executed between two kills, where the program comes so far."""
EARLY = 0.25
"""So many of the kills come in the first moments of a life: while it connects, compares, asks and adopts."""
EARLY_S = 3.0
MOST_RERUN = 0.01
PROGRESS_S = 120.0
END_S = 600.0


def run(frame: Frame) -> dict[str, Any]:
    """Kill and resume `frame.times` times, spread over the forms."""
    nodes = [frame.node(f"node-{n}", local=n == 0) for n in range(NODES)]
    figures: dict[str, Any] = {"forms": {}}
    totals: dict[str, int] = dict.fromkeys(("tasks", "lost", "doubled", "failed", "rerun"), 0)
    jobs: dict[int, int] = {}
    stores: list[Path] = []
    for job, form in enumerate(FORMS):
        kills = frame.times // len(FORMS) + (job < frame.times % len(FORMS))
        jobs[job] = TASKS_A_KILL * (kills + 1)
        figures["forms"][form] = _run_form(frame, form, job, jobs[job], nodes, kills, stores)
    recorded = {job: number for job, number in jobs.items() if FORMS[job] != "client"}
    counts = frame.ledger.counts(jobs)
    totals["rerun"] = sum(times > 1 for count in counts.values() for times in count)
    totals["tasks"] = sum(jobs.values())
    unexecuted = sum(times == 0 for count in counts.values() for times in count)
    frame.demand(unexecuted == 0, f"{unexecuted} tasks were never executed")
    _judge_stores(frame, recorded, stores, totals)
    rerun = totals["rerun"] / totals["tasks"]
    frame.demand(rerun <= MOST_RERUN, f"{rerun:.2%} of the tasks were executed again, promised is {MOST_RERUN:.0%}")
    return figures | totals | {"rerun_share": round(rerun, 5)}


def _judge_stores(frame: Frame, jobs: dict[int, int], stores: list[Path], totals: dict[str, int]) -> None:
    """Look at each file by itself: what is in it is one job."""
    from tests.mesh.chaos.oracle import read_store

    recorded = {job: bytearray(number) for job, number in jobs.items()}
    complaints: list[str] = []
    totals["failed"] = sum(read_store(store, recorded, complaints) for store in stores)
    totals["lost"] = sum(times == 0 for count in recorded.values() for times in count)
    totals["doubled"] = sum(times > 1 for count in recorded.values() for times in count)
    for complaint in complaints:
        frame.complain(complaint)
    frame.demand(totals["lost"] == 0, f"{totals['lost']} tasks are not recorded")
    frame.demand(totals["doubled"] == 0, f"{totals['doubled']} tasks are recorded twice")


def _run_form(
    frame: Frame, form: str, job: int, number: int, nodes: list[Role], kills: int, stores: list[Path]
) -> dict[str, Any]:
    began, before = time.monotonic(), frame.ledger.executions
    role = _start(frame, form, job, number, nodes, stores)
    done = 0
    for _ in range(kills):
        goal = frame.ledger.executions + frame.chance.randint(LEAST_TASKS, MOST_TASKS)
        patience_s = frame.chance.uniform(0.1, EARLY_S) if frame.chance.random() < EARLY else PROGRESS_S
        came = wait_for(lambda goal=goal: frame.ledger.executions >= goal or not role.is_alive, patience_s)  # type: ignore[misc]
        if patience_s == PROGRESS_S and not came:
            frame.complain(f"{role.name} stands still")
        if not role.is_alive:
            break
        done += 1
        frame.fault(f"kill -9 of {role.name} after {frame.ledger.executions - before} executions")
        role.kill()
        time.sleep(frame.chance.uniform(0, 0.5))
        role.restart()
    code = role.wait(END_S)
    frame.demand(code == 0, f"{role.name} ended with exit code {code}: {role.log.read_text(errors='replace')[-500:]}")
    if form == "client" and code == 0:
        told = json.loads(role.output)
        frame.demand(told["wrong"] == 0, f"{told['wrong']} results of the client are wrong")
    executions = frame.ledger.executions - before
    frame.tell(f"{form}: {number} tasks, {executions} executions, {done} kills")
    return {"tasks": number, "executions": executions, "kills": done, "s": round(time.monotonic() - began, 1)}


def _start(frame: Frame, form: str, job: int, number: int, nodes: list[Role], stores: list[Path]) -> Role:
    journal = str(frame.folder / f"{form}.journal")
    addresses = [frame.addresses[node.name] for node in nodes]
    if form == "client":
        line = program(f"{__package__}.journal_client", journal, str(job), str(number), *addresses)
        return frame.role(f"ventilator-{form}", line).start()
    source = frame.folder / f"{form}.txt"
    source.write_text("".join(f"{tasks.number_of(job, index)}\n" for index in range(number)))
    where = [word for address in addresses for word in ("--node", address)]
    if form == "sink":
        sink, store = frame.sink("sink", local=True)
        out = ["--sink", frame.addresses[sink.name]]
    else:
        store = frame.folder / "own.db"
        out = ["-o", str(store)]
    stores.append(store)
    given = ["ventilator", f"{TASKS}:{FUNCTION}", str(source), *where, *out, *PATIENT, "--journal", journal]
    return frame.role(f"ventilator-{form}", command(*given)).start()
