"""Which of its tasks a worker begins: those that its node has not taken back meanwhile.

Owns the worker's half of an agreement on four numbers in its progress slot. Positions count the tasks that a worker
was ever given, in the order of their giving:

    CLAIMED         the worker begins nothing from this position on without a look at the next two;
    STOP .. UNTIL   what was taken back; written by the node (`ProgressTable.take_back`);
    PASSED          the worker needs no range any more that ends here or before: another may be written over it.

The worker writes CLAIMED, then reads the range; the node writes the range, has the kernel put memory in order for both
(`linux.fence`), then reads CLAIMED. So one of them sees the other: what lies in the range and at or beyond CLAIMED, the
worker will not begin. All that it passes over it tells as well, for it may have claimed that in the same moment: so no
task is begun twice, and none is lost. Where there is no such fence, what it tells is all that counts.

Tasks that take long are claimed one by one, short ones for as long as results may wait: a look costs 0.3 us.
`execution.py` calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from zmqtasks.processes.progress import CLAIMED, PASSED, STOP, UNTIL

LONG_NS = 100_000
"""A task of a mean above this is claimed by itself."""


class Claims:
    """What a worker may begin.

    Args:
        slot: of the worker, as given by `slot_for_writing`.
        skipped: told between which positions tasks are passed over, once for each range that was taken back.
    """

    def __init__(self, slot: memoryview, skipped: Callable[[int, int], None]) -> None:
        self.end = 0
        """One past the last task of the chunk at hand that is left to this worker."""
        self._slot = slot
        self._skipped = skipped
        self._given = 0
        self._offset = 0
        """What turns the index of a task into its position."""
        self._skip_to = 0
        """Position one past the last task that was passed over."""
        self._refused = False
        """Whether a part of the chunk at hand was taken back: then all before `end` is claimed."""

    def take_place(self, slot: memoryview) -> None:
        """Begin anew, in this slot."""
        self._slot = slot
        self._given = self._skip_to = 0

    def open(self, start: int, stop: int) -> None:
        """Take note of the next chunk."""
        self._offset = self._given - start
        self._given += stop - start
        # A range ends where a chunk did when it was taken back: a later chunk in it is in it as a whole.
        self._refused = self._given <= self._skip_to
        self.end = start if self._refused else stop

    def pass_by(self, tasks: int) -> None:
        """Take note of tasks that were given, and have gone to others before this worker came to them."""
        self._given += tasks

    def claim(self, start: int, stop: int) -> int:
        """Return up to which task [start, stop) may be begun; the rest, and all behind it, is passed over.

        What may be begun may be claimed again, as where a task of it failed and the others are yet to come.
        """
        if self._refused:
            return max(start, min(stop, self.end))
        slot, offset = self._slot, self._offset
        slot[PASSED] = start + offset
        slot[CLAIMED] = stop + offset
        until = slot[UNTIL]  # first: where it is news, so is the other
        first = slot[STOP]
        if start + offset >= until or stop + offset <= first:
            return stop
        self.end = max(start, first - offset)
        self._pass_over(self.end + offset, until)
        return self.end

    def one_by_one(self, values: Sequence[Any], start: int) -> Iterator[Any]:
        """Yield the values of tasks from `start` on, each when it is claimed; the first is already."""
        stop = start + 1
        yield values[0]
        for value in values[1:]:
            if self.claim(stop, stop + 1) == stop:
                return
            stop += 1
            yield value

    def _pass_over(self, position: int, until: int) -> None:
        self._refused = True
        self._skip_to = until
        self._slot[CLAIMED] = self._slot[PASSED] = until
        self._skipped(position, until)
