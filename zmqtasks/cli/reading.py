"""Bytes of INPUT, read so that Ctrl-C ends the reading and nothing that was read waits for what is still to come.

Owns the waiting. Knows nothing of lines. Called by `inputs.py`.
"""

from __future__ import annotations

import io
import os
import select
from collections.abc import Callable
from typing import Any

BUFFER_BYTES = 256 * 1024
STDIN_FD = 0


class _Stoppable(io.RawIOBase):
    """A descriptor that ends early when `stop_fd` becomes readable, and says before it waits."""

    def __init__(self, fd: int, stop_fd: int, on_wait: Callable[[], None]) -> None:
        super().__init__()
        self._fd, self._stop_fd = fd, stop_fd
        self._on_wait = on_wait
        self._poll = select.poll()
        for watched in (fd, stop_fd):
            self._poll.register(watched, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        ready = self._poll.poll(0)
        if not ready:
            self._on_wait()
            ready = self._poll.poll()
        if any(fd == self._stop_fd for fd, _ in ready):
            return 0
        return os.readv(self._fd, [buffer])

    def close(self) -> None:
        if not self.closed and self._fd != STDIN_FD:
            os.close(self._fd)
        super().close()


def open_bytes(name: str, stop_fd: int, on_wait: Callable[[], None]) -> io.BufferedReader:
    """Open a file, or standard input for "-", which stays open.

    Args:
        name: of the file.
        stop_fd: once this descriptor is readable, the file is at its end.
        on_wait: called before waiting for more than there is.

    Raises:
        OSError: it cannot be opened.
    """
    fd = STDIN_FD if name == "-" else os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    return io.BufferedReader(_Stoppable(fd, stop_fd, on_wait), BUFFER_BYTES)
