"""Sets of integers kept as ranges, the currency of all machines.

Owns no policy. Cost is per range, never per task: a job of ten million tasks that was done in order is one range.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class RangeSet:
    """A set of integers as sorted, disjoint, non-touching ranges [start, stop).

    Adding or removing a range costs O(log n) to find and O(ranges touched) to change.
    """

    __slots__ = ("_count", "_starts", "_stops")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._count = 0
        for start, stop in ranges:
            self.add(start, stop)

    def add(self, start: int, stop: int) -> None:
        """Add [start, stop); an empty range changes nothing."""
        if start >= stop:
            return
        starts, stops = self._starts, self._stops
        if not stops or start > stops[-1]:  # most ranges come in order
            starts.append(start)
            stops.append(stop)
            self._count += stop - start
            return
        if start == stops[-1]:
            stops[-1] = stop
            self._count += stop - start
            return
        first = bisect_left(self._stops, start)  # the first range that touches or follows `start`
        last = bisect_right(self._starts, stop)  # one past the last range that touches or precedes `stop`
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._count += stop - start - self._covered(first, last)
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]

    def remove(self, start: int, stop: int) -> None:
        """Remove [start, stop), wherever it is in the set."""
        starts, stops = self._starts, self._stops
        if not starts or start >= stop:
            return
        if start <= starts[0]:  # most ranges go in order, too
            if stop <= starts[0]:
                return
            if stop < stops[0]:
                self._count -= stop - starts[0]
                starts[0] = stop
                return
            if len(starts) == 1:
                self._count = 0
                starts.clear()
                stops.clear()
                return
        first = bisect_right(self._stops, start)  # the first range that ends after `start`
        last = bisect_left(self._starts, stop)  # one past the last range that starts before `stop`
        if first >= last:
            return
        kept = [(self._starts[first], start), (stop, self._stops[last - 1])]
        kept = [(a, b) for a, b in kept if a < b]
        self._count += sum(b - a for a, b in kept) - self._covered(first, last)
        self._starts[first:last] = [a for a, _ in kept]
        self._stops[first:last] = [b for _, b in kept]

    def common(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the parts of [start, stop) that are in the set."""
        if not self._starts or start >= stop:
            return []
        first = bisect_right(self._stops, start)
        last = bisect_left(self._starts, stop)
        return [(max(start, self._starts[i]), min(stop, self._stops[i])) for i in range(first, last)]

    def missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the parts of [start, stop) that are not in the set."""
        if not self._stops or start >= self._stops[-1]:
            return [(start, stop)] if start < stop else []
        gaps = []
        for a, b in self.common(start, stop):
            if start < a:
                gaps.append((start, a))
            start = b
        if start < stop:
            gaps.append((start, stop))
        return gaps

    def first_gap(self, start: int) -> int:
        """Return the first integer from `start` on that is not in the set."""
        position = bisect_right(self._starts, start) - 1
        return max(start, self._stops[position]) if position >= 0 else start

    def first(self) -> tuple[int, int]:
        """Return the lowest range.

        Raises:
            IndexError: the set is empty.
        """
        return self._starts[0], self._stops[0]

    def last(self) -> tuple[int, int]:
        """Return the highest range.

        Raises:
            IndexError: the set is empty.
        """
        return self._starts[-1], self._stops[-1]

    def pop_first(self, most: int) -> tuple[int, int]:
        """Remove and return up to `most` integers from the lowest range.

        Raises:
            IndexError: the set is empty.
        """
        start = self._starts[0]
        stop = min(self._stops[0], start + most)
        self.remove(start, stop)
        return start, stop

    def count(self) -> int:
        """Return how many integers are in the set; O(1)."""
        return self._count

    def _covered(self, first: int, last: int) -> int:
        return sum(self._stops[first:last]) - sum(self._starts[first:last])

    def copy(self) -> RangeSet:
        """Return an independent copy."""
        twin = RangeSet()
        twin._starts, twin._stops = self._starts.copy(), self._stops.copy()
        twin._count = self._count
        return twin

    def __contains__(self, value: int) -> bool:
        position = bisect_right(self._starts, value) - 1
        return position >= 0 and value < self._stops[position]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(list(zip(self._starts, self._stops, strict=True)))

    def __len__(self) -> int:
        """Return the number of ranges (not of integers)."""
        return len(self._starts)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RangeSet):
            return NotImplemented
        return self._starts == other._starts and self._stops == other._stops

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{a}..{b}" for a, b in self) + "}"
