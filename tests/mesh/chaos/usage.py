"""What a process holds: memory, descriptors, threads, read from /proc.

Owns the choice of figures. Memory is what the process has for itself (RssAnon and RssShmem): files it has mapped come
and go with the page cache, and a proportional share changes when another process dies. Used by `roles.py`.
"""

from __future__ import annotations

import os
from typing import NamedTuple

KIB = 1024


class Usage(NamedTuple):
    """One look at one process."""

    memory_bytes: int
    descriptors: int
    threads: int


def usage_of(pid: int) -> Usage | None:
    """Return what the process holds now; None where it is gone."""
    try:
        with open(f"/proc/{pid}/status") as file:
            fields = dict(line.split(":", 1) for line in file)
        memory = sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssShmem")) * KIB
        return Usage(memory, len(os.listdir(f"/proc/{pid}/fd")), int(fields["Threads"]))
    except (OSError, KeyError):  # gone, or a zombie
        return None
