"""One worker process on a fake clock: what it has, what it is at, and what it wrote that nobody has read yet.

Owns no time and no chance: `workers.py` lets it live.
"""

from __future__ import annotations

from collections import deque

from zmqtasks.messages import Chunk, Job, JobId, Outcome
from zmqtasks.records import Entity, field, replace
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
    chunks: deque[tuple[int, Chunk]] = field(default_factory=deque)
    """What it has not come to, each with its position."""
    begun: int = 0
    given: int = 0
    """How many tasks it was ever given; positions count them."""
    position: int = 0
    """Of the first task of the chunk it is at."""
    taken_until: int = 0
    """Position up to which it was told not to begin some."""
    stretch: Stretch | None = None
    timer: FakeTimer | None = None
    written: deque[tuple[Outcome, ...]] = field(default_factory=deque)

    def give(self, chunk: Chunk) -> None:
        """Put a chunk behind what it has."""
        self.chunks.append((self.given, chunk))
        self.given += chunk.stop - chunk.start

    def not_begun(self) -> tuple[int, int]:
        """Return the positions between which it has tasks that it has not begun."""
        begun = [self.position + at.stop - at.chunk.start for at in (self.stretch,) if at]
        ends = [self.position + at.chunk.stop - at.chunk.start for at in (self.stretch,) if at]
        ends += [position + chunk.stop - chunk.start for position, chunk in self.chunks]
        begun += [position for position, _ in self.chunks]
        return (begun[0], ends[-1]) if begun else (self.given, self.given)

    def forget(self, first: int) -> None:
        """Begin nothing from this position on."""
        kept = [(at, replace(chunk, stop=min(chunk.stop, chunk.start + first - at))) for at, chunk in self.chunks]
        self.chunks = deque((at, chunk) for at, chunk in kept if chunk.start < chunk.stop)
        if self.stretch:
            chunk = self.stretch.chunk
            self.stretch.chunk = replace(chunk, stop=min(chunk.stop, chunk.start + first - self.position))
