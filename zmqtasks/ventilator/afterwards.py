"""What a client notes once a caller has what it waits for, and the next call is on its way.

Owns the order of that, and the moment. Who waits for a result has it as soon as it has come; that a task has ended is
then booked and acknowledged a moment later: after the next call was sent, while node and worker are busy with it, or
within milliseconds if there is none. Decides nothing. Made by `ventilator.py`, filled by `embedded`.
"""

from __future__ import annotations

from collections.abc import Callable

from zmqtasks.sessions import Loop, Timer

MOMENT_S = 0.005
"""Nothing is put off longer; short beside anything that a session or a machine waits for."""
MOST = 16
"""More is not put off: then many results come at once, and nobody waits for each of them."""


class Afterwards:
    """Call back a moment later, in order.

    Args:
        loop: everything happens in its thread.
    """

    def __init__(self, loop: Loop) -> None:
        self.waiting: list[Callable[[], None]] = []
        """What is put off; empty most of the time, and then this costs nothing."""
        self._loop = loop
        self._timer: Timer | None = None

    def put(self, callback: Callable[[], None]) -> None:
        """Have this called at the next `do`, or in a moment."""
        if len(self.waiting) >= MOST:
            self.do()
        self.waiting.append(callback)
        if self._timer is None:  # one that finds nothing to do costs less than a new one each time
            self._timer = self._loop.call_at(self._loop.time() + MOMENT_S, self._due)

    def do(self) -> None:
        """Call what was put off."""
        waiting, self.waiting = self.waiting, []
        for callback in waiting:
            callback()

    def _due(self) -> None:
        self._timer = None
        self.do()

    def close(self) -> None:
        """Call what was put off, and need no loop any more; idempotent."""
        self.do()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
