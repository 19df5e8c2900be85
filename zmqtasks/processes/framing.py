"""Frames on the socket between a supervisor and a worker: `u32 length | u8 kind | body`, both ends.

Owns the kinds and the cutting of a byte stream into frames. Never opens a body, never waits except in `WorkerEnd`.
`channel.py` (supervisor) and `worker.py` call it; it imports nothing that a worker would not need anyway.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Protocol

from zmqtasks.errors import LocalProtocolError, RemoteProtocolError
from zmqtasks.messages import Buffer
from zmqtasks.options import Limits
from zmqtasks.wire.loans import Loan, borrowed

_HEAD = struct.Struct(">IB")
SKIPPED_BODY = struct.Struct(">QQ")
ASKED_BODY = struct.Struct(">QH")
"""Number of what is asked, and the length of the job's name; name and body follow."""
ANSWER_BODY = struct.Struct(">Q")
LANE_BODY = struct.Struct(">H")
_SCRATCH_BYTES = 64 * 1024

MOST_BYTES = 2**32 - 1
"""Largest body: its length is 32 bits."""


class FrameKind(IntEnum):
    """What a frame says.

    START, TASKS, STOP, ANSWER, LOST, RESUME and DENIED go to the worker, the others come from it.
    """

    START = 0
    """The first frame: JSON settings, a line feed, and the encoded initializer if there is one."""
    TASKS = 1
    """An encoded `Tasks` message."""
    STOP = 2
    """Empty: finish what came before, then exit."""
    READY = 3
    """Empty: set up, waiting for tasks."""
    FAILED = 4
    """The encoded failure of the initializer; the worker exits after it."""
    RESULTS = 5
    """An encoded `Results` message."""
    LEAVING = 6
    """Why, as text: the worker takes no more, starts nothing of what it was sent, and ends."""
    STOP_NODE = 7
    """Empty: a task asks for the end of the node, whatever becomes of the task."""
    SKIPPED = 8
    """Two positions of 8 bytes each: the worker begins nothing that it was given between them; it was taken back."""
    ASK = 9
    """What a task asks of its home: number, length of the job's name, name, body."""
    ANSWER = 10
    """Its number, and the answer."""
    LOST = 11
    """The id of a ventilator: what it was asked, and has not answered, it never will."""
    WAIT = 12
    """A lane, 0 where there are none: its task waits, and another worker may serve in its place."""
    BACK = 13
    """A lane: what it waited for is there, it goes on when it has a place again, or at once where "!" follows."""
    RESUME = 14
    """A lane: it goes on; what the worker was sent before this, and has not begun, has gone to others."""
    REFUSED = 17
    """A job's name, a zero byte, and why its function is not called here, as text."""
    VOID = 16
    """Never on the socket: tasks that the worker was sent, and that have gone to others."""
    DENIED = 15
    """A lane: so many wait already that it cannot: it keeps its place."""


Frame = tuple[FrameKind, Buffer]
MOST_FDS = 200
"""Descriptors that go with one frame. Source: SCM_MAX_FD is 253 on Linux."""
_ANCILLARY_BYTES = socket.CMSG_SPACE(MOST_FDS * 4)
_FLAGS = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Passed:
    """Descriptors of loans that go with one frame, in the order in which the frame names them."""

    def __init__(self) -> None:
        self.fds: list[int] = []

    def lend(self, loan: Loan) -> tuple[int, int, int] | None:
        """Return how the other end finds a loan: as the next descriptor; None where there are enough."""
        if len(self.fds) >= MOST_FDS:
            return None
        self.fds.append(loan.fd)
        return 0, 0, loan.token


def ancillary_of(fds: Sequence[int]) -> list[tuple[int, int, bytes]]:
    """Return descriptors as `sendmsg` takes them."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds).tobytes())]


def inner_limits(limits: Limits) -> Limits:
    """Return the limits of frames inside a node: a TASKS frame adds the function to a largest chunk."""
    most = min(2 * limits.message_bytes + limits.header_bytes, MOST_BYTES)
    return Limits(message_bytes=most, header_bytes=limits.header_bytes, items=limits.items)


def frame_head(kind: FrameKind, body: Buffer) -> bytes:
    """Return what goes before `body`.

    Raises:
        LocalProtocolError: the body does not fit a frame (4 GiB).
    """
    if len(body) > MOST_BYTES:
        raise LocalProtocolError(f"a {kind.name} frame of {len(body)} bytes does not fit 32 bits of length")
    return _HEAD.pack(len(body), kind)


class FrameReader:
    """Cuts what a stream socket delivers into frames.

    Small frames are cut out of a scratch buffer, many a system call; a large one is received straight into its own
    memory, so that its cost is linear.

    Args:
        most_bytes: largest body to accept.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._kept = 0  # bytes at the start of the scratch buffer: a head that is not complete
        self._kind = FrameKind.START
        self._body: memoryview | None = None  # a body that is not complete
        self._filled = 0
        self._fds: deque[int] = deque()  # that came with frames, and nobody asked for so far
        self.may_have_more = False
        """Whether the last call took all there was room for: else the socket is empty, or will tell."""

    def receive(self, sock: socket.socket) -> list[Frame] | None:
        """Make one system call and return the frames it completed, or None at the end of the stream.

        A torn frame at the end of the stream is dropped.

        Raises:
            BlockingIOError: the socket does not block and has nothing.
            RemoteProtocolError: not a frame, or larger than `most_bytes`.
        """
        target = self._scratch[self._kept :] if self._body is None else self._body[self._filled :]
        try:
            received, ancillary, _, _ = sock.recvmsg_into((target,), _ANCILLARY_BYTES, _FLAGS)
        except ConnectionResetError:  # the other side died with frames unread; what it wrote came before this
            return None
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._fds.extend(array("i", data[: len(data) - len(data) % 4]))
        if received == 0:
            return None
        self.may_have_more = received == len(target)
        if self._body is None:
            return self._cut(self._kept + received)
        self._filled += received
        if self._filled < len(self._body):
            return []
        frame = (self._kind, self._body)
        self._body = None
        return [frame]

    def take_fd(self) -> int:
        """Return the next descriptor that came with frames; owned by the caller.

        Raises:
            RemoteProtocolError: there is none.
        """
        if not self._fds:
            raise RemoteProtocolError("x (lent): the frame names a loan, and no descriptor came with it")
        return self._fds.popleft()

    def close(self) -> None:
        """Close descriptors that nobody asked for."""
        while self._fds:
            os.close(self._fds.popleft())

    def _cut(self, end: int) -> list[Frame]:
        position, scratch = 0, self._scratch
        frames: list[Frame] = []
        while end - position >= _HEAD.size:
            kind, length = self._parse_head(position)
            position += _HEAD.size
            if end - position < length:
                self._begin_body(kind, length, self._scratch[position:end])
                return frames
            frames.append((kind, scratch[position : position + length].tobytes()))
            position += length
        self._kept = end - position
        if self._kept:
            scratch[: self._kept] = scratch[position:end].tobytes()
        return frames

    def _parse_head(self, position: int) -> tuple[FrameKind, int]:
        length, kind = _HEAD.unpack_from(self._scratch, position)
        if kind not in _KINDS or length > self._most_bytes:
            raise RemoteProtocolError(f"not a frame: kind {kind}, {length} bytes, at most {self._most_bytes} allowed")
        return _KINDS[kind], length

    def _begin_body(self, kind: FrameKind, length: int, start: memoryview) -> None:
        self._kind, self._kept = kind, 0
        self._body = memoryview(bytearray(length))
        self._filled = len(start)
        self._body[: self._filled] = start


_KINDS = {int(kind): kind for kind in FrameKind}


class SupervisorGone(Exception):
    """The other end of a worker's socket is closed; a worker has no reason to live on."""


class Opening(Protocol):
    """What keeps interruptions away while something must not be torn; open where one may come."""

    def open(self) -> None:
        """Let interruptions come; one that was kept away comes now."""

    def shut(self) -> None:
        """Keep them away again."""


Aside = Callable[[Buffer], Callable[[], None] | None]
"""Takes a frame; what it returns is called when all frames that came with it are sorted, without any lock held."""


class WorkerEnd:
    """The worker's end: it blocks, because a worker has nothing else to do.

    Any thread may send, and any may wait for a frame: one of those that wait reads for all.

    Args:
        sock: a blocking stream socket; owned from here on. It may come later, by `attach`.
    """

    _sock: socket.socket

    def __init__(self, sock: socket.socket | None = None) -> None:
        if sock is not None:
            self.attach(sock)
        self._reader = FrameReader(MOST_BYTES)  # the supervisor is trusted: it has checked what it passes on
        self._frames: deque[Frame] = deque()
        self.aside: Mapping[FrameKind, Aside] = {}
        """Who takes frames that are not for `receive`."""
        self._sending = threading.Lock()
        self._turn = threading.Condition(threading.Lock())
        self._reader_thread: int | None = None
        self._told: deque[Callable[[], None]] = deque()
        """What is to be called, now that frames are sorted."""

    def attach(self, sock: socket.socket) -> None:
        """Speak through this socket from now on, in this process."""
        self._sock, self._pid = sock, os.getpid()

    def is_ours(self) -> bool:
        """Tell whether this is still the process that was attached, and none that it forked."""
        return os.getpid() == self._pid

    def receive(self) -> Frame:
        """Return the next frame.

        Raises:
            SupervisorGone: the stream has ended.
        """
        if not self._frames:
            self.wait_until(lambda: self._frames)
        return self._frames.popleft()

    def wait_until(
        self, condition: Callable[[], object], timeout: float | None = None, shield: Opening | None = None
    ) -> bool:
        """Read frames, or have another thread read them, until a condition holds; return False where time is up.

        Args:
            condition: looked at after each read, by whichever thread did it.
            timeout: in seconds, or None.
            shield: opened while there is nothing to read yet; None where no interruption can come.

        Raises:
            SupervisorGone: the stream has ended.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        own = threading.get_ident()
        with self._turn:
            while not condition():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                before = self._reader_thread
                if before not in (None, own):
                    self._turn.wait(left)
                    continue
                self._reader_thread = own
                self._turn.release()
                try:
                    # What is called may wait itself: then it reads on, but for what has come already.
                    if not self._tell():
                        self._sort(self._read(left, shield))
                        self._tell()
                finally:
                    self._turn.acquire()
                    self._reader_thread = before
                    self._turn.notify_all()
        return True

    def _read(self, left: float | None, shield: Opening | None) -> list[Frame]:
        if (shield is not None or left is not None) and not self._is_readable(left, shield):
            return []
        frames = self._reader.receive(self._sock)
        if frames is None:
            raise SupervisorGone
        return frames

    def _is_readable(self, left: float | None, shield: Opening | None) -> bool:
        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLIN)
        patience_ms = None if left is None else left * 1000
        if shield is None:
            return bool(poll.poll(patience_ms))
        try:
            shield.open()
            return bool(poll.poll(patience_ms))
        finally:
            shield.shut()

    def _sort(self, frames: Iterable[Frame]) -> None:
        """Keep frames for `receive`, and give the others to those who take them."""
        for kind, body in frames:
            take = self.aside.get(kind)
            if take is None:
                self._frames.append((kind, body))
            elif (tell := take(body)) is not None:
                self._told.append(tell)

    def pass_over(self) -> None:
        """Turn the tasks that have come, and that `receive` has not returned, into tasks that are not to be run."""
        for place, (kind, body) in enumerate(self._frames):
            if kind is FrameKind.TASKS:
                self._frames[place] = (FrameKind.VOID, body)

    def _tell(self) -> bool:
        """Call what is to be called; return whether there was anything."""
        told = False
        while self._told:
            told = True
            self._told.popleft()()
        return told

    def has_come(self, timeout_s: float) -> bool:
        """Wait until there is a frame to receive; tell whether it came in time.

        Raises:
            SupervisorGone: the stream has ended.
        """
        return self.wait_until(lambda: self._frames, timeout_s)

    def borrow(self, pid: int, number: int, token: int, nbytes: int) -> Loan:
        """Return the next loan that came with the frames."""
        return borrowed(self._reader.take_fd(), nbytes, token)

    def send(self, kind: FrameKind, body: Buffer = b"", fds: Sequence[int] = ()) -> None:
        """Send one frame, and descriptors with it; return when all of it is in the kernel.

        In a process that a task forked, and that came back from the task as the worker did, this never returns: one of
        the two must not answer, and has nothing else to do.

        Raises:
            SupervisorGone: nobody reads any more.
        """
        if os.getpid() != self._pid:
            os._exit(0)
        head = frame_head(kind, body)
        try:
            with self._sending:
                sent = self._sock.sendmsg([head, body], ancillary_of(fds) if fds else ())
                for part in (head, body):  # a blocking socket takes all of it, unless a signal interrupts the call
                    if sent < len(part):
                        self._sock.sendall(memoryview(part)[sent:])
                    sent = max(0, sent - len(part))
        except OSError as error:
            raise SupervisorGone from error
