"""When an idle worker takes over from a busy one, and from which.

Owns the moment: a worker that has been idle for a little while gets half of what another one was given and has not
begun, be it behind a long task or in a chunk that turned out to be long. Never sees a task, and moves none:
`holding.py` does, when the worker itself or its progress slot has told what was not begun.

The little while makes this a matter of the end of a job, and of chunks of unequal worth: while work comes in, who is
idle gets that first.
"""

from __future__ import annotations

from collections.abc import Collection

from zmqtasks.records import Entity

PATIENCE_S = 0.002
"""Idle for so long, and the other silent for so long: what is left of a short chunk is done sooner than moved."""
SILENT_S = 0.01
"""Who tells nothing for so long is at a long task, whatever was expected: nothing more is put behind that."""
NEVER = float("inf")


class Burden(Entity):
    """What a worker has before it, as far as this matters here.

    Positions count the tasks a worker was ever given, in the order of their giving.
    """

    given: int = 0
    """Position one past the last task it was given."""
    behind: int = 0
    """How many tasks it has that it may not have begun."""
    heard_at: float = 0.0
    """When it last told of something, or was given something while it was idle."""
    eased_at: float = -NEVER
    """When it was last asked to give something away."""

    def is_silent(self, now: float) -> bool:
        """Tell whether it must be at a long task."""
        return now - self.heard_at > SILENT_S

    def may_give_at(self, idle_since: float) -> float:
        """Return when it may be asked to give something away to who is idle since then."""
        return max(self.heard_at, self.eased_at, idle_since) + PATIENCE_S


class Balance:
    """Watch over idle and busy workers; see the module."""

    def __init__(self) -> None:
        self._idle_since = NEVER
        self._due_at = NEVER

    def next_deadline(self) -> float:
        """Return the time at which `due` has something to say."""
        return self._due_at

    def look(self, idle: bool, busy: Collection[Burden], now: float) -> None:
        """Take note of the state after an event.

        Args:
            idle: whether a worker has nothing to do, and nothing waits for it.
            busy: burdens of the workers that could give something away; empty where nobody is idle.
            now: monotonic seconds.
        """
        if not idle:
            self._idle_since = self._due_at = NEVER
            return
        self._idle_since = min(self._idle_since, now)
        times = [burden.may_give_at(self._idle_since) for burden in busy if burden.behind > 0]
        self._due_at = min(times, default=NEVER)

    def due(self, busy: Collection[Burden], now: float) -> Burden | None:
        """Return whose burden to lighten now: the heaviest of those that are due; or None."""
        if now < self._due_at:
            return None
        ready = [burden for burden in busy if burden.behind > 0 and burden.may_give_at(self._idle_since) <= now]
        heaviest = max(ready, key=lambda burden: burden.behind, default=None)
        if heaviest is not None:
            heaviest.eased_at = now
        return heaviest

    def __repr__(self) -> str:
        return f"<Balance idle since {self._idle_since:g}, due at {self._due_at:g}>"
