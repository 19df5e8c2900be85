"""Loans: bodies that stay in the memory of the process that made them, and are read from there by others of its host.

Owns the layout of such memory, the pool a lender writes into, and how a borrower reads. The memory is a file without a
name (memfd): it ends with the last descriptor, so nothing can be left behind. It is never mapped but read (pread), for
three reasons: a reader gets memory of its own, which it may write to; a file that is short is an error and no signal;
and memory that is used again costs a tenth of memory that is new, for the kernel has no page to find and to clear.

    64 bytes: token u64 | returned u64 | nothing
    the body

Memory is used again once the loan is given back, which its owner knows by itself, or by `returned` being equal to the
token. Each writing has a token of its own, and a reader looks at it *after* it has read: so it never takes what was
written later for what it was promised. Called by `packing`, `unpacking`, the codec, and by those who own sockets.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import stat
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

from zmqtasks.errors import RemoteProtocolError
from zmqtasks.messages import Body, Buffer
from zmqtasks.options import KIB, MIB

AVAILABLE = hasattr(os, "memfd_create")
LEND_BYTES = 128 * KIB
"""Smaller bodies travel in their frame: below this, copying them costs less than four system calls a hop."""
MOST_LOANS = 256
"""Of one pool at once; each is a descriptor here, and one at whoever borrows it."""
IDLE_BYTES = 64 * MIB
"""What a pool keeps to use again."""
SCRATCH_BYTES = 8 * MIB
"""What a thread keeps to read into."""
BODY_AT = 64
"""Where the body begins."""
_SEALS = 0xF if not AVAILABLE else fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_RETURNED_AT = 8
_HEAD = struct.Struct("=QQ")
_WORD = struct.Struct("=Q")
_MOST_PARTS = 512
"""Of one system call. Source: IOV_MAX is 1024 on Linux."""


class LoanLost(RemoteProtocolError):
    """What was lent is not there any more: its lender has ended, or has used the memory again."""


class Loan:
    """A body in lent memory. It has a length and can be read; it is given back when nobody holds this object.

    Args:
        fd: of the file.
        nbytes: size of the body.
        token: what the file must show when the body has been read.
        on_drop: called with the descriptor and the token at the end of this object.
    """

    __slots__ = ("__weakref__", "_nbytes", "_on_drop", "fd", "token")

    def __init__(self, fd: int, nbytes: int, token: int, on_drop: Callable[[int, int], None]) -> None:
        self.fd = fd
        self.token = token
        self._nbytes = nbytes
        self._on_drop = on_drop

    def __len__(self) -> int:
        return self._nbytes

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """Return a part of the body.

        Raises:
            LoanLost: it is not there any more.
        """
        stop = self._nbytes if stop is None else stop
        data = os.pread(self.fd, stop - start, BODY_AT + start)  # all of it, up to 2 GiB: beyond any limit of a message
        if len(data) != stop - start:
            raise LoanLost(f"loan: expected {stop - start} bytes, got {len(data)}")
        self._check()
        return data

    def read_into(self, start: int, buffer: bytearray) -> None:
        """Fill `buffer` with what begins at `start`.

        Raises:
            LoanLost: it is not there any more.
        """
        self._read_into(start, buffer)

    def _read_into(self, start: int, buffer: bytearray | memoryview) -> None:
        filled = os.preadv(self.fd, [buffer], BODY_AT + start)
        if filled != len(buffer):
            raise LoanLost(f"loan: expected {len(buffer)} bytes, got {filled}")
        self._check()

    @contextmanager
    def at_hand(self) -> Iterator[memoryview]:
        """Give the whole body for a moment, in memory that is used again: no page has to be found for it.

        Raises:
            LoanLost: it is not there any more.
        """
        scratch = _scratch.take(self._nbytes)
        view = memoryview(scratch)[: self._nbytes]
        self._read_into(0, view)
        yield view
        view.release()
        _scratch.put_back(scratch)

    def mapped(self) -> memoryview:
        """Return the body as read-only memory that all who map it share.

        Only for what `keep` made: it is sealed. Anything else is copied.
        """
        if fcntl.fcntl(self.fd, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
            return memoryview(self.read())
        whole = mmap.mmap(self.fd, BODY_AT + self._nbytes, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        self._check()
        return memoryview(whole)[BODY_AT:]

    def _check(self) -> None:
        if os.pread(self.fd, _WORD.size, 0) != _WORD.pack(self.token):
            raise LoanLost("loan: its lender has used the memory again, for the task or its result was settled")

    def __del__(self) -> None:
        self._on_drop(self.fd, self.token)

    def __repr__(self) -> str:
        return f"<Loan of {self._nbytes} bytes>"


class _Scratch(threading.local):
    """Memory of a thread to read into what is decoded at once."""

    def __init__(self) -> None:
        self._memory = bytearray()

    def take(self, nbytes: int) -> bytearray:
        """Return memory of at least that size: who decodes may run code that decodes."""
        memory, self._memory = self._memory, bytearray()
        return memory if len(memory) >= nbytes else bytearray(nbytes)

    def put_back(self, memory: bytearray) -> None:
        if len(memory) <= SCRATCH_BYTES:
            self._memory = memory


_scratch = _Scratch()


def keep(parts: Sequence[bytes | memoryview]) -> Loan | None:
    """Lend what `parts` are together for good: nobody can change it; None where there is no memory for it."""
    if not AVAILABLE:
        return None
    try:
        fd = os.memfd_create("zmqtasks-object", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError:
        return None
    token = int.from_bytes(os.urandom(7), "big")
    loan = Loan(fd, sum(map(len, parts)), token, _close)
    try:
        os.pwrite(fd, _HEAD.pack(token, 0), 0)
        _write_all(fd, parts)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
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


def in_memory(body: Body) -> Buffer:
    """Return a body as memory of ours.

    Raises:
        LoanLost: it is lent, and not there any more.
    """
    return body if isinstance(body, bytes | bytearray | memoryview) else body.read()


def borrowed(fd: int, nbytes: int, token: int) -> Loan:
    """Return the loan behind a descriptor, which is owned from now on."""
    return Loan(fd, nbytes, token, _close)


def borrowed_to_give_back(fd: int, nbytes: int, token: int) -> Loan:
    """Return the loan behind a descriptor, which is owned from now on; its lender is told when it is given back."""
    return Loan(fd, nbytes, token, _give_back)


def borrow_by_name(pid: int, number: int, token: int, nbytes: int) -> Loan:
    """Return the loan that process `pid` of this host has under its descriptor `number`.

    Raises:
        LoanLost: it is not there any more, or is not ours to read.
    """
    path = f"/proc/{pid}/fd/{number}"
    try:
        # Looked at before it is opened: to open a device may do something.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise LoanLost(f"loan: {path} is not a file")
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise LoanLost(f"loan: {error}") from error
    return borrowed(fd, nbytes, token)


def can_borrow(pid: int, number: int, token: int) -> bool:
    """Tell whether loans of a process can be read here, by the example of an empty one."""
    try:
        return borrow_by_name(pid, number, token, 0).read() == b""
    except LoanLost:
        return False


def _close(fd: int, token: int) -> None:
    os.close(fd)


def _give_back(fd: int, token: int) -> None:
    with contextlib.suppress(OSError):  # a task may have done anything to what its worker lent
        os.pwrite(fd, _WORD.pack(token), _RETURNED_AT)
    os.close(fd)


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
            os.pwrite(fd, _HEAD.pack(token, 0), 0)
            _write_all(fd, parts)
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
            if os.pread(fd, _WORD.size, _RETURNED_AT) == _WORD.pack(token):
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


def _write_all(fd: int, parts: Sequence[bytes | memoryview]) -> None:
    at = BODY_AT
    for first in range(0, len(parts), _MOST_PARTS):
        some = parts[first : first + _MOST_PARTS]
        wanted = sum(map(len, some))
        if os.pwritev(fd, some, at) != wanted:
            raise OSError(f"{wanted} bytes were not written")
        at += wanted
