"""How many workers a node is to have, and where each of them stands.

Owns what a slot is and what follows from it alone. Decides nothing about whom to start or end; `slots.py` does.
"""

from __future__ import annotations

from enum import StrEnum

from zmqtasks.records import Entity, Value

STOP_GRACE_S = 5.0
"""How long a worker may take to end by itself after it was asked to."""
ROOM = 8
"""So many slots may be lost and be replaced; beyond, fewer workers serve."""
NEVER = float("inf")


class Staffing(Value):
    """How many workers, and when one is replaced.

    Args:
        workers: how many serve at once.
        standby: how many more stand ready.
        more: so many may be added to these for a while, where workers end faster than others get ready.
        max_tasks_per_worker: a worker is replaced after about so many tasks; 0 for never.
        max_worker_age_s: a worker is replaced about so many seconds after it was ready.
        spread: both vary by up to this fraction from worker to worker, so that they do not end together.
        start_timeout_s: how long a worker may take from its start until it is ready.
        end_timeout_s: how long it may take to end by itself after it was asked to, or said that it would.
        room: how many slots may be lost and be replaced.
        lenders: how many workers may have lent their places at once.
    """

    workers: int
    standby: int = 0
    max_tasks_per_worker: int = 0
    spread: float = 0.1
    max_worker_age_s: float = NEVER
    start_timeout_s: float = NEVER
    end_timeout_s: float = STOP_GRACE_S
    room: int = ROOM
    more: int = 0
    lenders: int = 0

    def numbers(self) -> range:
        """Return the numbers that slots may have."""
        return range(self.workers + self.standby + self.more + self.lenders + self.room)


class State(StrEnum):
    """Where a slot stands."""

    EMPTY = "empty"
    STARTING = "starting"
    SPARE = "spare"
    SERVING = "serving"
    RETIRING = "retiring"
    STOPPING = "stopping"
    LOST = "lost"


class Slot(Entity):
    """Where one worker stands, and what is to become of it."""

    state: State = State.EMPTY
    tasks_left: float = NEVER
    start_at: float = 0.0
    kill_at: float = NEVER
    old_at: float = NEVER
    last: bool = False
    """Whether no other worker follows this one, which is about to end."""
    waits: bool = False
    """Its task waits for others, and it has left what else it had to them."""
    returns: int = 0
    """It would have a place again; the lower the number, the sooner."""
    goes_on: bool = False
    """It does not wait for that: its time was up."""

    @property
    def lends(self) -> bool:
        """Whether it does not count among those that serve, though it does."""
        return self.waits and self.state is State.SERVING

    def end_wait(self) -> None:
        """Take note that its task waits no more, or that nobody cares."""
        self.waits, self.returns, self.goes_on = False, 0, False
