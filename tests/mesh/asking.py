"""Functions of tests whose tasks ask which one they are; importable in workers by name."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import zmqtasks


def told(task: zmqtasks.Task | None) -> dict[str, Any]:
    """Return what a task knows of itself, and where it ran."""
    assert task is not None
    return {
        "id": task.id,
        "run_count": task.run_count,
        "submitted_at": task.submitted_at,
        "trace_id": task.trace_id,
        "pid": os.getpid(),
    }


def who(_: object = None) -> dict[str, Any]:
    return told(zmqtasks.current_task())


def who_in_a_thread() -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: found.append(who()))
    thread.start()
    thread.join()
    return found[0]


def run_counts(ledger: str, wishes: tuple[str, ...]) -> list[int]:
    """Note the run count; then do what the next wish says, and return all counts when there is none left."""
    task = zmqtasks.current_task()
    assert task is not None
    with open(ledger, "a") as file:
        file.write(f"{task.run_count} {task.submitted_at} {task.trace_id}\n")
    lines = Path(ledger).read_text().splitlines()
    if len(lines) <= len(wishes):
        match wishes[len(lines) - 1]:
            case "retry":
                zmqtasks.retry()
            case "requeue":
                zmqtasks.requeue()
            case "respawn":
                zmqtasks.respawn()
            case "raise":
                raise ValueError("as asked")
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "kill node":
                os.kill(os.getppid(), signal.SIGKILL)
            case "stop node":
                zmqtasks.stop_node(hand_back=True)
    assert len({line.split(maxsplit=1)[1] for line in lines}) == 1, "date and trace are as before"
    return [int(line.split()[0]) for line in lines]


class Temporary(Exception):
    """Will be better next time."""


def is_temporary(error: BaseException) -> bool:
    return "temporary" in str(error)


def badly_asked(error: BaseException) -> bool:
    raise RuntimeError("the predicate is broken")


def fail(ledger: str, error: str) -> None:
    with open(ledger, "a") as file:
        file.write("run\n")
    match error:
        case "hang":
            time.sleep(60)
        case "Temporary":
            raise Temporary
        case _:
            raise {"OSError": OSError, "ValueError": ValueError}[error](f"{error}, temporary or not")


class Retried(zmqtasks.Worker[None]):
    config = zmqtasks.WorkerConfig(retries=2, retry_on=(OSError, Temporary))

    def run(self, task: zmqtasks.Task) -> None:
        fail(*task.args)

    def on_retry(self, task: zmqtasks.Task) -> None:
        with open(task.args[0], "a") as file:
            file.write("on_retry\n")

    def on_max_retries(self, task: zmqtasks.Task) -> None:
        with open(task.args[0], "a") as file:
            file.write("on_max_retries\n")
