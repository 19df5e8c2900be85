"""The end of a peer's process on this host, known at once: a pidfd of whoever listens at a Unix socket.

Silence is ten seconds of doubt; a process that is gone is gone. A process that is only stopped is not taken for dead.
Owns the descriptor. Called by `network.py`.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

AVAILABLE = hasattr(os, "pidfd_open") and hasattr(socket, "SO_PEERCRED")
_CREDENTIALS = struct.Struct("3i")
"""pid, uid, gid. Source: unix(7), SO_PEERCRED: of the process that called listen(2)."""


class EndWatch:
    """Calls `on_end` once, in the loop, when the watched process has ended.

    Args:
        loop: the loop to watch on.
        pidfd: owned from now on.
        on_end: called from the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, pidfd: int, on_end: Callable[[], None]) -> None:
        self._loop = loop
        self._pidfd = pidfd
        self._on_end = on_end
        loop.add_reader(pidfd, self._ended)

    def _ended(self) -> None:
        self.cancel()
        self._on_end()

    def cancel(self) -> None:
        """Watch no more; idempotent."""
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1


def pidfd_of_listener(path: str) -> int | None:
    """Return a descriptor of the process that listens at a Unix socket; None where there is none we can see."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
            pid, _, _ = _CREDENTIALS.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
            if pid <= 0 or pid == os.getpid():  # of another pid namespace, or ourselves
                return None
            pidfd = os.pidfd_open(pid)
        except OSError:
            return None
        if _is_open(probe):
            return pidfd
        os.close(pidfd)
        return None


def _is_open(probe: socket.socket) -> bool:
    """Tell whether the other end holds the connection: then the pid was its own while we opened the pidfd."""
    try:
        return probe.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
