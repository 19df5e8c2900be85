"""One worker process on a fake clock: what it has, what it is at, and what it wrote that nobody has read yet.

Owns no time and no chance: `workers.py` lets it live.
"""

from __future__ import annotations

from collections import deque

from zmqtasks.messages import Chunk, Job, JobId
from zmqtasks.processes.claims import Claims
from zmqtasks.processes.events import WorkerSaid, WorkerSkipped
from zmqtasks.processes.progress import slot_to_rehearse, take_back
from zmqtasks.records import Entity, field
from zmqtasks.testing.clock import FakeTimer
from zmqtasks.testing.stretches import Stretch


class WorkerProcess(Entity):
    """One process."""

    slot: int
    pid: int
    started_at: float
    ready: bool = False
    stopping: bool = False
    dead: bool = False
    dies_packing: bool = False
    jobs: dict[JobId, Job] = field(default_factory=dict)
    chunks: deque[Chunk] = field(default_factory=deque)
    """What it has not come to."""
    begun: int = 0
    stretch: Stretch | None = None
    timer: FakeTimer | None = None
    written: deque[WorkerSaid | WorkerSkipped] = field(default_factory=deque)
    cells: memoryview = field(default_factory=slot_to_rehearse)
    """Its slot, as far as `claims.py` goes."""
    _claims: Claims | None = None

    @property
    def claims(self) -> Claims:
        """Return what it may begin."""
        if self._claims is None:
            self._claims = Claims(self.cells, lambda first, until: self.written.append(self._skipped(first, until)))
        return self._claims

    def _skipped(self, first: int, until: int) -> WorkerSkipped:
        return WorkerSkipped(self.slot, first, until)

    def take_back(self, given: int, *, fenced: bool) -> int:
        """Have it not begin half of what it has not begun, as a node does."""
        return take_back(self.cells, given, lambda: fenced)
