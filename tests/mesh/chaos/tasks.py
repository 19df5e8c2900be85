"""Functions that a mesh under faults is given: each notes its execution in the ledger, and returns its number.

A number is the index of the task in its job, and the number of the job above: `number_of`. Where the ledger is stands
in the environment of the node, so that nothing of it travels with a task. Imported by workers: keep it small.
"""

from __future__ import annotations

import functools
import os
import signal
import time

from tests.mesh.chaos import ledger

LEDGER, FOLDER = "CHAOS_LEDGER", "CHAOS_FOLDER"
OVERSLEPT = "overslept-"
"""How files begin that stand for a task that failed so."""
JOB_SHIFT = 40
INDEX_MASK = (1 << JOB_SHIFT) - 1
LONG_STOP_S = 13.0
"""Beyond the silence after which a session is closed (10 s), with room for the partner to notice."""


class Overslept(Exception):
    """A task was stopped together with its whole node, for so long that it must be running elsewhere by now."""


def number_of(job: int, index: int) -> int:
    return job << JOB_SHIFT | index


def job_and_index(number: int) -> tuple[int, int]:
    return number >> JOB_SHIFT, number & INDEX_MASK


@functools.cache
def _ledger() -> int:
    return os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def note(number: int) -> int:
    """Take some microseconds."""
    ledger.append(_ledger(), *job_and_index(number))
    return number


def note_1ms(number: int) -> int:
    ledger.append(_ledger(), *job_and_index(number))
    time.sleep(0.001)
    return number


def note_sized(number: int) -> int | list[int | str]:
    """Take 1 ms, and return 10 KB with each tenth number."""
    note_1ms(number)
    return [number, "x" * 10_000] if number % 10 == 0 else number


def note_50ms(number: int) -> int:
    ledger.append(_ledger(), *job_and_index(number))
    time.sleep(0.05)
    return number


def kill_the_node(number: int) -> int:
    """End the supervisor of this worker, and go on as if nothing were."""
    ledger.append(_ledger(), *job_and_index(number))
    os.kill(os.getppid(), signal.SIGKILL)
    return number


def frozen_mark(folder: str, node: int) -> str:
    """Return the file that stands for: this node was stopped with all its workers."""
    return os.path.join(folder, f"frozen-{node}")


def note_or_oversleep(number: int) -> int:
    """Take 5 ms, and fail where a long stop of the whole node came in between: that failure is stale."""
    ledger.append(_ledger(), *job_and_index(number))
    began = time.monotonic()
    time.sleep(0.005)
    folder = os.environ[FOLDER]
    if time.monotonic() - began > LONG_STOP_S and os.path.exists(frozen_mark(folder, os.getppid())):
        open(os.path.join(folder, f"{OVERSLEPT}{number}"), "w").close()
        raise Overslept(f"task {number} was stopped for {time.monotonic() - began:.1f} s")
    return number


def filled(nbytes: int) -> bytes:
    return b"x" * nbytes


def note_lent(line: str) -> str:
    """Return so much that peers of one host lend it."""
    ledger.append(_ledger(), 0, 0)
    return "x" * 1_000_000


def note_copied(line: str) -> str:
    """Return what travels in its message."""
    ledger.append(_ledger(), 0, 0)
    return "x" * 100_000


def long_len(data: bytes) -> int:
    time.sleep(0.01)
    return len(data)


def hour_long_len(data: bytes) -> int:
    time.sleep(3600)
    return len(data)
