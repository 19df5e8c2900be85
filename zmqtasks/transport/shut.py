"""A lane to whom we do not know: nothing goes there, until a key of his is known here.

Owns the lane that it becomes then. Called by `network.py`, where each peer has a key of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from zmqtasks.transport.outlet import Lane


class ShutLane:
    """Ask at each frame whether there is a way by now; without one, frames are lost, and sessions send them again.

    Args:
        opened: returns a lane, or None as long as there is none.
    """

    def __init__(self, opened: Callable[[], Lane | None]) -> None:
        self._opened = opened
        self._lane: Lane | None = None
        self._closed = False

    def _find(self) -> Lane | None:
        if self._lane is None and not self._closed:
            self._lane = self._opened()
        return self._lane

    def send(self, frame: bytes | bytearray) -> None:
        """Send a frame if there is a way."""
        if lane := self._find():
            lane.send(frame)

    def offer(self, frame: bytes | bytearray) -> bool:
        """Send a frame, or return False where it is not taken now."""
        lane = self._find()
        return lane is not None and lane.offer(frame)

    def forget_waiting(self) -> None:
        """Drop what waits for a connection."""
        if self._lane:
            self._lane.forget_waiting()

    def close(self, linger_s: float) -> None:
        """Close it; idempotent."""
        self._closed = True
        if self._lane:
            self._lane.close(linger_s)
