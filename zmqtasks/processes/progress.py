"""What each worker is doing, in memory shared with its supervisor: one slot of eight 8-byte fields a worker.

Owns the layout. Never waits, never signals: a store is one bytecode in the worker, a look costs the supervisor nothing
and works while the worker holds its interpreter lock, hangs, or is dead. `workforce.py` reads, `execution.py` writes.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from dataclasses import dataclass
from enum import IntEnum

SLOT_BYTES = 64
"""One cache line, so that two workers never write to the same one."""
FIELDS = SLOT_BYTES // 8

CHUNK, ATTEMPT, INDEX, PHASE, STARTED = range(5)
"""Places of the fields in a slot."""


class WorkPhase(IntEnum):
    """What a worker does with the chunk at hand."""

    IDLE = 0
    LOADING = 1
    """The initializer, or importing the function and decoding arguments."""
    RUNNING = 2
    """In the function, for task `index`."""
    PACKING = 3
    """Encoding and sending results of tasks before `index`."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a worker is, or where it was when it died."""

    chunk: int
    """How many chunks it has begun; the first one is 1."""
    attempt: int
    """`Chunk.attempt` of the chunk it is at."""
    index: int
    """The task it is at, counted in its job."""
    phase: WorkPhase
    started_ns: int
    """`time.monotonic_ns()` when it came to this task or phase; up to 1 ms too early where tasks are short."""


class ProgressTable:
    """The slots of all workers of a node, without a name that could be left behind.

    Args:
        slots: how many there are.
    """

    def __init__(self, slots: int) -> None:
        self.fd = _anonymous_file()
        os.ftruncate(self.fd, slots * SLOT_BYTES)
        self._map = mmap.mmap(self.fd, slots * SLOT_BYTES)
        self._cells = memoryview(self._map).cast("Q")

    def read(self, slot: int) -> Progress:
        """Return what `slot` says.

        The fields are read in the reverse of the order of their writing, so that a task is never seen with the start of
        the one before it: it would look older than it is.
        """
        base = slot * FIELDS
        cells = self._cells
        chunk, attempt, index, phase = (
            cells[base + CHUNK],
            cells[base + ATTEMPT],
            cells[base + INDEX],
            cells[base + PHASE],
        )
        known = phase if phase <= WorkPhase.PACKING else WorkPhase.RUNNING  # a task may have scribbled over it
        return Progress(chunk, attempt, index, WorkPhase(known), cells[base + STARTED])

    def clear(self, slot: int) -> None:
        """Make `slot` ready for another worker."""
        for field in range(FIELDS):
            self._cells[slot * FIELDS + field] = 0

    def close(self) -> None:
        """Give the memory back; a second call does nothing."""
        if self.fd < 0:
            return
        self._cells.release()
        self._map.close()
        os.close(self.fd)
        self.fd = -1


def slot_for_writing(fd: int, slot: int) -> memoryview:
    """Return the fields of one slot, in the worker that owns it; `fd` may be closed afterwards."""
    shared = mmap.mmap(fd, os.fstat(fd).st_size)
    return memoryview(shared).cast("Q")[slot * FIELDS : (slot + 1) * FIELDS]


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("zmqtasks-progress", os.MFD_CLOEXEC)
    import tempfile  # workers, which import this module, need not have it

    fd, path = tempfile.mkstemp()
    with contextlib.suppress(OSError):
        os.unlink(path)
    return fd
