"""A node that notes how long its workers are missing: from a death being seen until the next worker is there.

Owns the notes, two lists of milliseconds in the JSON file that `OBSERVED_VARIABLE` names: `served`, until as many
workers take work as should, and `ready`, until a process that was started after the death is ready. Launched by
`peers/mesh.py` in place of `zmqtasks.beginning`; changes nothing of the node but to listen.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from typing import Any

from zmqtasks import serving
from zmqtasks.node.shell import Node
from zmqtasks.processes.events import WorkerEvent, WorkerExited, WorkerReady

OBSERVED_VARIABLE = "BENCH_OBSERVED"


class _Notes:
    def __init__(self) -> None:
        self.ready: list[float] = []
        self.served: list[float] = []
        self.died: deque[float] = deque()
        self.short_since: list[float] = []

    def note(self, node: Any, event: WorkerEvent, began: float) -> None:
        now = time.perf_counter()
        if isinstance(event, WorkerExited):
            self.died.append(began)
            self.short_since.append(began)
        elif isinstance(event, WorkerReady) and self.died:
            self.ready.append(1000 * (now - self.died.popleft()))
        missing = node._options.worker_count() - node._slots.serving()
        while len(self.short_since) > missing:
            self.served.append(1000 * (now - self.short_since.pop(0)))


def main(report_fd: int) -> None:
    """Be the node of the program that launched this one, and write the notes at the end."""
    notes, handle = _Notes(), Node._worker_event

    def observed(self: Node, event: WorkerEvent) -> None:
        began = time.perf_counter()
        handle(self, event)
        notes.note(self, event, began)

    Node._worker_event = observed  # type: ignore[method-assign]
    try:
        serving.main(report_fd)
    finally:
        with open(os.environ[OBSERVED_VARIABLE], "w") as file:
            json.dump({"ready": notes.ready, "served": notes.served}, file)
