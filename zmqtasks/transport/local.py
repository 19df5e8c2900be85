"""The way between peers on one host: Unix stream sockets, read and written by the loop's own thread.

ZeroMQ hands each message to a thread of its own and takes it from another: four threads a message more, which is what
a round trip is made of. Here a frame goes with one system call and comes with one. Between hosts, where nothing of
that is felt, ZeroMQ it is.

    a connection: frames, each `u64 length, big endian | frame`

Owns the sockets and what the kernel did not take yet. Order is kept, nothing comes twice; what is lost is lost with the
process at the other end. Judges no message. Called by `network.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque

from zmqtasks.errors import BindError
from zmqtasks.options import KIB, MIB
from zmqtasks.transport.intake import Intake

SCHEME = "unix://"
HEAD_BYTES = 8
READ_BYTES = 64 * KIB
READS_A_TURN = 16
"""About 1 MiB a turn of the loop, so that one peer cannot keep the others waiting."""
GROW_BYTES = 256 * KIB
"""What a large frame gets of memory before any of it has come; then as much again as has come: a length is only a
claim."""
ACCEPTED_A_TURN = 16
"""Who connects all the time shall not keep the loop from its other business."""
MOST_UNPROVEN = 256
"""Connections over which nothing useful has come yet; of more, the oldest is closed."""
PAUSE_S = 0.05
"""Who floods us with useless frames costs us one each so many seconds; what is not read waits at its sender."""
SEND_BYTES = MIB
"""What the kernel is asked to take before the other side has read it; it may allow less."""
BACKLOG = 1024
RETRY_S = 0.05
"""First wait for a peer that does not listen; each further one is twice as long, up to `RETRY_MOST_S`."""
RETRY_MOST_S = 5.0


class LocalInbox:
    """Take connections at a path, and frames from them.

    Args:
        loop: calls back in its own thread.
        path: of the socket; removed at the end.

    Raises:
        BindError: there can be no socket.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, path: str) -> None:
        self._loop = loop
        self._path = path
        self._intake: Intake | None = None
        self._connections: dict[_Connection, None] = {}
        """In the order in which they came; those that have proven useful are in `_proven`."""
        self._proven: set[_Connection] = set()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(path)
            self._listener.listen(BACKLOG)
        except OSError as error:
            self._listener.close()
            raise BindError(f"cannot bind {SCHEME}{path}: {error.strerror}") from error
        self._listener.setblocking(False)

    def listen(self, intake: Intake) -> None:
        """Begin to read."""
        self._intake = intake
        self._loop.add_reader(self._listener, self._accept)

    def drain(self) -> None:
        """Read what has come so far."""
        if self._intake is not None:
            self._accept()
            for connection in list(self._connections):
                connection.read()

    def _accept(self) -> None:
        for _ in range(ACCEPTED_A_TURN):
            try:
                accepted, _ = self._listener.accept()
            except OSError:  # none waits, or it has left already
                return
            assert self._intake is not None
            connection = _Connection(self._loop, accepted, self._intake, self)
            self._connections[connection] = None
            connection.read()
            if len(self._connections) - len(self._proven) > MOST_UNPROVEN:
                next(other for other in self._connections if other not in self._proven).close()

    def proven(self, connection: _Connection) -> None:
        """Something useful has come over a connection."""
        self._proven.add(connection)

    def ended(self, connection: _Connection) -> None:
        """A connection has ended."""
        self._connections.pop(connection, None)
        self._proven.discard(connection)

    def close(self) -> None:
        """Read no more, and let nobody connect; idempotent."""
        if self._listener.fileno() < 0:
            return
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for connection in list(self._connections):
            connection.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)


class _Connection:
    """One accepted connection: it cuts what comes into frames, and tells its inbox when it has ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, intake: Intake, inbox: LocalInbox) -> None:
        self._loop = loop
        self._sock = sock
        self._intake = intake
        self._inbox = inbox
        self._kept = b""  # the beginning of a small frame; after a pause, all that was not looked at
        self._body: bytearray | None = None  # a large frame that is not complete
        self._filled = self._length = 0
        self._open = True
        self._proven = False
        self._pause: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        self._descriptor = sock.fileno()
        self._watching = False
        self._watch()

    def _watch(self) -> None:
        # By its number: asyncio asks for what it does not know yet, and an error with the text of a socket costs 10 us.
        if self._open and self._pause is None and not self._watching:
            self._watching = True
            self._loop.add_reader(self._descriptor, self.read)

    def _look_away(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._descriptor)

    def read(self) -> None:
        """Read what has come so far, unless that is very much."""
        for _ in range(READS_A_TURN):
            if not self._open or self._pause is not None or not self._read_once():
                return

    def _read_once(self) -> bool:
        """Make one system call; return whether there may be more."""
        if self._body is not None:
            return self._read_body(self._body)
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # the other side died with frames unread
            data = b""
        if not data:
            self.close()
            return False
        self._cut(self._kept + data if self._kept else data)
        return len(data) == READ_BYTES

    def _cut(self, data: bytes) -> None:
        position, end = 0, len(data)
        self._kept = b""
        while self._pause is None and end - position >= HEAD_BYTES:
            start = position + HEAD_BYTES
            length = int.from_bytes(data[position:start], "big")
            if length > self._intake.limits.message_bytes:
                self._intake.reject(f"a frame of {length} bytes, at most {self._intake.limits.message_bytes} are taken")
                self.close()
                return
            position = start + length
            if position > end:
                if length >= READ_BYTES:
                    self._begin_body(length, data[start:])
                else:
                    self._kept = data[start - HEAD_BYTES :]
                return
            view = memoryview(data)[start:position]
            # A body may be kept for long, and keeps what it is cut from.
            self._take(view if 2 * length > end else view.tobytes())
            if not self._open:
                return
        self._kept = data[position:]

    def _take(self, frame: bytes | memoryview) -> None:
        if not self._intake.take(frame):
            self._look_away()
            self._pause = self._loop.call_later(PAUSE_S, self._go_on)
        elif not self._proven:
            self._proven = True
            self._inbox.proven(self)

    def _go_on(self) -> None:
        self._pause = None
        self._cut(self._kept)
        self.read()
        self._watch()

    def _begin_body(self, length: int, start: bytes) -> None:
        self._body = bytearray(min(length, GROW_BYTES))  # more than one reading brings
        self._body[: len(start)] = start
        self._filled, self._length = len(start), length

    def _read_body(self, body: bytearray) -> bool:
        try:
            received = self._sock.recv_into(memoryview(body)[self._filled :])
        except BlockingIOError:
            return False
        except OSError:
            received = 0
        if not received:
            self.close()
            return False
        self._filled += received
        if self._filled == self._length:
            self._body = None
            self._take(memoryview(body))
        elif self._filled == len(body):
            body.extend(bytes(min(len(body), self._length - len(body))))
        return True

    def close(self) -> None:
        """Read no more; idempotent."""
        if self._open:
            self._open = False
            self._inbox.ended(self)
            if self._pause is not None:
                self._pause.cancel()
            self._look_away()
            self._sock.close()


class LocalLane:
    """A connection to the inbox at a path, made anew where it breaks, and the frames that wait for it.

    Args:
        loop: calls back when the kernel takes more.
        path: where the inbox is bound.
        most: frames that may wait, older ones go; None for all.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, path: str, most: int | None) -> None:
        self._loop = loop
        self._path = path
        self._waiting: deque[bytes | bytearray] = deque(maxlen=most)
        self._rest: memoryview | None = None  # of a frame that the kernel took a part of
        self._sock: socket.socket | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._retry_s = RETRY_S
        self._closed = False
        self._connect()

    def send(self, frame: bytes | bytearray) -> None:
        """Send a frame now, or when it can be."""
        if (self._waiting or not self.offer(frame)) and not self._closed:
            self._waiting.append(frame)

    def offer(self, frame: bytes | bytearray) -> bool:
        """Send a frame, or return False where it is not taken now."""
        sock = self._sock
        if sock is None or self._rest is not None:
            return False
        head = len(frame).to_bytes(HEAD_BYTES, "big")
        try:
            if len(frame) < READ_BYTES:
                sent = sock.send(head + frame, socket.MSG_NOSIGNAL)
            else:
                sent = sock.sendmsg((head, frame), (), socket.MSG_NOSIGNAL)
        except BlockingIOError:
            self._rest = memoryview(b"")
            self._loop.add_writer(sock, self._flush)
            return False
        except OSError:
            self._break()
            return False
        if sent < HEAD_BYTES + len(frame):
            self._keep_rest(sock, head, frame, sent)
        return True

    def _keep_rest(self, sock: socket.socket, head: bytes, frame: bytes | bytearray, sent: int) -> None:
        self._rest = memoryview(head + frame)[sent:] if sent < HEAD_BYTES else memoryview(frame)[sent - HEAD_BYTES :]
        self._loop.add_writer(sock, self._flush)

    def _flush(self) -> None:
        """Send what waits, as far as the kernel takes it."""
        sock = self._sock
        if sock is None or not self._send_rest(sock):
            return
        while self._waiting:
            frame = self._waiting.popleft()
            if not self.offer(frame):
                self._waiting.appendleft(frame)
                return

    def _send_rest(self, sock: socket.socket) -> bool:
        """Send the rest of the frame under way; return whether all of it has gone."""
        while self._rest:
            try:
                self._rest = self._rest[sock.send(self._rest, socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                return False
            except OSError:
                self._break()
                return False
        if self._rest is not None:
            self._rest = None
            self._loop.remove_writer(sock)
        return True

    def _connect(self) -> None:
        self._retry = None
        sock: socket.socket | None = None
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
            sock.connect(self._path)
        except OSError:  # nobody listens yet, or no more, or too many wait; or we have no descriptor left
            if sock is not None:
                sock.close()
            self._retry = self._loop.call_later(self._retry_s, self._connect)
            self._retry_s = min(2 * self._retry_s, RETRY_MOST_S)
            return
        self._sock, self._retry_s = sock, RETRY_S
        self._flush()

    def _break(self) -> None:
        """The other end is gone; what the kernel had is lost."""
        self._drop_socket()
        self._retry = self._loop.call_later(self._retry_s, self._connect)

    def _drop_socket(self) -> None:
        if self._sock is not None:
            if self._rest is not None:
                self._rest = None
                self._loop.remove_writer(self._sock)
            self._sock.close()
            self._sock = None

    def forget_waiting(self) -> None:
        """Drop what waits for a connection."""
        self._waiting.clear()

    def close(self, linger_s: float) -> None:
        """Close it; what the kernel has arrives in any case, and what waits if there is room now. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        self._flush()
        self._waiting.clear()
        self._drop_socket()
