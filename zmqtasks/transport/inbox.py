"""The one PULL socket a peer binds: frames in, decoded messages out.

Owns the socket's life and the draining of it on an asyncio loop. Judges no message. Called by `network.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import zmq

from zmqtasks.errors import RemoteProtocolError
from zmqtasks.messages import Message
from zmqtasks.options import KIB, Limits
from zmqtasks.wire import codec
from zmqtasks.wire.loans import LoanLost, borrow_by_name

logger = logging.getLogger(__name__)

FRAMES_A_TURN = 256
"""After so many frames the loop sees to its other business first."""
COPY_BELOW_BYTES = 64 * KIB
"""A smaller frame is copied: cheaper than keeping ZeroMQ's buffer."""


class Inbox:
    """Read messages from a bound PULL socket, as the loop finds it readable.

    Args:
        loop: calls back in its own thread.
        socket: bound; owned from now on.
        limits: of one message.
        on_message: gets each decoded message.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        socket: zmq.Socket[bytes],
        limits: Limits,
        on_message: Callable[[Message], None],
    ) -> None:
        self.malformed = 0
        self._loop = loop
        self._socket = socket
        self._limits = limits
        self._on_message = on_message
        # ZeroMQ's descriptor is edge-triggered: it must be drained until EAGAIN each time. The `zmq.asyncio` sockets
        # would do that for us, at 14 us a message instead of 0.5.
        loop.add_reader(socket.FD, self._readable)
        loop.call_soon(self._readable)

    def drain(self) -> None:
        """Read what has come so far; called before silence is judged."""
        for _ in range(FRAMES_A_TURN):
            if self._socket.closed or not self._read_one():
                return
        self._loop.call_soon(self._readable)

    def _readable(self) -> None:
        self.drain()

    def _read_one(self) -> bool:
        try:
            frame = self._socket.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        if self._socket.rcvmore:
            self._skip_multipart("a message of several frames")
            return True
        data = frame.buffer if len(frame) >= COPY_BELOW_BYTES else frame.bytes
        try:
            message = codec.decode(data, self._limits, borrow_by_name)
        except LoanLost as error:
            # Either its session is over, or it is told again: nothing that is still wanted was taken back.
            logger.debug("< dropped: %s", error)
            return True
        except RemoteProtocolError as error:
            self._reject(str(error))
            return True
        logger.debug("< %s", type(message).__name__)
        self._on_message(message)
        return True

    def _skip_multipart(self, what: str) -> None:
        while self._socket.rcvmore:
            self._socket.recv(copy=False)
        self._reject(what)

    def _reject(self, what: str) -> None:
        """Count a malformed frame; say so at 1, 10, 100, ... lest a stranger fill our log."""
        self.malformed += 1
        if str(self.malformed).rstrip("0") == "1":
            logger.warning("ignored %d malformed frame(s); the last: %s", self.malformed, what)

    def close(self) -> None:
        """Stop reading and unbind; idempotent."""
        if not self._socket.closed:
            self._loop.remove_reader(self._socket.FD)
            self._socket.close(linger=0)
