"""What processes take, and which host this is.

Owns no state. Reads /proc where there is one, psutil elsewhere. Nodes and peers call it.
"""

from __future__ import annotations

import os
import platform
import uuid
from functools import cache
from pathlib import Path

from zmqtasks.options import KIB
from zmqtasks.processes import linux

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def rss_bytes(pid: int) -> int:
    """Return the resident memory of one process, its children not included; 0 where there is no such process.

    About 15 us where there is /proc: cheap enough to look ten times a second at each worker.
    """
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE_BYTES
    except OSError:
        return 0 if os.path.isdir("/proc/self") else _rss_by_psutil(pid)


def tree(pid: int) -> list[int]:
    """Return a process and all its living descendants, as far as they have kept their parents; none where it is gone.

    About 30 us for a process without children.
    """
    if not os.path.isdir("/proc/self"):
        return _tree_by_psutil(pid)
    found = [pid]
    for one in found:  # which grows meanwhile
        found += linux.children_of(one)
    return found


def tree_rss_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants: cheap, and what they share counts more than once."""
    return sum(rss_bytes(one) for one in tree(pid))


def tree_unique_bytes(pid: int) -> int:
    """Return the memory of a process and its descendants, each page once: the sum of their proportional shares.

    Up to 10 ms a process, so only for what `tree_rss_bytes` makes one suspect. Pages shared with processes outside the
    tree, such as the one that workers are forked from, count by the share. Source: kernel docs, proc, smaps_rollup.
    """
    return sum(unique_bytes(one) for one in tree(pid))


def unique_bytes(pid: int) -> int:
    """Return the proportional share of one process; up to 10 ms for a large one."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            return next(int(line.split()[1]) * KIB for line in file if line.startswith(b"Pss:"))
    except (OSError, StopIteration):  # it has ended, or there is no such file: what is resident has to do
        return rss_bytes(pid)


def _tree_by_psutil(pid: int) -> list[int]:
    import psutil

    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.Error:
        return []


def _rss_by_psutil(pid: int) -> int:
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


@cache
def host_id() -> str:
    """Return what two processes share exactly when they can talk through files: one boot of one kernel, one network.

    The network namespace tells containers on one host apart.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        network = os.stat("/proc/self/ns/net").st_ino
    except OSError:
        return f"{platform.node()}-{uuid.getnode():x}"
    return f"{boot}-{network}"
