"""Watching for the end of one child process, on the loop, without a signal handler.

Owns a pidfd where the kernel has them, a slow poll elsewhere. Reaps only when told to, so that the pid stays ours until
its process group has been killed. `workforce.py` calls it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from zmqtasks.options import KIB
from zmqtasks.processes import linux

if TYPE_CHECKING:
    import asyncio

POLL_S = 0.05
AWAIT_POLL_S = 0.001


class Exit(NamedTuple):
    """How a process ended: by a signal, or with a code; and the most resident memory it ever had."""

    signal: int | None
    code: int | None
    peak_bytes: int = 0


class ExitWatch:
    """Calls `on_exit` once, when the child has ended and waits to be reaped.

    Args:
        loop: the loop to watch on.
        pid: a child of this process.
        on_exit: called from the loop; it calls `reap`.
        by_poll: look at intervals; otherwise wait for a pidfd.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pid: int,
        on_exit: Callable[[], None],
        *,
        by_poll: bool = not linux.AVAILABLE,
    ) -> None:
        self._loop = loop
        self._pid = pid
        self._on_exit = on_exit
        self._pidfd = -1
        self._timer: asyncio.TimerHandle | None = None
        if by_poll:
            self._poll()
        else:
            self._pidfd = os.pidfd_open(pid)
            loop.add_reader(self._pidfd, self._ended)

    def reap(self) -> Exit:
        """Wait for the process, which frees its pid, and return how it ended."""
        self.close()
        return reap(self._pid)

    def close(self) -> None:
        """Stop watching; a second call does nothing."""
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ended(self) -> None:
        self._on_exit()

    def _poll(self) -> None:
        if has_ended(self._pid):
            self._timer = self._loop.call_later(0, self._ended)
        else:
            self._timer = self._loop.call_later(POLL_S, self._poll)


def has_ended(pid: int) -> bool:
    """Return whether a child waits to be reaped; it is left to wait."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return _is_zombie(pid)
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # reaped by other code of this program: as ended as can be
        return True


def _is_zombie(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def await_end(pid: int, timeout_s: float) -> bool:
    """Wait for a child that was killed and reap it; return False where the kernel does not let go of it in time."""
    deadline = time.monotonic() + timeout_s
    while not has_ended(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(AWAIT_POLL_S)
    reap(pid)
    return True


def reap(pid: int) -> Exit:
    """Wait for a child and return how it ended; a child that other code has reaped counts as code 0."""
    try:
        _, status, usage = os.wait4(pid, 0)
    except ChildProcessError:
        return Exit(None, 0)
    code = os.waitstatus_to_exitcode(status)
    peak_bytes = _peak_bytes(usage.ru_maxrss)
    return Exit(-code, None, peak_bytes) if code < 0 else Exit(None, code, peak_bytes)


def own_peak_bytes() -> int:
    """Return the most resident memory this process ever had."""
    import resource  # only who is about to tell of an end needs it

    return _peak_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _peak_bytes(maxrss: int) -> int:
    """Return bytes. Source: getrusage(2): KiB on Linux, bytes on macOS."""
    return maxrss * (1 if sys.platform == "darwin" else KIB)


def describe_end(signal_number: int | None, exit_code: int | None) -> str:
    """Return how a process ended, as the predicate of a sentence."""
    if signal_number is None:
        return f"exited with code {exit_code}"
    try:
        name = signal.Signals(signal_number).name
    except ValueError:
        name = "a real-time signal"
    return f"was ended by signal {signal_number} ({name})"
