"""How handshakes end, as libzmq tells it: who was not let in by us, and why others do not let us in.

Owns the monitors of sockets, and what their events mean in words. They are hints: what is refused is refused whether
anybody hears of it or not. Called by `inbox.py` and `push.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import socket
from collections.abc import Callable

import zmq
from zmq.utils.monitor import parse_monitor_message

from zmqtasks.transport.refusals import Refusals

EVENTS_A_TURN = 256
"""After so many the loop sees to its other business first."""
MOST_COMING = 4096
"""Connections whose names are remembered; of more, the oldest is forgotten."""
_FAILED = zmq.Event.HANDSHAKE_FAILED_AUTH | zmq.Event.HANDSHAKE_FAILED_PROTOCOL | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
_MISMATCH, _CRYPTOGRAPHIC = 0x11000002, 0x11000001
"""ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH and _CRYPTOGRAPHIC of zmq.h."""
NO_PEER = "what it sent is no handshake"
_numbers = itertools.count()


class Monitor:
    """Call back for each event of one socket.

    Args:
        loop: calls back in its own thread.
        socket: whose events they are; `close` comes before its own end.
        events: which ones.
        on_event: called with the event and its value.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        socket: zmq.Socket[bytes],
        events: int,
        on_event: Callable[[int, int], None],
    ) -> None:
        self._loop = loop
        self._socket = socket
        self._on_event = on_event
        address = f"inproc://handshakes-{next(_numbers)}"
        socket.monitor(address, events)
        self._events = socket.context.socket(zmq.PAIR)
        self._events.linger = 0
        self._events.rcvhwm = 0  # with a bound, libzmq's own thread would wait for us: it tells events in earnest
        self._events.connect(address)
        self._fd: int = self._events.FD
        loop.add_reader(self._fd, self.read)
        loop.call_soon(self.read)

    def read(self) -> None:
        """Tell what has happened so far."""
        for _ in range(EVENTS_A_TURN):
            if self._events.closed:
                return
            try:
                event = parse_monitor_message(self._events.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            self._on_event(int(event["event"]), int(event["value"]))
        self._loop.call_soon(self.read)

    def close(self) -> None:
        """Tell no more; idempotent."""
        if not self._events.closed:
            self._loop.remove_reader(self._fd)
            with contextlib.suppress(zmq.ZMQError):
                self._socket.disable_monitor()
            self._events.close(linger=0)


class Guard:
    """Tell the log who came to an inbox and was not let in.

    Args:
        loop: everything runs in its thread.
        socket: of the inbox.
        refusals: told of each.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: zmq.Socket[bytes], refusals: Refusals) -> None:
        self._refusals = refusals
        self._names: dict[int, str] = {}  # by descriptor: libzmq tells no other name
        self._strange: set[int] = set()
        """Of them, those of whom nothing is heard yet that a peer would say."""
        self._failed: str = ""
        events = zmq.Event.ACCEPTED | zmq.Event.DISCONNECTED | zmq.Event.HANDSHAKE_SUCCEEDED | _FAILED
        self._monitor = Monitor(loop, socket, events, self._take)

    def _take(self, event: int, value: int) -> None:
        if event == zmq.Event.ACCEPTED:
            if len(self._names) >= MOST_COMING:
                self._forget(next(iter(self._names)))
            self._names[value] = _name_of(value)
            self._strange.add(value)
        elif event == zmq.Event.DISCONNECTED:  # told by the thread that told the failure, and right after it
            # libzmq closes on what is no handshake at all, and tells nothing but that.
            why = self._failed or (NO_PEER if value in self._strange else "")
            who, self._failed = self._forget(value), ""
            if why:
                self._refusals.tell(who, why)
        elif event in (zmq.Event.HANDSHAKE_SUCCEEDED, zmq.Event.HANDSHAKE_FAILED_AUTH):
            # The doorkeeper has told of the latter. Whose handshake it was is not told: any that was under way.
            self._strange.clear()
        else:
            self._failed = why_not_let_in(event, value)

    def _forget(self, descriptor: int) -> str:
        self._strange.discard(descriptor)
        return self._names.pop(descriptor, "somebody")

    def close(self) -> None:
        """Tell no more; idempotent."""
        self._monitor.close()


def _name_of(descriptor: int) -> str:
    """Return the host at the other end of a connection of libzmq; it may be over, and its number that of another."""
    try:
        connection = socket.socket(fileno=descriptor)
    except OSError:  # it is no socket any more
        return "somebody"
    try:
        return str(connection.getpeername()[0])
    except (OSError, IndexError):
        return "somebody"
    finally:
        connection.detach()  # it is libzmq's to close


def why_not_let_in(event: int, value: int) -> str:
    """Return why we did not let somebody in."""
    if event == zmq.Event.HANDSHAKE_FAILED_NO_DETAIL and value in (errno.EAGAIN, errno.ETIMEDOUT):
        return "it was silent for too long"
    return {
        _MISMATCH: "it has no key",
        _CRYPTOGRAPHIC: "it has the key of another mesh, or sends again what a member has sent",
    }.get(value, "it did not prove that it has the key")


def why_we_are_not(event: int, value: int, *, has_key: bool) -> str:
    """Return why somebody did not let us in; who is faster closes, and the other hears no detail."""
    if event == zmq.Event.HANDSHAKE_FAILED_AUTH:
        return "the key of this program is not known there"
    if value == _MISMATCH or not has_key:
        return "one side has a key, and the other has none"
    return "whoever is there asks for a key that this program has not, or is no peer"


class Knocking:
    """Tell where others do not let us in; libzmq tries again after some failures, and never after others.

    Args:
        loop: everything runs in its thread.
        socket: that connects.
        on_refused: called with the reason, and whether that is certain: then libzmq has given up.
        on_reached: called when somebody has taken a connection.
        on_missed: called when nobody has, or has it no more; libzmq is about to try again.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        socket: zmq.Socket[bytes],
        on_refused: Callable[[str, bool], None],
        on_reached: Callable[[], None],
        on_missed: Callable[[], None],
    ) -> None:
        self._on_refused = on_refused
        self._on = {int(zmq.Event.CONNECTED): on_reached, int(zmq.Event.CONNECT_RETRIED): on_missed}
        self._has_key = socket.getsockopt(zmq.MECHANISM) == zmq.CURVE
        self._monitor = Monitor(loop, socket, _FAILED | zmq.Event.CONNECTED | zmq.Event.CONNECT_RETRIED, self._take)

    def _take(self, event: int, value: int) -> None:
        if (told := self._on.get(event)) is not None:
            told()
            return
        why = why_we_are_not(event, value, has_key=self._has_key)
        self._on_refused(why, event != zmq.Event.HANDSHAKE_FAILED_NO_DETAIL)

    def close(self) -> None:
        """Tell no more; idempotent."""
        self._monitor.close()
