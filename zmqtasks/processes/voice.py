"""Whose output it is that a worker prints, and where it goes: to our own output, to the client, or to both.

Owns what a worker was given, as far as that tells what it is at. Never touches a pipe. `seat.py` calls it.

A line belongs to the task that the progress slot shows when the line is read; a worker that is idle by then printed it
over the last one it ran. For tasks much shorter than a millisecond it may be a later task of the same chunk.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from zmqtasks.messages import JobId, Printed, Tasks
from zmqtasks.processes.events import WorkerPrinted
from zmqtasks.records import Value

if TYPE_CHECKING:
    from zmqtasks.processes.seat import Surroundings

STREAMS = ("stdout", "stderr")
_LATELY_GIVEN = 16
"""A worker holds two chunks at a time; the slot is looked at when more are remembered than this."""


class OutputStyle(Value):
    """How output is passed on.

    Args:
        label: whether each line names worker and task.
        clients_alone: whether what is sent to a client is kept from our own output, since it is the client's.
    """

    label: bool = False
    clients_alone: bool = False


class _Errand(NamedTuple):
    job: JobId
    name: str
    wanted: bool


class _Given(NamedTuple):
    number: int
    errand: _Errand
    start: int
    stop: int


class Voice:
    """What one worker prints.

    Args:
        slot: its place.
        around: what all seats share.
    """

    def __init__(self, slot: int, around: Surroundings) -> None:
        self.pid = 0
        self.hold_back = False
        """Whether what comes is the stack we asked for, and of no interest to those who read its output."""
        self._slot = slot
        self._around = around
        self._errands: dict[JobId, _Errand] = {}
        self._given: deque[_Given] = deque()
        self._count = 0

    def given(self, tasks: Tasks) -> None:
        """Take note of the work that is sent to the worker."""
        for job in tasks.jobs:
            self._errands[job.id] = _Errand(job.id, job.name, job.options.output)
        for chunk in tasks.chunks:
            self._count += 1
            if errand := self._errands.get(chunk.job):
                self._given.append(_Given(self._count, errand, chunk.start, chunk.stop))
        for ended in tasks.ended:
            self._errands.pop(ended, None)
        if len(self._given) > _LATELY_GIVEN:
            several = self._around.lanes > 1
            self._forget_before(self._count if several else self._around.table.read(self._slot).chunk)

    def printed(self, stream: int, data: bytes) -> None:
        """Pass on what was read from a pipe: whole lines, or half a line that has waited long enough.

        Args:
            stream: place in `STREAMS`.
            data: never empty.
        """
        if self.hold_back:
            return
        around = self._around
        errand, index = self._at()
        if errand and errand.wanted:
            text = data.decode("utf-8", "replace")
            piece = Printed(self._slot, self.pid, errand.job, errand.name, index, STREAMS[stream], text)
            around.emit(WorkerPrinted(self._slot, piece))
            if around.style.clients_alone:
                return
        if around.style.label:
            task = f" · {errand.name} #{index}" if errand else ""
            data = labelled(data, f"[worker {self._slot}{task}] ".encode("utf-8", "backslashreplace"))
        around.outlet.write(around.targets[stream], data)

    def _at(self) -> tuple[_Errand | None, int]:
        if self._around.lanes > 1:  # whichever began last: a line does not tell its thread
            return (self._given[-1].errand, self._given[-1].start) if self._given else (None, 0)
        progress = self._around.table.read(self._slot)
        self._forget_before(progress.chunk)
        if not self._given or self._given[0].number != progress.chunk:
            return None, 0
        given = self._given[0]
        return given.errand, min(max(progress.index, given.start), given.stop - 1)

    def _forget_before(self, number: int) -> None:
        while self._given and self._given[0].number < number:
            self._given.popleft()


def labelled(data: bytes, label: bytes) -> bytes:
    """Return lines with a label before each, and a line end behind the last; a carriage return ends a line, too."""
    lines = data.lstrip(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n").removesuffix(b"\n")
    return label + lines.replace(b"\n", b"\n" + label) + b"\n"
