"""Which tasks may be started on a node that is short of memory.

Owns the last word of `pressure` and what it means for a start. Keeps no queue: `holding.py` asks before each start,
and keeps what was stopped for want of memory aside until this says that there is room.

A task that was stopped waits until there is room for what it held. One that needs all there is, was stopped three
times, or has waited long, runs alone: nothing else is started until it can be, so it comes to its turn, and either ends
or is seen to be too large all by itself.
"""

from __future__ import annotations

from zmqtasks.records import Value

STOPS = 3
"""Stopped so often for the sake of others, a task is run alone."""
PATIENCE_S = 5.0
"""It waits so long for room beside others; then it is run alone."""


class Stopped(Value):
    """What is known of a task that was stopped for want of memory.

    Args:
        times: how often.
        memory_bytes: what its worker held at the last time.
        since: when that was.
    """

    times: int
    memory_bytes: int
    since: float


class Admission:
    """Answer whether something may be started now."""

    def __init__(self) -> None:
        self.paused = False
        """Nothing is started, unless nothing runs."""
        self._room_bytes = float("inf")
        self._most_bytes = float("inf")

    def told(self, paused: bool, room_bytes: int, most_bytes: int) -> None:
        """Take note of how much room there is now, and at best."""
        self.paused, self._room_bytes, self._most_bytes = paused, room_bytes, most_bytes

    def has_to_be_alone(self, stopped: Stopped, now: float) -> bool:
        """Tell whether a task is to be run alone."""
        too_large = stopped.memory_bytes > self._most_bytes
        return stopped.times >= STOPS or too_large or now - stopped.since > PATIENCE_S

    def has_room(self, stopped: Stopped) -> bool:
        """Tell whether a task may be started beside others."""
        return stopped.memory_bytes <= self._room_bytes

    def __repr__(self) -> str:
        return f"<Admission {'paused' if self.paused else 'open'} room={self._room_bytes}>"
