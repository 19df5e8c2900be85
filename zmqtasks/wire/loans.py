"""Loans: bodies that stay in the memory of the process that made them, and are read from there by others of its host.

Owns the layout of such memory, and how a borrower reads it; `lending.py` writes it. The memory is a file without a
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from zmqtasks.errors import RemoteProtocolError
from zmqtasks.messages import Body, Buffer
from zmqtasks.options import MIB

AVAILABLE = hasattr(os, "memfd_create")
SCRATCH_BYTES = 8 * MIB
"""What a thread keeps to read into."""
BODY_AT = 64
"""Where the body begins."""
RETURNED_AT = 8
"""Where a borrower writes the token when it gives a loan back."""
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE if AVAILABLE else 0
_WORD = struct.Struct("=Q")
WORD_BYTES = _WORD.size


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

    def read_into(self, start: int, buffer: bytearray | memoryview) -> None:
        """Fill `buffer` with what begins at `start`.

        Raises:
            LoanLost: it is not there any more.
        """
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
        self.read_into(0, view)
        yield view
        view.release()
        _scratch.put_back(scratch)

    def mapped(self) -> memoryview:
        """Return the body as read-only memory that all who map it share.

        Only for what `keep` made: it is sealed. Anything else is copied.
        """
        if fcntl.fcntl(self.fd, fcntl.F_GET_SEALS) & SEALS != SEALS:
            return memoryview(self.read())
        whole = mmap.mmap(self.fd, BODY_AT + self._nbytes, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        self._check()
        return memoryview(whole)[BODY_AT:]

    def _check(self) -> None:
        if os.pread(self.fd, WORD_BYTES, 0) != _WORD.pack(self.token):
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


def in_memory(body: Body) -> Buffer:
    """Return a body as memory of ours.

    Raises:
        LoanLost: it is lent, and not there any more.
    """
    return body if isinstance(body, bytes | bytearray | memoryview) else body.read()


def borrowed(fd: int, nbytes: int, token: int) -> Loan:
    """Return the loan behind a descriptor, which is owned from now on."""
    return Loan(fd, nbytes, token, close)


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


def words(*numbers: int) -> bytes:
    """Return numbers as the head of such memory has them."""
    return b"".join(map(_WORD.pack, numbers))


def close(fd: int, token: int) -> None:
    """End a loan that nobody waits for."""
    os.close(fd)


def _give_back(fd: int, token: int) -> None:
    with contextlib.suppress(OSError):  # a task may have done anything to what its worker lent
        os.pwrite(fd, words(token), RETURNED_AT)
    os.close(fd)
