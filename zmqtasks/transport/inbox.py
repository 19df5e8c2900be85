"""The one PULL socket a peer binds for other hosts: frames in, decoded messages out.

Owns the socket's life and the draining of it on an asyncio loop. Judges no message. Called by `front_door.py`.
"""

from __future__ import annotations

import asyncio

import zmq

from zmqtasks.options import KIB
from zmqtasks.transport.intake import Intake
from zmqtasks.transport.keyring import Keyring

FRAMES_A_TURN = 256
"""After so many frames the loop sees to its other business first."""
PAUSE_S = 0.004
USELESS_A_TURN = 4
"""Who floods us with useless frames costs us so many in that time: ZeroMQ asks the connections in turn, so between two
of them each other sender has been heard, and what is not read fills the flooder's own connection. To wake up costs more
than to look at one."""
COPY_BELOW_BYTES = 64 * KIB
"""A smaller frame is copied: cheaper than keeping ZeroMQ's buffer."""


class Inbox:
    """Read messages from a bound PULL socket, as the loop finds it readable.

    Args:
        loop: calls back in its own thread.
        socket: bound; owned from now on.
        intake: gets each frame.
        keyring: tells who has sent it, where each peer has a key of its own; else None.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        socket: zmq.Socket[bytes],
        intake: Intake,
        keyring: Keyring | None = None,
    ) -> None:
        self._loop = loop
        self._socket = socket
        self._descriptor: int = socket.FD
        self._intake = intake
        self._keyring = keyring
        self._skipping = self._pausing = False
        self._useless = 0  # since the last pause
        # ZeroMQ's descriptor is edge-triggered: it must be drained until EAGAIN each time. The `zmq.asyncio` sockets
        # would do that for us, at 14 us a message instead of 0.5.
        loop.add_reader(self._descriptor, self.drain)
        loop.call_soon(self.drain)

    def drain(self) -> None:
        """Read what has come so far; called before silence is judged."""
        for _ in range(FRAMES_A_TURN):
            if self._pausing or self._socket.closed or not self._read_one():
                return
        self._loop.call_soon(self.drain)

    def _read_one(self) -> bool:
        try:
            frame = self._socket.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        if self._skipping or frame.more:
            self._skipping = frame.more
            is_fine = self._intake.reject("a message of several frames")
        elif self._keyring is not None:
            is_fine = self._take_from(frame, self._keyring)
        else:
            is_fine = self._intake.take(frame.buffer if len(frame) >= COPY_BELOW_BYTES else frame.bytes)
        if not is_fine:
            self._useless += 1
            if self._useless >= USELESS_A_TURN:
                self._pause()
        return True

    def _take_from(self, frame: zmq.Frame, keyring: Keyring) -> bool:
        """Take a frame of a connection whose key libzmq has seen proved; it may have been revoked since."""
        key = str(frame.get("User-Id"))
        sender = keyring.member(key)
        if sender is None:
            return self._intake.refuse(key, "its key is not known here any more")
        return self._intake.take(frame.buffer if len(frame) >= COPY_BELOW_BYTES else frame.bytes, sender)

    def _pause(self) -> None:
        """Read nothing for a while, and do not watch the descriptor: what comes meanwhile would keep it readable."""
        self._pausing, self._useless = True, 0
        self._loop.remove_reader(self._descriptor)
        self._loop.call_later(PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        self._pausing = False
        if self._socket.closed:
            return
        self._loop.add_reader(self._descriptor, self.drain)
        # As long as one connection has something to read, ZeroMQ looks for others that have only at each 100th frame
        # (`inbound_poll_rate`), which would be after 0.2 s here; asked for its state, it looks at once.
        self._socket.getsockopt(zmq.EVENTS)
        self.drain()

    def close(self) -> None:
        """Stop reading and unbind; idempotent."""
        if not self._socket.closed:
            self._loop.remove_reader(self._descriptor)
            self._socket.close(linger=0)
