"""Private folders for sockets, which do not outlive their owner.

Owns their names and their locks. The kernel releases a lock however a process dies, so a folder that nobody has locked
is abandoned: whoever finds it removes it. Called by `embedded`, `serving.py` and the zygote.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "zmqtasks-"
LOCK = "lock"


LONGEST_BASE = 64
"""The path of a socket may have 107 characters, and ours adds up to 36 to that of the temporary folder."""


def _base() -> str:
    """Return the temporary folder, or the system's where that one's path is too long for sockets (as on macOS)."""
    own = tempfile.gettempdir()
    return own if len(own) <= LONGEST_BASE else "/tmp"


class PrivateFolder:
    """A new folder (mode 0700) in the temporary folder, locked by this process; `close` removes it.

    Folders of this user that were abandoned are removed on the way.
    """

    def __init__(self) -> None:
        sweep()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_base()))
        # Locked before it has the name by which others look for it: they must never find it open.
        unnamed = self.path / f"{LOCK}-"
        self._lock = os.open(unnamed, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unnamed.rename(self.path / LOCK)

    def close(self) -> None:
        """Remove the folder; idempotent."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def remove_if_abandoned(path: Path) -> bool:
    """Remove a private folder that no process has locked; return False where one has."""
    try:
        lock = os.open(path / LOCK, os.O_RDWR)
    except OSError:
        return True  # it is gone, or not such a folder
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        shutil.rmtree(path, ignore_errors=True)
        return True
    finally:
        os.close(lock)


def sweep() -> None:
    """Remove what this user's processes have abandoned."""
    with contextlib.suppress(OSError):
        for path in Path(_base()).glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):
                if path.stat().st_uid == os.getuid():
                    remove_if_abandoned(path)
