"""Workers that wait for work while their node believes that they have some: one of the two has to be wrong.

Owns what was seen of each, and since when. Neither looks nor ends anything: `crosscheck.py` does.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

LONG_S = 1.0
"""Between a message and its effect lie microseconds; a process that is about to act is no contradiction for so long."""


class Contradictions:
    """Tell which contradictions last; see the module."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Hashable, float]] = {}

    def look(self, waiting: Mapping[int, Hashable], now: float) -> list[int]:
        """Return the slots where nothing has changed for long, each once.

        Args:
            waiting: what is seen of each worker that waits though it is thought to have work: what it did last, and
                what it is thought to have.
            now: monotonic seconds.
        """
        self._seen = {
            slot: self._seen[slot] if slot in self._seen and self._seen[slot][0] == evidence else (evidence, now)
            for slot, evidence in waiting.items()
        }
        lasting = [slot for slot, (_, since) in self._seen.items() if now >= since + LONG_S]
        for slot in lasting:
            del self._seen[slot]
        return lasting

    def __repr__(self) -> str:
        return f"<Contradictions {self._seen}>"
