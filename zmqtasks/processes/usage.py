"""What processes take, and which host this is.

Owns no state. Reads /proc where there is one, psutil elsewhere. Nodes and peers call it.
"""

from __future__ import annotations

import os
import platform
import uuid
from functools import cache
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def rss_bytes(pid: int) -> int:
    """Return the resident memory of one process, its children not included; 0 where there is no such process.

    About 15 us where there is /proc: cheap enough to look ten times a second at each worker.
    """
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0 if os.path.isdir("/proc/self") else _rss_by_psutil(pid)


def _rss_by_psutil(pid: int) -> int:
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


@cache
def host_id() -> str:
    """Return what two processes share exactly when they can talk over ipc: one boot of one kernel, one network.

    The network namespace tells containers on one host apart.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        network = os.stat("/proc/self/ns/net").st_ino
    except OSError:
        return f"{platform.node()}-{uuid.getnode():x}"
    return f"{boot}-{network}"
