"""The supervisor's end of the socket to one worker.

Owns one non-blocking socket on the loop and the bytes the kernel did not take yet. Never blocks, never opens a body,
sets no bound: the caller reads `backlog_bytes` and stops sending. `workforce.py` calls it.
"""

from __future__ import annotations

import fcntl
import socket
import termios
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from zmqtasks.errors import RemoteProtocolError
from zmqtasks.messages import Buffer
from zmqtasks.processes.framing import FrameKind, FrameReader, ancillary_of, frame_head
from zmqtasks.wire.loans import Loan, borrowed_to_give_back

if TYPE_CHECKING:
    import asyncio

_BUFFERS_A_CALL = 64
_RECEIVES_A_TURN = 16
"""About 1 MiB a turn of the loop, so that one worker cannot keep the others waiting."""
_RECEIVES_AT_THE_END = 4096
"""The kernel holds far less of a dead worker; bounds a descendant that inherited the socket and floods it."""


class Channel:
    """Frames to and from one worker.

    Args:
        loop: the loop that watches the socket.
        sock: a stream socket; owned from here on.
        most_bytes: largest body to accept.
        on_frame: called with each frame received.
        on_ended: called once when the stream has ended, with None, or carries something else than frames, with the
            error; not after `close` or `drain`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        *,
        most_bytes: int,
        on_frame: Callable[[FrameKind, Buffer], None],
        on_ended: Callable[[RemoteProtocolError | None], None],
    ) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._fd = sock.fileno()  # asyncio makes an error text of what it does not know, and that of a socket is dear
        self._reader = FrameReader(most_bytes)
        self._on_frame = on_frame
        self._on_ended = on_ended
        self._outgoing: deque[memoryview] = deque()
        self._marked: deque[tuple[memoryview, Sequence[int], object]] = deque()
        """Parts that descriptors go with, those, and what keeps them open."""
        self._backlog = 0
        self._open = True
        self._writing = False
        self._draining = False

    @property
    def backlog_bytes(self) -> int:
        """Bytes sent here that the kernel has not taken yet."""
        return self._backlog

    def is_empty(self) -> bool:
        """Tell whether nothing is on its way, in either direction. Source: unix(7), SIOCINQ and SIOCOUTQ."""
        if not self._open or self._backlog:
            return False
        unread = bytearray(4)
        for request in (termios.FIONREAD, termios.TIOCOUTQ):
            fcntl.ioctl(self._fd, request, unread)
            if any(unread):
                return False
        return True

    def open(self) -> None:
        """Begin to receive; until then what the worker says waits in the kernel."""
        if self._open:
            self._loop.add_reader(self._fd, self._readable)

    def send(self, kind: FrameKind, body: Buffer = b"", fds: Sequence[int] = (), holder: object = None) -> None:
        """Send one frame without waiting; `body` must not change any more. Dropped after the end of the stream.

        With it go descriptors, which are open as long as there is `holder`.
        """
        if not self._open:
            return
        head, sent = frame_head(kind, body), 0
        if not self._outgoing and not fds:
            try:
                sent = self._sock.sendmsg((head, body))
            except OSError:  # full, or gone: that is seen to below
                sent = 0
            if sent == len(head) + len(body):
                return
        first = len(self._outgoing)
        for part in (memoryview(head)[sent:], memoryview(body)[max(0, sent - len(head)) :]):
            if len(part):
                self._outgoing.append(part)
                self._backlog += len(part)
        if fds:
            self._marked.append((self._outgoing[first], fds, holder))
        if not self._writing:
            self._write()

    def drain(self) -> None:
        """Hand over all that is still in the kernel, then close: the worker has ended, whoever holds its socket."""
        self._draining = True
        for _ in range(_RECEIVES_AT_THE_END):
            if not self._open or not self._receive():
                break
        self.close()

    def close(self) -> None:
        """Close the socket and drop what was not sent; a second call does nothing."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._fd)
        self._stop_writing()
        self._reader.close()
        self._sock.close()

    def _readable(self) -> None:
        for _ in range(_RECEIVES_A_TURN):
            # Where less came than there was room for, the socket is empty; else the loop tells.
            if not self._open or not self._receive() or not self._reader.may_have_more:
                return

    def _receive(self) -> bool:
        """Receive once; return whether there may be more."""
        try:
            frames = self._reader.receive(self._sock)
        except BlockingIOError:
            return False
        except RemoteProtocolError as error:  # a task wrote to the socket: nothing after it can be understood
            self._end(error)
            return False
        if frames is None:
            self._end(None)
            return False
        for kind, body in frames:
            if self._open:  # the handler of an earlier frame may have closed us
                self._on_frame(kind, body)
        return True

    def _end(self, error: RemoteProtocolError | None) -> None:
        if not self._draining:
            self._on_ended(error)
        self.close()

    def _write(self) -> None:
        try:
            while self._outgoing:
                self._sent(self._send_marked() if self._marked else self._send_some(_BUFFERS_A_CALL))
        except BlockingIOError:
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._fd, self._write)
            return
        except OSError:  # it is gone; reading tells, after what it wrote before
            self._outgoing.clear()
            self._backlog = 0
        self._stop_writing()

    def _send_some(self, parts: int) -> int:
        return self._sock.sendmsg(islice(self._outgoing, parts))

    def _send_marked(self) -> int:
        """Send up to the next part that descriptors go with, or that part alone."""
        marked, fds, _ = self._marked[0]
        before = next(place for place, part in enumerate(self._outgoing) if part is marked)
        if before:
            return self._send_some(min(before, _BUFFERS_A_CALL))
        sent = self._sock.sendmsg((marked,), ancillary_of(fds))
        self._marked.popleft()  # they have gone with the first byte
        return sent

    def borrow(self, pid: int, number: int, token: int, nbytes: int) -> Loan:
        """Return the next loan that came with the frames."""
        return borrowed_to_give_back(self._reader.take_fd(), nbytes, token)

    def _sent(self, count: int) -> None:
        self._backlog -= count
        while count:
            first = self._outgoing.popleft()
            if count < len(first):
                self._outgoing.appendleft(first[count:])
                return
            count -= len(first)

    def _stop_writing(self) -> None:
        self._outgoing.clear()
        self._marked.clear()
        self._backlog = 0
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)
