"""Where the keepers of clusters are found again, and where the logs of their hosts are.

Owns a folder for each file of hosts, below the user's state folder. The lock of a running keeper tells that it is
there: the kernel releases it however the keeper dies. Called by `keeper.py` and `cluster.py`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any, TextIO

from zmqtasks.errors import ClusterError
from zmqtasks.options import MIB, state_folder

RELEASE_POLL_S = 0.02
MOST_LOG = 16 * MIB
"""A log that is longer when a cluster is started begins anew; the one before is kept beside it."""


class ClusterRecord:
    """What is kept of the clusters of one file of hosts.

    Args:
        path: of the file; need not be there.
    """

    def __init__(self, path: str | Path) -> None:
        absolute = Path(path).absolute()
        digest = hashlib.sha256(os.fsencode(absolute)).hexdigest()[:12]
        self.folder = state_folder() / "clusters" / f"{absolute.stem}-{digest}"
        self._lock = -1

    def claim(self) -> bool:
        """Be the one keeper that others find; return False where another one is."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def publish(self, **values: Any) -> None:
        """Say where we are; to be called by who has claimed it."""
        file = self.folder / "keeper.json"
        file.with_suffix(".new").write_text(json.dumps(values))
        file.with_suffix(".new").rename(file)

    def release(self) -> None:
        """Be found no more; idempotent."""
        if self._lock >= 0:
            with contextlib.suppress(OSError):
                (self.folder / "keeper.json").unlink()
            os.close(self._lock)
            self._lock = -1

    def running(self) -> dict[str, Any] | None:
        """Return what the running keeper has published, or None where none runs."""
        if self._is_claimed():
            with contextlib.suppress(OSError, ValueError):  # it is about to begin, or to end
                return dict(json.loads((self.folder / "keeper.json").read_text()))
        return None

    def await_release(self, timeout_s: float) -> None:
        """Wait until the keeper that is about to end has ended, but not for ever."""
        deadline = time.monotonic() + timeout_s
        while self._is_claimed() and time.monotonic() < deadline:
            time.sleep(RELEASE_POLL_S)

    def _is_claimed(self) -> bool:
        try:
            lock = os.open(self.folder / "lock", os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def open_log(self, host: str) -> TextIO:
        """Return the log of a host, to be appended to.

        Raises:
            ClusterError: it cannot be written.
        """
        file = self.log_of(host)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if file.exists() and file.stat().st_size > MOST_LOG:
                file.rename(file.with_suffix(".log.1"))
            return open(file, "a", encoding="utf-8")
        except OSError as error:
            raise ClusterError(f"cannot write the log {file}: {error.strerror}") from error

    def keeper_log(self) -> Path:
        """Return where keepers tell what happens to hosts; it begins anew where it has become long."""
        file = self.folder / "keeper.log"
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if file.exists() and file.stat().st_size > MOST_LOG:
            file.unlink()
        return file

    def log_of(self, host: str) -> Path:
        """Return where the log of a host is."""
        return self.folder / f"{re.sub(r'[^A-Za-z0-9.@_-]', '_', host)}.log"
