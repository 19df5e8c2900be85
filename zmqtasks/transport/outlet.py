"""The way to one peer's inbox: two PUSH connections, bulk and control, so that a heartbeat never waits behind data.

Owns both sockets and what could not be handed to them yet. Never blocks, never drops bulk on its own account; the
session retransmits what a connection loses. Called by `network.py`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque

import zmq

from zmqtasks.messages import Bulk, Control, Output
from zmqtasks.transport.sockets import connected_push
from zmqtasks.wire import codec
from zmqtasks.wire.loans import Loan

logger = logging.getLogger(__name__)

CONTROL_WAITING = 16
"""Control messages kept while there is no connection; older ones are out of date by then, and repeated anyway."""


OUTPUT_WAITING = 8
"""Output messages that ZeroMQ takes before it refuses: a slow link shall refuse early, for then lines are counted."""


class _Lane:
    """One PUSH socket and the frames that wait for its connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: zmq.Socket[bytes], most: int | None) -> None:
        self._loop = loop
        self._socket = socket
        self._waiting: deque[bytes | bytearray] = deque(maxlen=most)
        self._watched = False

    def send(self, frame: bytes | bytearray) -> None:
        if self._waiting or not self._try(frame):
            self._waiting.append(frame)
            self._watch()

    def _try(self, frame: bytes | bytearray) -> bool:
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
        while self._waiting and self._try(self._waiting[0]):
            self._waiting.popleft()
        if not self._waiting and self._watched:
            self._watched = False
            self._loop.remove_reader(self._socket.FD)

    def forget_waiting(self) -> None:
        self._waiting.clear()

    def close(self, linger_s: float) -> None:
        if self._socket.closed:
            return
        self._flush()
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._socket.FD)
        self._socket.close(linger=int(linger_s * 1000))


def _by_name(loan: Loan) -> tuple[int, int, int]:
    return os.getpid(), loan.fd, loan.token


class Outlet:
    """Send messages to one inbox.

    Args:
        loop: watches for connections.
        context: of this peer.
        endpoint: where the inbox is bound.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self.endpoint = endpoint
        self.lends = False
        self._loop = loop
        self._context = context
        self._control = _Lane(loop, connected_push(context, endpoint), CONTROL_WAITING)
        self._bulk: _Lane | None = None
        self._output: zmq.Socket[bytes] | None = None

    def send_control(self, message: Control) -> None:
        """Send a small message that may be lost and is repeated."""
        logger.debug("> %s", type(message).__name__)
        self._control.send(codec.encode(message))

    def send_bulk(self, message: Bulk) -> None:
        """Send a numbered message; it waits here while there is no connection."""
        logger.debug("> %s %d", type(message).__name__, message.seq)
        if self._bulk is None:
            self._bulk = _Lane(self._loop, connected_push(self._context, self.endpoint), None)
        self._bulk.send(codec.encode(message, lend=_by_name if self.lends else None))

    def send_output(self, message: Output) -> bool:
        """Send on a third connection, made at the first time; False where nothing can be taken now."""
        if self._output is None:
            self._output = connected_push(self._context, self.endpoint, OUTPUT_WAITING)
        try:
            self._output.send(codec.encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def forget_waiting(self) -> None:
        """Drop the bulk that still waits for a connection: the session is about to send it all again."""
        if self._bulk is not None:
            self._bulk.forget_waiting()

    def close(self, linger_s: float = 0.0) -> None:
        """Close all connections; what is on its way gets `linger_s` seconds. Idempotent."""
        self._control.close(linger_s)
        if self._bulk is not None:
            self._bulk.close(linger_s)
        if self._output is not None and not self._output.closed:
            self._output.close(linger=int(linger_s * 1000))
