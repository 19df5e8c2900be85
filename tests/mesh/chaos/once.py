"""Tasks that are to be run at most once, under everything that makes others run again.

Promised: none is begun twice, whatever dies, and each ends: with its result, as `TaskLost` or `WorkerCrashed`, or as
cancelled.
Nodes are killed, or stopped for longer than the silence after which they are given up, so that they tell late what they
have done; workers are killed; calls are cancelled.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from concurrent.futures import CancelledError, Future, wait
from typing import Any

from tests.mesh.chaos import tasks
from tests.mesh.chaos.frame import Frame
from tests.mesh.chaos.roles import READY_S, Role, wait_for
from zmqtasks import Client, TaskLost, WorkerCrashed

NODES, WORKERS = 2, 2
TASKS = 2000
CANCELLED = range(TASKS // 2, TASKS)
END_S = 300.0
SILENT_S = 12.0
"""Beyond the silence after which a session is closed (10 s)."""


def run(frame: Frame) -> dict[str, Any]:
    """Make `frame.times` faults, each in a job of its own."""
    nodes = [frame.node(f"node-{n}", workers=WORKERS, local=n == 0) for n in range(NODES)]
    ends: Counter[str] = Counter()
    results: dict[int, list[bool]] = {}
    with Client(*(frame.addresses[node.name] for node in nodes)) as client:
        for job, kind in zip(range(frame.times), itertools.cycle(("worker", "node", "cancel", "stop")), strict=False):
            futures = _begin(frame, client, job)
            _harm(frame, kind, frame.chance.choice(nodes), futures)
            _, open_ = wait(futures, END_S)
            frame.demand(not open_, f"{len(open_)} tasks have not ended after {END_S:.0f} s")
            told = [_end_of(future) for future in futures]
            ends.update(told)
            results[job] = [end == "ok" for end in told]
        # A node that was given up and went on tells of its tasks until it is heard.
        time.sleep(1.0)
    counts = frame.ledger.counts(dict.fromkeys(range(frame.times), TASKS))
    twice = sum(times > 1 for count in counts.values() for times in count)
    invented = sum(
        ok and not times for job, count in counts.items() for ok, times in zip(results[job], count, strict=True)
    )
    frame.demand(not twice, f"{twice} tasks were begun twice")
    frame.demand(not invented, f"{invented} tasks have a result and were not executed")
    odd = set(ends) - {"ok", "cancelled", TaskLost.__name__, WorkerCrashed.__name__}
    frame.demand(not odd, f"tasks ended as {odd}")
    return {"tasks": TASKS * frame.times, "begun_twice": twice, "ends": dict(ends)}


def _begin(frame: Frame, client: Client, job: int) -> list[Future[int]]:
    once = client.options(retry=False)
    futures = [once.submit(tasks.note_1ms, tasks.number_of(job, index)) for index in range(TASKS)]
    frame.demand(frame.await_progress(TASKS // 10), "nothing is executed")
    return futures


def _harm(frame: Frame, kind: str, node: Role, futures: list[Future[int]]) -> None:
    match kind:
        case "worker":
            wait_for(node.children, READY_S)
            workers = node.children()
            frame.fault(f"kill -9 of a child of {node.name}")
            node.kill_process(frame.chance.choice(workers))
        case "node":
            frame.fault(f"kill -9 of {node.name}")
            node.kill()
            node.restart()
            node.await_ready()
        case "cancel":
            frame.fault(f"{len(CANCELLED)} calls are cancelled")
            for index in CANCELLED:
                futures[index].cancel()
        case _:
            frame.fault(f"SIGSTOP of {node.name} without its workers for {SILENT_S:.0f} s")
            node.stop()
            time.sleep(SILENT_S)
            node.go_on()


def _end_of(future: Future[int]) -> str:
    """Return how a task has ended."""
    if not future.done():
        return "open"
    try:
        error = future.exception()
    except CancelledError:
        return "cancelled"
    return "ok" if error is None else type(error).__name__
