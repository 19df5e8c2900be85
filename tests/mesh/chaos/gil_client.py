"""A program whose client cannot do anything for a while: something holds the lock of the interpreter.

    python -m tests.mesh.chaos.gil_client JOB HOLD_S [ADDRESS ...]

Without addresses it starts a node of its own. Prints how many tasks there were. Started by `gil.py`.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time

import zmqtasks
from tests.mesh.chaos import tasks

TASKS = 500
"""Of 50 ms: a part is done when it holds, a part is with the nodes, a part is not sent yet."""
BEGUN = 40
RESULT_S = 300.0


def hold_the_gil(seconds: float) -> None:
    """Call C code that does not let go of the lock: functions of a PyDLL are called with it."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def main(job: int, hold_s: float, addresses: list[str]) -> None:
    numbers = [tasks.number_of(job, index) for index in range(TASKS)]
    with zmqtasks.Client(*addresses, workers=None if addresses else 2) as client:
        futures = [client.submit(tasks.note_50ms, number) for number in numbers]
        futures[BEGUN].result(RESULT_S)
        before, began = sum(future.done() for future in futures), time.monotonic()
        hold_the_gil(hold_s)
        held_s = time.monotonic() - began
        values = [future.result(RESULT_S) for future in futures]
    print(json.dumps({"tasks": TASKS, "wrong": sum(v != n for v, n in zip(values, numbers, strict=True)),
                      "before": before, "held_s": round(held_s, 2)}))  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
