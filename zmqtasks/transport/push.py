"""A lane to another host: one PUSH socket, and the frames that wait for its connection.

Owns the socket. Called by `network.py` through `outlet.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

import zmq

from zmqtasks.errors import BindError
from zmqtasks.transport.handshakes import Knocking
from zmqtasks.transport.keyring import Keyring
from zmqtasks.transport.sockets import HIGH_WATER_MARK, connect, push_socket
from zmqtasks.transport.whereabouts import Whereabouts

AGAIN_S = 1.0
"""Pause after a refusal after which libzmq does not try again: whoever refuses may have learnt our key by then."""


class PushLane:
    """Send frames to a bound PULL socket.

    Args:
        where: the inbox is bound.
        context: of this peer.
        most: frames kept while there is no connection, older ones go; None for all.
        taken: frames ZeroMQ takes before it refuses; None for its own measure.
        keyring: ours, of which both sides have to prove a key; or None.
        on_refused: told why the other side does not let us in, and whether that is certain.

    Raises:
        BindError: the endpoint is malformed.
    """

    def __init__(
        self,
        where: Whereabouts,
        context: zmq.Context[zmq.Socket[bytes]],
        most: int | None,
        taken: int | None,
        keyring: Keyring | None = None,
        on_refused: Callable[[str, bool], None] = lambda why, certain: None,
    ) -> None:
        self._loop = where.loop
        self._where = where
        self._at = ""
        self._on_refused = on_refused
        self._again: asyncio.TimerHandle | None = None
        ours, theirs = (None, None) if keyring is None else (keyring.pair, keyring.server(where.endpoint))
        self._socket = push_socket(context, ours, theirs, taken or HIGH_WATER_MARK)
        self._waiting: deque[bytes | bytearray] = deque(maxlen=most)
        self._watched = False
        # Before it connects: a refusal may come at once, and is told once.
        self._knocking = Knocking(self._loop, self._socket, self._refused, self._arrived, self._failed)
        try:
            self._leads = where.follow(self._move)
        except BindError:
            self._knocking.close()
            raise

    def _move(self, endpoint: str) -> None:
        """Connect there, and nowhere else."""
        if endpoint != self._at:
            self._disconnect()
            connect(self._socket, endpoint)
            self._at = endpoint

    def _disconnect(self) -> None:
        if self._at:
            with contextlib.suppress(zmq.ZMQError):  # it may have forgotten that it was connected
                self._socket.disconnect(self._at)
            self._at = ""

    def _arrived(self) -> None:
        if self._leads:
            self._where.arrived()

    def _failed(self) -> None:
        if self._leads:
            self._where.failed()

    def send(self, frame: bytes | bytearray) -> None:
        """Send a frame now, or when it can be."""
        if self._socket.closed:
            return
        if self._waiting or not self.offer(frame):
            self._waiting.append(frame)
            self._watch()

    def offer(self, frame: bytes | bytearray) -> bool:
        """Send a frame, or return False where it is not taken now."""
        try:
            # Copied: a send without a copy makes pyzmq start a thread that stays for good.
            self._socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _watch(self) -> None:
        if not self._watched:
            self._watched = True
            self._loop.add_reader(self._socket.FD, self._flush)
        # The descriptor is edge-triggered: the edge may have passed before anybody watched.
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._socket.closed:
            return
        self._socket.getsockopt(zmq.EVENTS)
        while self._waiting and self.offer(self._waiting[0]):
            self._waiting.popleft()
        if not self._waiting and self._watched:
            self._watched = False
            self._loop.remove_reader(self._socket.FD)

    def _refused(self, why: str, certain: bool) -> None:
        if certain and self._again is None:  # libzmq has given up
            self._again = self._loop.call_later(AGAIN_S, self._connect_again)
        self._on_refused(why, certain)

    def _connect_again(self) -> None:
        self._again = None
        here = self._at
        self._disconnect()
        if self._leads:
            self._where.move_on()
        else:
            self._move(here)

    def forget_waiting(self) -> None:
        """Drop what waits for a connection."""
        self._waiting.clear()

    def close(self, linger_s: float) -> None:
        """Close the socket; what is on its way gets so many seconds. Idempotent."""
        if self._socket.closed:
            return
        self._flush()
        self._where.leave(self._move)
        self._knocking.close()
        if self._again is not None:
            self._again.cancel()
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._socket.FD)
        self._socket.close(linger=int(linger_s * 1000))
