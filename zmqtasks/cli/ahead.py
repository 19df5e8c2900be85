"""How far the input has been read ahead of what is recorded: in tasks and in bytes.

Owns that account alone; has no lock of its own. `job.py` keeps it and waits on it.
"""

from __future__ import annotations

from bisect import bisect_right

from zmqtasks.options import MIB

MOST_TASKS = 100_000
MOST_BYTES = 64 * MIB


class Ahead:
    """Batches of tasks that have not all ended. Tasks end in any order; a batch counts until its last has."""

    def __init__(self) -> None:
        self.tasks = 0
        """Tasks that were added and have not ended."""
        self.bytes = 0
        """Bytes of the batches that have not ended."""
        self._starts: list[int] = []
        self._batches: list[tuple[int, int, int]] = []
        """(stop, bytes, tasks left), in the order of `_starts`."""

    def is_full(self) -> bool:
        """Tell whether nothing should be read for now."""
        return self.tasks >= MOST_TASKS or self.bytes >= MOST_BYTES

    def add(self, start: int, stop: int, nbytes: int) -> None:
        """Add the next batch, [start, stop)."""
        self._starts.append(start)
        self._batches.append((stop, nbytes, stop - start))
        self.tasks += stop - start
        self.bytes += nbytes

    def end(self, start: int, stop: int) -> None:
        """Note that tasks have ended; each ends once."""
        self.tasks -= stop - start
        position = max(0, bisect_right(self._starts, start) - 1)
        while position < len(self._starts) and self._starts[position] < stop:
            origin, (end, nbytes, left) = self._starts[position], self._batches[position]
            left -= max(0, min(stop, end) - max(start, origin))
            if left:
                self._batches[position] = (end, nbytes, left)
                position += 1
            else:
                self.bytes -= nbytes
                del self._starts[position], self._batches[position]
