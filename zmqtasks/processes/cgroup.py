"""Groups of processes that the kernel kills as one, where a cgroup2 folder is ours to write to.

Owns a group a node with one a worker in it. Only a help: nothing depends on it, and where it cannot be there is none.
Limits nothing. A group is locked by its node; one that nobody has locked is abandoned, and the next node removes it.
`workforce.py` makes it, the worker enters it, the zygote removes it after a node that was killed. Source: kernel docs,
cgroup-v2, cgroup.kill (Linux 5.14).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

PREFIX = "zmqtasks-"
EMPTY_S = 2.0
EMPTY_POLL_S = 0.002


class NodeGroup:
    """The group of a node; made by `open_group`.

    Args:
        path: its folder.
        lock: a descriptor of the folder, locked.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock
        self._left: set[int] = set()

    def kill(self, pid: int) -> None:
        """Kill a worker and all that came of it, at once."""
        _kill(self.path / str(pid))

    def left(self, pid: int) -> None:
        """The worker has ended: kill what it left, and remove its group as soon as that is gone."""
        _kill(self.path / str(pid))
        self._left.add(pid)
        self.tidy()

    def tidy(self) -> None:
        """Remove the groups of workers that have ended, as far as they are empty."""
        self._left = {pid for pid in self._left if not _remove(self.path / str(pid))}

    def close(self) -> None:
        """Kill all that is left in it, and remove it; a second call does nothing."""
        if self._lock >= 0:
            destroy(self.path)
            os.close(self._lock)
            self._lock = -1


def open_group(mark: str) -> NodeGroup | None:
    """Return a new group for a node, or None where there can be none. Abandoned ones are removed on the way."""
    try:
        base = _own_folder()
        if base is None or not os.access(base, os.W_OK) or not (base / "cgroup.procs").exists():
            return None
        _sweep(base)
        for _ in range(3):  # a node that sweeps may take it for abandoned before it is locked
            path = base / f"{PREFIX}{mark}-{os.urandom(3).hex()}"
            path.mkdir()
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.is_dir() and os.stat(path).st_ino == os.fstat(lock).st_ino and (path / "cgroup.kill").exists():
                return NodeGroup(path, lock)
            os.close(lock)
            _remove(path)
    except OSError:
        return None
    return None


def enter(folder: str) -> None:
    """Put this process, a worker, into a group of its own below `folder`; 0.1 to 10 ms. Called by the worker."""
    with contextlib.suppress(OSError):
        path = f"{folder}/{os.getpid()}"
        os.mkdir(path)
        file = os.open(f"{path}/cgroup.procs", os.O_WRONLY)
        try:
            os.write(file, b"0")
        finally:
            os.close(file)


def destroy(path: Path) -> None:
    """Kill all that is in a group, wait until it has gone, and remove it with all below."""
    _kill(path)
    deadline = time.monotonic() + EMPTY_S
    while path.is_dir() and not _remove_tree(path) and time.monotonic() < deadline:
        time.sleep(EMPTY_POLL_S)


def _own_folder() -> Path | None:
    """Return the cgroup2 folder of this process."""
    with open("/proc/self/mountinfo") as table:
        mounts = [line.split(" - ") for line in table]
    mount = next((head.split()[4] for head, tail in mounts if tail.startswith("cgroup2 ")), None)
    with open("/proc/self/cgroup") as table:
        own = next((line.strip()[3:] for line in table if line.startswith("0::")), None)
    return None if mount is None or own is None else Path(mount) / own.lstrip("/")


def _sweep(base: Path) -> None:
    """Remove groups that nobody has locked: their nodes were killed, and all who would have cleaned up."""
    for path in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                destroy(path)
            except BlockingIOError:
                continue
            finally:
                os.close(lock)


def _kill(path: Path) -> None:
    with contextlib.suppress(OSError):
        file = os.open(path / "cgroup.kill", os.O_WRONLY)
        try:
            os.write(file, b"1")
        finally:
            os.close(file)


def _remove_tree(path: Path) -> bool:
    return all(_remove(Path(folder)) for folder, _, _ in os.walk(path, topdown=False))


def _remove(path: Path) -> bool:
    """Remove an empty group; return whether it is gone."""
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:  # what was killed takes a moment to go
        return False
    return True
