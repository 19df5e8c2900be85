"""When ranges of tasks came to something: kept while they matter, looked up by one task.

Owns the arithmetic of dated ranges. Belongs to the loop's thread. Called by `submitted.py` and
`watching.py`.
"""

from __future__ import annotations

from bisect import bisect_right

_Span = tuple[int, int, float]


class Dates:
    """Ranges that do not overlap, each with a time."""

    def __init__(self) -> None:
        self._spans: list[_Span] = []

    def put(self, start: int, stop: int, at: float) -> None:
        """Date [start, stop); what was said of it before is gone."""
        spans = self._spans
        if spans and spans[-1][1] > start:
            self.drop(start, stop)
            spans.insert(bisect_right(spans, (start,)), (start, stop, at))
        else:
            spans.append((start, stop, at))

    def drop(self, start: int, stop: int) -> None:
        """Forget the dates of [start, stop)."""
        spans = self._spans
        first = max(0, bisect_right(spans, (start,)) - 1)
        last, rest = first, list[_Span]()
        while last < len(spans) and spans[last][0] < stop:
            a, b, at = spans[last]
            rest += [(x, y, at) for x, y in ((a, min(b, start)), (max(a, stop), b)) if x < y]
            last += 1
        spans[first:last] = rest

    def of(self, index: int) -> float | None:
        """Return the date of one task, or None."""
        return self._of(self._spans, index)

    def seen(self, index: int) -> float | None:
        """Do as `of`, from any thread."""
        return self._of(self._spans[:], index)

    @staticmethod
    def _of(spans: list[_Span], index: int) -> float | None:
        place = bisect_right(spans, (index + 1,)) - 1
        return spans[place][2] if place >= 0 and spans[place][0] <= index < spans[place][1] else None

    def ranges(self) -> list[tuple[int, int]]:
        """Return what has a date."""
        return [(start, stop) for start, stop, _ in self._spans]

    def __len__(self) -> int:
        return len(self._spans)
