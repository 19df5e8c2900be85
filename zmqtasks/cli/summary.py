"""What a node tells of itself at its end: a line for people, and a file for programs.

Owns both forms. Counts nothing itself. Called by `node_program.py` when all workers have been waited for, so that the
processor time of all of them is known.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from typing import Any

from zmqtasks.cli.exits import Exit, Refusal, count, say
from zmqtasks.metrics import Metrics

FAILURES = ("failed", "timed_out", "crashed", "out_of_memory", "lost")


class Account:
    """The account of one run, from its making on.

    Args:
        node: peer id.
        workers: how many there were at once.
    """

    def __init__(self, node: str, workers: int) -> None:
        self._node, self._workers = node, workers
        self._started_at, self._started = time.time(), time.monotonic()

    def closed(self, metrics: Metrics, exit_code: int, why: str) -> dict[str, Any]:
        """Return all of it, for `json.dumps`.

        Args:
            metrics: what the node has counted.
            exit_code: of this program.
            why: it ends.
        """
        wall_s = time.monotonic() - self._started
        times = os.times()
        workers_s = times.children_user + times.children_system
        return {
            "node": self._node,
            "start": _date(self._started_at),
            "end": _date(time.time()),
            "wall_s": round(wall_s, 3),
            "cpu": {
                "node_s": round(times.user + times.system, 3),
                "workers_s": round(workers_s, 3),
                "utilization": round(workers_s / max(1e-9, wall_s * self._workers), 4),
            },
            "workers": {"at_once": self._workers, "starts": metrics.starts, "exits": metrics.exits},
            "metrics": metrics.to_json(),
            "why": why,
            "exit_code": exit_code,
        }


def tell(account: dict[str, Any], path: str | None) -> None:
    """Print one line for people, and write the file, if one is wanted; "-" is standard output.

    Raises:
        Refusal: it cannot be written.
    """
    metrics = account["metrics"]
    failures = [f"{metrics[name]:,} {name.replace('_', ' ')}" for name in FAILURES if metrics[name]]
    tasks = ", ".join([f"{count(metrics['done'], 'task')} done", *failures])
    starts = count(account["workers"]["starts"], "worker")
    say(f"node {account['node']} ended ({account['why']}) after {account['wall_s']:.1f} s: {tasks}; {starts} started")
    if path is None:
        return
    text = json.dumps(account) + "\n"
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        with open(path, "w") as file:
            file.write(text)
    except OSError as error:
        raise Refusal(Exit.FAILED, f"the summary cannot be written: {error}") from error


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
