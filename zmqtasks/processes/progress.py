"""What each worker is doing, in memory shared with its supervisor: one slot of 8-byte fields a worker.

Owns the layout. Never waits, never signals: a store is one bytecode in the worker, a look costs the supervisor nothing
and works while the worker holds its interpreter lock, hangs, or is dead. `workforce.py` reads, `execution.py` writes.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Callable

from zmqtasks.machines.phases import WorkPhase as WorkPhase
from zmqtasks.processes import linux
from zmqtasks.records import Value

SLOT_BYTES = 192
"""Three cache lines, so that two workers never write to the same one."""
FIELDS = SLOT_BYTES // 8

CHUNK, ATTEMPT, INDEX, PHASE, STARTED = range(5)
"""Places of the fields in a slot; the worker's loop writes them."""
CLAIMED, STOP, UNTIL = range(5, 8)
"""Which tasks the worker may begin, see `claims.py`: it writes the first, its supervisor the others."""
DONE, TOTAL, RENEWED, OF_CHUNK, OF_INDEX = range(8, 13)
"""What a task told of its progress, and which one that was, so that no loop needs to reset it; the task writes them."""
ASKED_CHUNK, ASKED_INDEX, ASKED_WHY = range(13, 16)
"""The task that is to be interrupted: written by the supervisor; chunk 0 for none."""
PASSED = 16
"""Of the worker, to the three of `claims.py`."""
PRINTED_CHUNK, PRINTED_INDEX, FROM_OUT, FROM_ERR, OUT, ERR = range(17, 23)
"""What was written to standard output and error: bytes in all, and those before the task that printed last."""
OVERRUN, STALLED = 1, 2
"""Values of `ASKED_WHY`: it passed its `timeout`, or its `stall_timeout`."""


class Progress(Value):
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
    done: int = 0
    """What this task has told of its progress, in units of its own."""
    total: int = 0
    renewed_ns: int = 0
    """When it did so last; 0 for never."""


class ProgressTable:
    """The slots of all workers of a node, without a name that could be left behind.

    Args:
        slots: how many there are.
        file: that begins with them, large enough, such as a flight recorder; it stays the caller's.
    """

    def __init__(self, slots: int, file: int | None = None) -> None:
        self.fd = _anonymous_file() if file is None else os.dup(file)
        if file is None:
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
        known = phase if phase <= WorkPhase.IMPORTING else WorkPhase.RUNNING  # a task may have scribbled over it
        told = (0, 0, 0)
        if (cells[base + OF_CHUNK], cells[base + OF_INDEX]) == (chunk, index):
            told = cells[base + DONE], cells[base + TOTAL], cells[base + RENEWED]
        return Progress(chunk, attempt, index, WorkPhase(known), cells[base + STARTED], *told)

    def output_before(self, slot: int, at: Progress) -> tuple[int, int]:
        """Return how many bytes of its standard output and error a worker had written before it came to this task.

        None where it is at no task. Too few where C code or other processes wrote as well, which nobody counts; never
        too many.
        """
        if at.phase is WorkPhase.IDLE:
            return 0, 0
        base, cells = slot * FIELDS, self._cells
        index = cells[base + PRINTED_INDEX]
        printed = index == at.index or (index < at.index and at.phase is WorkPhase.PACKING)
        if cells[base + PRINTED_CHUNK] == at.chunk and printed:
            return cells[base + FROM_OUT], cells[base + FROM_ERR]
        return cells[base + OUT], cells[base + ERR]

    def ask(self, slot: int, chunk: int, index: int, why: int) -> None:
        """Write down which task of a worker is to be interrupted; the worker looks when it gets the signal."""
        base, cells = slot * FIELDS, self._cells
        cells[base + ASKED_WHY], cells[base + ASKED_INDEX] = why, index
        cells[base + ASKED_CHUNK] = chunk  # last: it makes the others hold

    def take_back(self, slot: int, given: int) -> int:
        """Have a worker not begin the later half of what it has not begun; return from which position on it will not.

        Positions are those of `claims.py`. What the worker passes over beyond that, it tells.

        Args:
            slot: of the worker.
            given: position one past the last task it was given; returned where it may have begun all, or no one can
                know at once.
        """
        return take_back(slot_of(self._cells, slot), given, linux.fence)

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


def take_back(slot: memoryview, given: int, fence: Callable[[], bool]) -> int:
    """Write what is taken back into the fields of one slot; see `ProgressTable.take_back`.

    `fence` has both sides see each other's writes, and tells whether it could.
    """
    claimed, until = slot[CLAIMED], slot[UNTIL]
    passed = slot[PASSED] >= until  # not what is claimed: the worker may be about to look
    if not passed and until != given:
        return given  # two ranges cannot be told at once
    end = given if passed else slot[STOP]
    if claimed >= end:
        return given
    slot[STOP] = first = claimed + (end - claimed) // 2
    slot[UNTIL] = given  # last: until now the range was empty, or ended where it does
    return max(first, slot[CLAIMED]) if fence() else given


def slots_for_writing(fd: int) -> memoryview:
    """Return the fields of all slots, for `slot_of`, in a worker or in what forks it; `fd` may be closed afterwards."""
    return memoryview(mmap.mmap(fd, os.fstat(fd).st_size)).cast("Q")


def slot_of(slots: memoryview, slot: int) -> memoryview:
    """Return the fields of one slot, for the worker that owns it."""
    return slots[slot * FIELDS : (slot + 1) * FIELDS]


def note_output(slot: memoryview, total: int, count: int) -> None:
    """Take note that so many bytes were written to what is counted in the field `total`; the worker calls it."""
    chunk, index = slot[CHUNK], slot[INDEX]
    if slot[PRINTED_INDEX] != index or slot[PRINTED_CHUNK] != chunk:
        slot[FROM_OUT], slot[FROM_ERR] = slot[OUT], slot[ERR]
        slot[PRINTED_INDEX] = index
        slot[PRINTED_CHUNK] = chunk  # last: it makes the others hold
    slot[total] += count


def slot_to_rehearse() -> memoryview:
    """Return fields that nobody looks at."""
    return memoryview(bytearray(SLOT_BYTES)).cast("Q")


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("zmqtasks-progress", os.MFD_CLOEXEC)
    import tempfile  # workers, which import this module, need not have it

    fd, path = tempfile.mkstemp()
    with contextlib.suppress(OSError):
        os.unlink(path)
    return fd
