"""A mark that no process of ours can lose by accident: a number in a resource limit that has no effect.

Owns its encoding. The soft limit RLIMIT_LOCKS is inherited by fork and exec, whatever session, name or environment a
process gives itself, and Linux has not enforced it since 2.4.25. So it tells of any process which workforce and which
worker it came from. Kills nothing; `zygote.py` and `orphans.py` do. Source: getrlimit(2), proc(5).
"""

from __future__ import annotations

import functools
import os

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MARK_VARIABLE = "ZMQTASKS_MARK"
"""In the environment of the zygote, and so of all that comes from it: which workforce it belongs to."""
NOBODY = 0
"""In place of the worker: the zygote, and a worker that has not begun."""
WARDEN = 1
"""In place of the worker; it is the pid of init, which no worker has."""
_RLIMIT_LOCKS = 10
"""Source: include/uapi/asm-generic/resource.h; MIPS, SPARC and Alpha have the same number here."""
_PID_BITS = 22
"""Source: PID_MAX_LIMIT, 4 Mi."""
_PRIME = 2**40 - 87


def put(mark: str, worker: int = NOBODY) -> bool:
    """Brand this process and all that will come of it; return False where that cannot be."""
    if resource is None:
        return False
    try:
        _, most = resource.getrlimit(_RLIMIT_LOCKS)
        resource.setrlimit(_RLIMIT_LOCKS, (_number(mark) << _PID_BITS | worker, most))
    except (OSError, ValueError):  # not Linux, or a lower hard limit
        return False
    return True


def can_be_put() -> bool:
    """Tell whether `put` will do: this system has the limit, and nobody has lowered it."""
    if resource is None:
        return False
    try:
        return resource.getrlimit(_RLIMIT_LOCKS)[1] == resource.RLIM_INFINITY
    except (OSError, ValueError):
        return False


def worker_of(pid: int, mark: str) -> int | None:
    """Return the worker a process of this workforce came from, `NOBODY` or `WARDEN`; None for any other process."""
    try:
        with open(f"/proc/{pid}/limits", "rb") as file:
            soft = next(line.split()[3] for line in file if line.startswith(b"Max file locks"))
    except (OSError, StopIteration, IndexError):
        return None
    if not soft.isdigit() or int(soft) >> _PID_BITS != _number(mark):
        return None
    return int(soft) & (1 << _PID_BITS) - 1


def own_mark() -> str | None:
    """Return the mark of the workforce this process was started for."""
    return os.environ.get(MARK_VARIABLE)


@functools.cache  # of the zygote's for all its workers
def _number(mark: str) -> int:
    number = 1
    for byte in mark.encode():
        number = (number * 257 + byte) % _PRIME
    return number
