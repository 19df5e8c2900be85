"""A lane to another host: one PUSH socket, and the frames that wait for its connection.

Owns the socket. Called by `network.py` through `outlet.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque

import zmq

from zmqtasks.transport.keys import KeyPair
from zmqtasks.transport.sockets import HIGH_WATER_MARK, connected_push


class PushLane:
    """Send frames to a bound PULL socket.

    Args:
        loop: watches for the connection.
        context: of this peer.
        endpoint: where the inbox is bound.
        most: frames kept while there is no connection, older ones go; None for all.
        taken: frames ZeroMQ takes before it refuses; None for its own measure.
        pair: the keys of the mesh, which both sides have to prove; or None.

    Raises:
        BindError: the endpoint is malformed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        most: int | None,
        taken: int | None,
        pair: KeyPair | None = None,
    ) -> None:
        self._loop = loop
        self._socket = connected_push(context, endpoint, pair, most=taken or HIGH_WATER_MARK)
        self._waiting: deque[bytes | bytearray] = deque(maxlen=most)
        self._watched = False

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

    def forget_waiting(self) -> None:
        """Drop what waits for a connection."""
        self._waiting.clear()

    def close(self, linger_s: float) -> None:
        """Close the socket; what is on its way gets so many seconds. Idempotent."""
        if self._socket.closed:
            return
        self._flush()
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._socket.FD)
        self._socket.close(linger=int(linger_s * 1000))
