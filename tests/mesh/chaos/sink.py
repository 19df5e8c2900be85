"""The standalone sink dies by kill -9 under load, and is started again on the same file; then it stays away.

Half of the deaths each with SQLite and with JSON lines, under tasks of 1 ms of which each tenth has 10 KB of results.
Promised: nothing is lost, each task is recorded once, none is run again, and a node holds no more than its window on
top of what it holds at rest. While the sink is away nodes stop starting tasks; afterwards all is as fast as before.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.mesh.chaos.frame import Frame
from tests.mesh.chaos.plain import plain
from tests.mesh.chaos.roles import Role, wait_for
from zmqtasks.options import MIB, NodeOptions

BETWEEN_TASKS = 300
MOST_PAUSE_S = 3.0
END_S = 300.0
MOST_EXECUTIONS = 1.01
QUICK = 20
"""Below so many deaths the sink stays away for a shorter time."""
AWAY_S, SHORT_AWAY_S = 30.0, 12.0
STANDSTILL_S = 5.0
RATE_S = 6.0
HEARTBEATS_S = 2.0
LEAST_RATE = 0.8
WINDOW_BYTES = NodeOptions().window_bytes
"""Arguments of one client and its unacknowledged results: what docs/reliability.md calls the bound."""
ALLOWANCE = 1.2


class Held:
    """The memory of nodes: at rest, and the most since."""

    def __init__(self, nodes: list[Role]) -> None:
        self._nodes = nodes
        self._rest = {node.name: self._of(node) for node in nodes}
        self.most = dict(self._rest)

    def look(self) -> None:
        for node in self._nodes:
            self.most[node.name] = max(self.most[node.name], self._of(node))

    @staticmethod
    def _of(node: Role) -> int:
        usage = node.usage()
        return usage.memory_bytes if usage else 0

    @property
    def of_bound(self) -> float:
        """Return the largest part of the bound that any node held."""
        return max(self.most[name] / (rest + WINDOW_BYTES) for name, rest in self._rest.items())

    @property
    def grown_bytes(self) -> int:
        """Return by how much any node has grown, at most."""
        return max(self.most[name] - rest for name, rest in self._rest.items())


def run(frame: Frame) -> dict[str, Any]:
    """Kill `frame.times` sinks, then keep one away."""
    some = frame.times // 2
    jobs = (_deaths(frame, 0, "lines.jsonl", some), _deaths(frame, 1, "table.db", frame.times - some, away=True))
    verdict = frame.judge(
        {number: job.tasks for number, job in enumerate(jobs)}, *(plain(job.results, frame.folder) for job in jobs)
    )
    of_bound, grown = max(job.held.of_bound for job in jobs), max(job.held.grown_bytes for job in jobs)
    frame.demand(verdict.executions_per_task <= MOST_EXECUTIONS, f"{verdict.executions_per_task:.3f} executions a task")
    frame.demand(of_bound <= ALLOWANCE, f"a node held {of_bound:.2f} of its bound")
    held = {"of_bound": round(of_bound, 3), "grown_mib": round(grown / MIB, 1), "bound_mib": WINDOW_BYTES // MIB}
    return verdict.figures() | held | jobs[1].rates


class Job(NamedTuple):
    """What came of the tasks whose results went to one file."""

    tasks: int
    results: Path
    held: Held
    rates: dict[str, Any]


def _deaths(frame: Frame, number: int, file: str, times: int, *, away: bool = False) -> Job:
    nodes = [frame.node(f"{file}-node-{n}", local=n == 0) for n in range(2)]
    sink, results = frame.sink(f"{file}-sink", file=file)
    ventilator = frame.ventilator(f"{file}-ventilator", "note_sized", nodes, sink=sink)
    feeder = frame.feed(ventilator, number)
    frame.await_progress(BETWEEN_TASKS)
    held = Held(nodes)
    for _ in range(times):
        if not frame.await_progress(BETWEEN_TASKS):
            frame.complain("the mesh stands still")
            break
        _wait(held, frame.chance.uniform(0.0, 0.5))
        pause_s = frame.chance.uniform(0.0, MOST_PAUSE_S)
        frame.fault(f"kill -9 of the sink that writes {file}, for {pause_s:.2f} s")
        sink.kill()
        _wait(held, pause_s)
        sink.restart()
        sink.await_ready()
    rates = _stay_away(frame, sink, held) if away else {}
    frame.await_progress(BETWEEN_TASKS)
    tasks = feeder.end()
    code = ventilator.wait(END_S)
    held.look()
    frame.demand(code == 0, f"the ventilator ended with exit code {code}")
    for role in (ventilator, *nodes, sink):
        role.end()
    return Job(tasks, results, held, rates)


def _stay_away(frame: Frame, sink: Role, held: Held) -> dict[str, Any]:
    """Keep the sink away; nodes come to a stop, and are as fast as before once it is back."""
    away_s = AWAY_S if frame.times >= QUICK else SHORT_AWAY_S
    before = _rate(frame)
    frame.fault(f"kill -9 of the sink, for {away_s:g} s")
    sink.kill()
    _wait(held, away_s - STANDSTILL_S)
    executions, grown = frame.ledger.executions, held.grown_bytes
    _wait(held, STANDSTILL_S)
    begun = frame.ledger.executions - executions
    frame.demand(begun == 0, f"{begun} tasks were begun {away_s - STANDSTILL_S:g} s after the sink was gone")
    frame.demand(held.grown_bytes - grown < MIB, "memory of a node grew while nothing was begun")
    sink.restart()
    sink.await_ready()
    frame.await_progress(1)
    time.sleep(HEARTBEATS_S)
    after = _rate(frame)
    frame.tell(f"{before:,.0f} tasks/s before, {after:,.0f} after")
    frame.demand_in_time(after >= LEAST_RATE * before, f"{after:,.0f} tasks/s after, {before:,.0f} before")
    return {"away_s": away_s, "rate_before": round(before), "rate_after": round(after)}


def _rate(frame: Frame) -> float:
    executions, began = frame.ledger.executions, time.monotonic()
    time.sleep(RATE_S)
    return (frame.ledger.executions - executions) / (time.monotonic() - began)


def _wait(held: Held, seconds: float) -> None:
    """Wait, and look at the memory of nodes meanwhile."""

    def looked() -> bool:
        held.look()
        return False

    wait_for(looked, seconds)
