"""A bound on the calls of a client that have not ended: whoever submits beyond it waits.

Owns how many there are, and how much their arguments hold. Called by `registry.py` in the threads that submit, and by
`submitted.py` in the loop's, where calls end.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from typing import Any

from zmqtasks.options import parse_bytes

ITEMS = 1_000
"""Of a large container so many items are looked at; the rest is taken for as large as these."""


class Pending:
    """Bound what is pending.

    Args:
        most: calls.
        most_bytes: what their arguments hold, as `weight_of` sees it.
    """

    def __init__(self, most: int | None, most_bytes: int | None) -> None:
        self._most = float("inf") if most is None else most
        self._most_bytes = float("inf") if most_bytes is None else most_bytes
        self._weighs = most_bytes is not None
        self._changed = threading.Condition()
        self._calls = self._bytes = 0
        self._open = True

    def enter(self, arguments: object, timeout: float | None, *, wait: bool = True) -> int:
        """Wait until there is room for a call, and count it; return its weight. One alone always has room.

        Args:
            arguments: of the call.
            timeout: seconds to wait; None for as long as it takes.
            wait: False where nobody may wait: then it is only counted.

        Raises:
            TimeoutError: there was no room in time.
        """
        weight = weight_of(arguments) if self._weighs else 0
        with self._changed:
            if wait and not self._changed.wait_for(lambda: self._has_room(weight), timeout):
                raise TimeoutError(
                    f"there was no room for another call within {timeout:g} s: {self._calls} calls with {self._bytes} "
                    "bytes are pending, and max_pending or max_pending_bytes allow no more"
                )
            self._calls += 1
            self._bytes += weight
        return weight

    def _has_room(self, weight: int) -> bool:
        if not self._open or not self._calls:
            return True
        return self._calls < self._most and self._bytes + weight <= self._most_bytes

    def leave(self, calls: int, weight: int) -> None:
        """Count calls that have ended."""
        with self._changed:
            self._calls -= calls
            self._bytes -= weight
            self._changed.notify_all()

    def give_up(self) -> None:
        """Let all who wait go on: the client takes no more calls, and tells them so."""
        with self._changed:
            self._open = False
            self._changed.notify_all()


def pending_of(most: int | None, most_bytes: int | str | None) -> Pending | None:
    """Return a bound, or None where there is none.

    Raises:
        ValueError: it would let nothing in.
    """
    if most is None and most_bytes is None:
        return None
    if most is not None and (isinstance(most, bool) or most < 1):
        raise ValueError(f"max_pending must be 1 or more, not {most}")
    return Pending(most, None if most_bytes is None else parse_bytes(most_bytes))


def weight_of(value: Any) -> int:
    """Return about how many bytes a value holds: of buffers and texts their length, of containers their items."""
    if isinstance(value, str | bytes | bytearray):
        return len(value)
    nbytes = getattr(value, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes
    if isinstance(value, dict):
        return _sum_of(value.keys(), len(value)) + _sum_of(value.values(), len(value))
    if isinstance(value, tuple | list | set | frozenset):
        return _sum_of(value, len(value))
    return sys.getsizeof(value, 64)


def _sum_of(items: Iterable[Any], number: int) -> int:
    looked = [weight_of(item) for item, _ in zip(items, range(ITEMS), strict=False)]
    return sum(looked) * number // max(1, len(looked))
