"""How many useless frames an inbox takes before whoever sends them is slowed.

Owns one account, which fills with time. A frame is useless that is malformed, or that is of no session that is here: a
few come when a session ends or a peer starts again, and cost nothing; who floods gets what the account yields. Knows no
socket and no frame. Called by `transport/intake.py`.
"""

from __future__ import annotations

BURST = 256
"""Useless frames taken at full speed: as many as a session that has just ended may have under way."""
A_SECOND = 256
"""So many more each second: one costs about 20 us, so they take half a percent of a core."""


class Patience:
    """An account of useless frames.

    Args:
        now: monotonic seconds.
        burst: most that can be saved up.
        a_second: how fast it fills.
    """

    def __init__(self, now: float, burst: float = BURST, a_second: float = A_SECOND) -> None:
        self._left = self._burst = burst
        self._a_second = a_second
        self._at = now

    def spend(self, now: float) -> bool:
        """Take off one frame; return False where there was nothing left."""
        self._left = min(self._burst, self._left + (now - self._at) * self._a_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def __repr__(self) -> str:
        return f"<Patience {self._left:.0f} of {self._burst:.0f}>"
