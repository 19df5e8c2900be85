"""One program at a time: a lock that vanishes with the process that holds it, however it ends.

Owns the lock file beside a journal, with the pid of who holds it. The lock is one of POSIX: a child that was forked
does not inherit it. Such locks do not keep a process from itself, so those of this process are listed as well. Called
by `file.py`.
"""

from __future__ import annotations

import fcntl
import os
import threading

from zmqtasks.errors import JournalError, JournalInUse

ENDING = "-lock"
_held: set[str] = set()
_guard = threading.Lock()


class Lock:
    """Hold a journal until `release`.

    Args:
        path: of the journal.

    Raises:
        JournalInUse: another program has it, or this one; the text names the pid.
        JournalError: the lock file cannot be made.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.realpath(path) + ENDING
        with _guard:
            if self._path in _held:
                raise JournalInUse(f"this program (pid {os.getpid()}) has the journal {path} open already")
            try:
                self._fd = _locked(self._path)
            except OSError as error:
                raise JournalError(f"the journal {path} cannot be used: {error}") from error
            if self._fd < 0:
                raise JournalInUse(
                    f"the journal {path} is in use by another program (pid {_holder(self._path)}): wait until it has "
                    "ended, or end it"
                )
            _held.add(self._path)

    def release(self) -> None:
        """Let others have it; idempotent."""
        with _guard:
            if self._fd >= 0:
                os.unlink(self._path)
                os.close(self._fd)
                self._fd = -1
                _held.discard(self._path)


def _locked(path: str) -> int:
    """Return a descriptor that holds the lock, or -1 where another process does."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return -1
        except OSError:
            os.close(fd)
            raise
        if _is_the_file(fd, path):
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
            return fd
        os.close(fd)  # whoever had it has removed it meanwhile


def _is_the_file(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(20) or "unknown"
    except OSError:
        return "unknown"
