"""How much memory this process holds, as it sees itself: cheap enough to look whenever some tasks have ended.

Owns one descriptor of /proc. Resident memory makes suspect, the proportional share (pages that are shared with the
process that forked this one count for a part) confirms. Decides nothing about tasks; `worker.py` makes it,
`execution.py` asks.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from zmqtasks.options import MIB
from zmqtasks.processes import usage
from zmqtasks.processes.exits import own_peak_bytes

LOOK_NS = 1_000_000
"""Looks are at least so far apart; one takes a few microseconds."""
CONFIRM_NS = 1_000_000_000
"""What was not confirmed is looked at again so late, or when more memory is resident: it takes some milliseconds."""


class _Suspicion(NamedTuple):
    """Until when, and up to how many resident bytes, a suspicion is known to be groundless."""

    until_ns: int = 0
    resident_bytes: int = 0


class OwnMemory:
    """Tells when this process holds more than a limit.

    Args:
        limit_bytes: what it may hold.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._look_at_ns = 0
        self._unfounded = _Suspicion()
        try:
            self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # not Linux: what it ever held has to do
            self._statm = -1

    def why_leave(self, now_ns: int) -> str:
        """Return what is wrong, or nothing; looks no more often than every millisecond."""
        if now_ns < self._look_at_ns:
            return ""
        self._look_at_ns = now_ns + LOOK_NS
        resident = self._resident_bytes()
        if resident <= self._limit:
            return ""
        if now_ns < self._unfounded.until_ns and resident <= self._unfounded.resident_bytes:
            return ""
        held = self._unique_bytes(resident)
        if held <= self._limit:
            self._unfounded = _Suspicion(now_ns + CONFIRM_NS, resident + self._limit - held)
            return ""
        return f"it holds {held / MIB:.0f} MiB, more than its recycle_memory of {self._limit / MIB:.0f} MiB"

    def _resident_bytes(self) -> int:
        if self._statm < 0:
            return own_peak_bytes()
        return int(os.pread(self._statm, 128, 0).split()[1]) * usage.PAGE_BYTES

    def _unique_bytes(self, resident_bytes: int) -> int:
        return resident_bytes if self._statm < 0 else usage.unique_bytes(os.getpid())
