"""Lending: bodies are written into memory that others can read, which is used again, or kept for good.

Owns the pools of a lender. See `loans.py` for what such memory looks like and how it is read. Called by `packing`, and
made by those who send: clients, workers, and nodes for what clients have put.
"""

from __future__ import annotations

import fcntl
import os
from collections import deque
from collections.abc import Sequence
from itertools import count

from zmqtasks.messages import Body
from zmqtasks.options import KIB, MIB
from zmqtasks.wire.loans import AVAILABLE, BODY_AT, RETURNED_AT, SEALS, WORD_BYTES, Loan, close, words

LEND_BYTES = 128 * KIB
"""Smaller bodies travel in their frame: below this, copying them costs less than four system calls a hop."""
MOST_LOANS = 256
"""Of one pool at once; each is a descriptor here, and one at whoever borrows it."""
IDLE_BYTES = 64 * MIB
"""What a pool keeps to use again."""
_MOST_PARTS = 512
"""Of one system call. Source: IOV_MAX is 1024 on Linux."""


class Pool:
    """Memory to lend, used again and again.

    Args:
        told: whether a loan is used again when its borrower says so, and not when the lender's own object ends.

    `write` is called by one thread; objects may end in any.
    """

    def __init__(self, *, told: bool = False) -> None:
        self._told = told
        self._tokens = count(int.from_bytes(os.urandom(7), "big"))
        self._sizes: dict[int, int] = {}
        """Bytes of each file there is, by descriptor."""
        self._free: deque[int] = deque()
        self._out: dict[int, int] = {}
        """Tokens of what was lent and not given back, where borrowers tell."""
        self._closed = False

    def write(self, parts: Sequence[bytes | memoryview]) -> Loan | None:
        """Lend what `parts` are together; None where there is no memory or no descriptor, or enough is lent."""
        nbytes = sum(map(len, parts))
        try:
            fd = self._file_for(nbytes)
            if fd is None:
                return None
            token = next(self._tokens)
            _fill(fd, token, parts)
        except OSError:
            return None
        self._sizes[fd] = max(self._sizes[fd], nbytes)
        if self._told:
            self._out[fd] = token
        return Loan(fd, nbytes, token, self._ended)

    def close(self) -> None:
        """Close what is not lent, and what borrowers have of their own; the rest follows as it is given back."""
        self._closed = True
        self._free.extend(self._out)
        self._out.clear()
        while self._free:
            self._forget(self._free.popleft())

    def _file_for(self, nbytes: int) -> int | None:
        """Return the smallest free file that is large enough, else the largest, which grows; else a new one."""
        self._gather()
        free = sorted(self._free, key=self._sizes.__getitem__)
        chosen = next((fd for fd in free if self._sizes[fd] >= nbytes), free[-1] if free else None)
        if chosen is not None:
            self._free.remove(chosen)
        elif len(self._sizes) < MOST_LOANS:
            chosen = os.memfd_create("zmqtasks-loan", os.MFD_CLOEXEC)
            self._sizes[chosen] = 0
        return chosen

    def _gather(self) -> None:
        for fd, token in list(self._out.items()):
            if os.pread(fd, WORD_BYTES, RETURNED_AT) == words(token):
                del self._out[fd]
                self._put_back(fd)

    def _ended(self, fd: int, token: int) -> None:
        if not self._told:
            self._put_back(fd)

    def _put_back(self, fd: int) -> None:
        idle_bytes = sum(self._sizes.get(other, 0) for other in tuple(self._free))
        if self._closed or idle_bytes + self._sizes[fd] > IDLE_BYTES:
            self._forget(fd)
        else:
            self._free.append(fd)

    def _forget(self, fd: int) -> None:
        self._sizes.pop(fd, None)
        os.close(fd)


def _fill(fd: int, token: int, parts: Sequence[bytes | memoryview]) -> None:
    """Write head and body of a loan; an OSError says that there is no room."""
    os.pwrite(fd, words(token, 0), 0)
    at = BODY_AT
    for first in range(0, len(parts), _MOST_PARTS):
        some = parts[first : first + _MOST_PARTS]
        wanted = sum(map(len, some))
        if os.pwritev(fd, some, at) != wanted:
            raise OSError(f"{wanted} bytes were not written")
        at += wanted


def keep(parts: Sequence[bytes | memoryview]) -> Loan | None:
    """Lend what `parts` are together for good: nobody can change it; None where there is no memory for it."""
    if not AVAILABLE:
        return None
    try:
        fd = os.memfd_create("zmqtasks-object", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError:
        return None
    token = int.from_bytes(os.urandom(7), "big")
    loan = Loan(fd, sum(map(len, parts)), token, close)
    try:
        _fill(fd, token, parts)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except OSError:
        return None
    return loan


class Keeper:
    """A pool whose loans are never used again, for objects that are mapped."""

    def write(self, parts: Sequence[bytes | memoryview]) -> Loan | None:
        """Lend what `parts` are together."""
        return keep(parts)


def shared(body: Body) -> Body:
    """Return a body that several processes are going to need as memory they can share, where it is large."""
    if isinstance(body, bytes | bytearray | memoryview) and len(body) >= LEND_BYTES:
        return keep((body,)) or body
    return body
