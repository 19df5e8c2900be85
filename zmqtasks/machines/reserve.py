"""How many workers stand ready beside those that serve: more of them where workers end faster than others get ready.

Owns one number, and when it falls again. Starts and ends nobody; `slots.py` asks it, and tells it when a worker that
ended had no successor. None is added where a start takes long: what an initializer loads then may be large.
"""

from __future__ import annotations

NEVER = float("inf")
KEEP_S = 2.0
"""So long after a worker was missed the last time, one standby less is kept, and then another one less."""
QUICK_S = 0.5
"""A worker that was ready within this had no large initializer, even on a busy machine."""


class Reserve:
    """See the module.

    Args:
        least: how many stand ready at any time.
        more: how many more there may be for a while.
    """

    def __init__(self, least: int, more: int) -> None:
        self.wanted = least
        """How many are to stand ready now."""
        self._least = least
        self._most = least + more
        self._lessen_at = NEVER
        self._quick = False

    def got_ready(self, took_s: float) -> None:
        """Take note of how long the last worker took to get ready."""
        self._quick = took_s <= QUICK_S

    def missed(self, now: float) -> None:
        """Take note that a worker ended and none stood ready in its place."""
        if self._quick and self._most > self._least:
            self.wanted = min(self.wanted + 1, self._most)
            self._lessen_at = now + KEEP_S

    def tick(self, now: float) -> None:
        """Want one less where none was missed for a while."""
        if now >= self._lessen_at:
            self.wanted -= 1
            self._lessen_at = now + KEEP_S if self.wanted > self._least else NEVER

    def next_deadline(self) -> float:
        """Return the time at which `tick` has something to do."""
        return self._lessen_at
