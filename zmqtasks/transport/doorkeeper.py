"""Who may connect: answers ZeroMQ's question about each key that knocks, and is itself tried before anybody comes.

CURVE alone proves that the other side has a key, not that it is one we know: without an answer to the question (ZAP,
RFC 27) any key would do. So the sockets name a domain of their own and enforce it, which lets nobody in while nobody
answers, and a peer starts only after a key drawn at random was refused at its door.

Owns the socket that ZeroMQ asks. Knows no message. Called by `front_door.py`.
"""

from __future__ import annotations

import asyncio
import time

import zmq
from zmq.utils.monitor import recv_monitor_message

from zmqtasks.errors import BindError
from zmqtasks.transport.keyring import Keyring
from zmqtasks.transport.keys import new_pair
from zmqtasks.transport.refusals import Refusals
from zmqtasks.transport.sockets import connect, push_socket

ANSWERS_AT = "inproc://zeromq.zap.01"
"""Where libzmq asks. Source: RFC 27/ZAP."""
ANSWERS_A_TURN = 64
"""After so many questions the loop sees to its other business first."""
PROBE_S = 5.0
"""How long a refusal on this host may take."""
_VERDICTS = (
    zmq.Event.HANDSHAKE_SUCCEEDED
    | zmq.Event.HANDSHAKE_FAILED_AUTH
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
)
_QUESTION_FRAMES = 9
"""Who asks, nothing, version, number, domain, address, identity, mechanism, and for CURVE the key."""


class Doorkeeper:
    """Answer who may connect to the sockets of a context.

    Args:
        context: of this peer.
        keyring: of this peer: whose key is there may come in.
        refusals: told of whom was refused.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keyring: Keyring, refusals: Refusals) -> None:
        self._context = context
        self._keyring = keyring
        self._refusals = refusals
        self._loop: asyncio.AbstractEventLoop | None = None
        self._probe = b""
        self._socket = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind(ANSWERS_AT)

    def attend(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answer from now on, whenever the loop finds a question."""
        self._loop = loop
        loop.add_reader(self._socket.FD, self.answer)
        loop.call_soon(self.answer)

    def answer(self) -> None:
        """Answer what was asked so far."""
        for _ in range(ANSWERS_A_TURN):
            try:
                question = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.ZMQError:  # nothing was asked, or this is closed
                return
            self._socket.send_multipart(self._judge(question), zmq.NOBLOCK)
        if self._loop is not None:
            self._loop.call_soon(self.answer)

    def _judge(self, question: list[bytes]) -> list[bytes]:
        head = question[:4]  # who asks, nothing, version, number: they go back as they came
        if len(question) != _QUESTION_FRAMES or question[7] != b"CURVE":
            return [*head, b"400", b"no key", b"", b""]
        key = question[8]
        if self._keyring.member(key.hex()):
            return [*head, b"200", b"OK", key.hex().encode(), b""]
        if key != self._probe:
            self._refusals.tell(question[5].decode(errors="replace"), f"its key {key.hex()} is not known here")
        return [*head, b"400", b"unknown key", b"", b""]

    def try_door(self, endpoint: str) -> None:
        """Make sure that a key drawn at random is refused at one of our own endpoints; takes some milliseconds.

        Raises:
            BindError: it was not; whoever comes might be let in.
        """
        stranger = new_pair()
        self._probe = stranger.public
        socket = push_socket(self._context, stranger, self._keyring.pair.public)
        monitor = socket.get_monitor_socket(_VERDICTS)
        try:
            connect(socket, _from_here(endpoint))
            verdict = self._await_verdict(monitor)
        finally:
            socket.disable_monitor()
            monitor.close(linger=0)
            socket.close(linger=0)
            self._probe = b""
        if verdict != zmq.Event.HANDSHAKE_FAILED_AUTH:
            found = "it was let in" if verdict == zmq.Event.HANDSHAKE_SUCCEEDED else "nobody answered"
            raise BindError(f"{endpoint} is not safe: a key drawn at random should have been refused, but {found}")

    def _await_verdict(self, monitor: zmq.Socket[bytes]) -> int:
        poller = zmq.Poller()
        poller.register(monitor, zmq.POLLIN)
        poller.register(self._socket, zmq.POLLIN)
        until = time.monotonic() + PROBE_S
        while (left_s := until - time.monotonic()) > 0:
            ready = dict(poller.poll(int(left_s * 1000)))
            if self._socket in ready:
                self.answer()
            if monitor in ready:
                return int(recv_monitor_message(monitor)["event"])
        return 0

    def close(self) -> None:
        """Answer no more: from now on nobody is let in. Idempotent."""
        if not self._socket.closed:
            if self._loop is not None:
                self._loop.remove_reader(self._socket.FD)
            self._socket.close(linger=0)


def _from_here(endpoint: str) -> str:
    """Return how this host reaches a bound endpoint, which may be all its addresses."""
    return endpoint.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
