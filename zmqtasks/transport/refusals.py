"""Tells the log who was refused and why, without letting him fill it.

Owns what was told lately. Called by whoever refuses.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable

logger = logging.getLogger(__name__)

AGAIN_S = 600.0
"""The same refusal is told again after so long."""
APART_S = 0.1
"""Between two lines; what is refused in between is only counted."""
MOST_REMEMBERED = 1000


class Refusals:
    """Log each refusal once.

    Args:
        clock: returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._told: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._last = float("-inf")
        self._untold = 0
        self.count = 0

    def tell(self, who: str, why: str) -> None:
        """Log that somebody was refused, unless that was told lately."""
        now = self._clock()
        self.count += 1
        if now - self._told.get((who, why), float("-inf")) < AGAIN_S:
            return
        if now - self._last < APART_S:
            self._untold += 1
            return
        more = f" (and {self._untold} others)" if self._untold else ""
        self._untold, self._last = 0, now
        self._told[who, why] = now
        self._told.move_to_end((who, why))
        if len(self._told) > MOST_REMEMBERED:
            self._told.popitem(last=False)
        logger.warning("refused %s: %s%s", who, why, more)
