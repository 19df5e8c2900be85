"""What was executed, written down by the tasks themselves: one record an execution, whatever becomes of its result.

Owns the format of the file: records of 24 bytes, each appended by one write to a file opened with O_APPEND, so that
processes that are killed leave whole records. Tasks write (`tasks.py`), the oracle reads. Numbers of tasks count from 0
in each job.
"""

from __future__ import annotations

import os
import struct
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

RECORD = struct.Struct("<IIQQ")
BLOCK_BYTES = RECORD.size * 65536
MOST = 255
"""Executions of one task that are counted."""


class Entry(NamedTuple):
    """One execution."""

    job: int
    pid: int
    task: int
    at_ns: int
    """Of the monotonic clock, when it began."""


def append(fd: int, job: int, index: int) -> None:
    """Note that the task is executed here and now; `fd` was opened with O_APPEND."""
    os.write(fd, RECORD.pack(job, os.getpid(), index, time.monotonic_ns()))


class Ledger:
    """The file, for the one who judges.

    Args:
        path: created where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    @property
    def executions(self) -> int:
        """Return how many executions have begun; cheap at any length."""
        return self.path.stat().st_size // RECORD.size

    def entries(self) -> Iterator[Entry]:
        """Yield all of them, in the order in which they were written."""
        with open(self.path, "rb") as file:
            while block := file.read(BLOCK_BYTES):
                whole = len(block) - len(block) % RECORD.size
                yield from map(Entry._make, RECORD.iter_unpack(block[:whole]))

    def counts(self, tasks: dict[int, int]) -> dict[int, bytearray]:
        """Return for each job how often each task was executed.

        Args:
            tasks: how many tasks each job has.

        Raises:
            ValueError: the ledger has a task that nobody submitted.
        """
        counts = {job: bytearray(number) for job, number in tasks.items()}
        with open(self.path, "rb") as file:
            while block := file.read(BLOCK_BYTES):
                for job, pid, index, _ in RECORD.iter_unpack(block[: len(block) - len(block) % RECORD.size]):
                    own = counts.get(job)
                    if own is None or index >= len(own):
                        raise ValueError(f"process {pid} executed task {index} of job {job}, which nobody submitted")
                    if own[index] < MOST:
                        own[index] += 1
        return counts


def histogram(count: bytearray) -> dict[int, int]:
    """Return how many tasks were executed how often."""
    return dict(sorted(Counter(count).items()))
