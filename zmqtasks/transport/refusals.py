"""Tells the log who was refused and why, without letting him fill it.

Owns what was told lately. Called by whoever refuses.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable

from zmqtasks.machines.patience import Patience

logger = logging.getLogger(__name__)

AGAIN_S = 600.0
"""The same refusal is told again after so long, with how often it was one meanwhile."""
BURST, A_SECOND = 20, 5
"""So many lines at once, and so many more each second; what is refused beyond is only counted."""
MOST_REMEMBERED = 1000


class Refusals:
    """Log each refusal once.

    Args:
        clock: returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._told: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        """When each was told, and how often it came since."""
        self._patience = Patience(clock(), BURST, A_SECOND)
        self._untold = 0
        self.count = 0

    def tell(self, who: str, why: str) -> None:
        """Log that somebody was refused, unless that was told lately."""
        now = self._clock()
        self.count += 1
        at, again = self._told.get((who, why), (float("-inf"), 0))
        if now - at < AGAIN_S:
            self._told[who, why] = at, again + 1
            return
        if not self._patience.spend(now):
            self._untold += 1
            return
        more = f" ({again:,} times more since it was told)" if again else ""
        more += f" (and {self._untold:,} others)" if self._untold else ""
        self._untold = 0
        self._told[who, why] = now, 0
        self._told.move_to_end((who, why))
        if len(self._told) > MOST_REMEMBERED:
            self._told.popitem(last=False)
        logger.warning("refused %s: %s%s", who, why, more)
