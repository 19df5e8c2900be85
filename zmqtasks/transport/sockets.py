"""Sockets with explicit options, each from one named constructor.

Owns the ZeroMQ context of a peer and every socket option. Knows nothing of messages. Called by `inbox.py`, `outlet.py`.
"""

from __future__ import annotations

import errno
import resource

import zmq

from zmqtasks import doors
from zmqtasks.errors import BindError, IncompatibleVersion
from zmqtasks.options import Limits
from zmqtasks.transport.keys import KeyPair

LEAST_LIBZMQ = (4, 3, 5)
"""Older ones have remote holes: CVE-2019-6250, CVE-2019-13132, CVE-2020-15166."""
HIGH_WATER_MARK = 1000
"""Messages. Not flow control (windows are): it only bounds what a defect could pile up."""
UNREAD = 64
"""Messages of one connection that ZeroMQ reads ahead of us: so much of a flood is in our memory, the rest in its
sender's. What follows the windows is never many messages, for they travel a megabyte at a time."""

GIVE_UP_MS = 2_000
"""A connection whose segments nobody acknowledges for so long is given up, and another one tried. What was on its
way is lost, and sent again by the session. TCP itself asks ever more rarely: after 13 s not for another 12."""
CONNECT_MS = 1_000
"""How long a connection may take; then the next try, for TCP itself would ask after 1, 3, 7, 15 s only."""
ZAP_DOMAIN = b"zmqtasks"
"""Enforced: a socket that names a domain lets nobody in as long as nobody answers for it. Source: zmq_setsockopt(3)."""
RECONNECT_MS = 100
RECONNECT_MOST_MS = 200
"""Pause between two tries: with `CONNECT_MS`, a way that is open again is found within 1.2 s."""


def new_context() -> zmq.Context[zmq.Socket[bytes]]:
    """Return a context of our own that may hold as many sockets as the process may hold descriptors.

    Raises:
        IncompatibleVersion: libzmq is older than 4.3.5.
    """
    if zmq.zmq_version_info() < LEAST_LIBZMQ:
        wanted = ".".join(map(str, LEAST_LIBZMQ))
        raise IncompatibleVersion(f"libzmq {zmq.zmq_version()} has known holes; zmqtasks needs {wanted} or later")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, min(hard if hard > 0 else 65_536, 65_536, context.get(zmq.SOCKET_LIMIT)))
    return context


def _set_common_options(socket: zmq.Socket[bytes]) -> None:
    socket.linger = 0
    # Application heartbeats judge liveness; these only clear away dead connections. A tight ZMTP heartbeat throws
    # away everything in its buffers when a link is silent for a moment. Source: docs/design/protocol.md.
    socket.setsockopt(zmq.HEARTBEAT_IVL, 5_000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 20_000)
    socket.setsockopt(zmq.HANDSHAKE_IVL, 5_000)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 30)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 10)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
    socket.setsockopt(zmq.TCP_MAXRT, GIVE_UP_MS)


def bound_pull(
    context: zmq.Context[zmq.Socket[bytes]], endpoints: tuple[str, ...], limits: Limits, pair: KeyPair | None = None
) -> tuple[zmq.Socket[bytes], tuple[str, ...]]:
    """Return the PULL socket of an inbox, and the endpoints it is bound to (with the ports that were drawn).

    With a key pair it takes only connections that a doorkeeper of its context lets in.

    Raises:
        BindError: an endpoint cannot be bound; the text names it and says why.
    """
    socket = context.socket(zmq.PULL)
    _set_common_options(socket)
    socket.rcvhwm = UNREAD
    socket.setsockopt(zmq.BACKLOG, 1024)
    socket.setsockopt(zmq.MAXMSGSIZE, limits.message_bytes + 4096)
    if pair is not None:
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
        socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    bound = []
    for endpoint in endpoints:
        try:
            _bind(socket, endpoint)
        except BindError:
            socket.close()
            raise
        bound.append(socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0"))
    return socket, tuple(bound)


def _bind(socket: zmq.Socket[bytes], endpoint: str) -> None:
    """Bind to an endpoint, or where it names a range of ports, to the first that is free."""
    candidates = doors.candidates(endpoint)
    for candidate in candidates:
        try:
            socket.setsockopt(zmq.IPV6, int("[" in candidate))
            socket.bind(candidate)
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE and candidate != candidates[-1]:
                continue
            raise BindError(f"cannot bind {endpoint}: {_reason(error, endpoint)}") from error
        return


def _reason(error: zmq.ZMQError, endpoint: str) -> str:
    reasons = {
        zmq.EADDRINUSE: "the address is in use; choose another port, or 0 for any free one",
        errno.ENODEV: "this host has no such address or interface",
        zmq.EADDRNOTAVAIL: "this host has no such address",
        errno.EINVAL: 'it is malformed; write "tcp://HOST:PORT"',
        zmq.EPROTONOSUPPORT: 'no such protocol; write "tcp://HOST:PORT"',
        errno.EACCES: "permission denied; ports below 1024 belong to root",
    }
    return reasons.get(error.errno or 0, str(error))


def push_socket(
    context: zmq.Context[zmq.Socket[bytes]],
    pair: KeyPair | None = None,
    server: bytes | None = None,
    most: int = HIGH_WATER_MARK,
) -> zmq.Socket[bytes]:
    """Return a PUSH socket for one inbox. It takes messages only while its connection stands (IMMEDIATE).

    Args:
        context: of this peer.
        pair: our own keys; None for a connection that anybody can read.
        server: public key that the inbox has to prove; that of `pair` if None.
        most: messages it takes before it refuses.

    Raises:
        BindError: no socket can be had.
    """
    try:
        socket = context.socket(zmq.PUSH)
    except zmq.ZMQError as error:  # no descriptor is left, say
        raise BindError(f"cannot connect: {_reason(error, '')}") from error
    _set_common_options(socket)
    socket.sndhwm = most
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MOST_MS)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_MS)
    if pair is not None:
        socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
        socket.setsockopt(zmq.CURVE_SERVERKEY, server or pair.public)
    return socket


def connect(socket: zmq.Socket[bytes], endpoint: str) -> None:
    """Connect to where an inbox is bound; libzmq may be refused there before this returns.

    Raises:
        BindError: the endpoint is malformed; the socket is closed.
    """
    try:
        socket.setsockopt(zmq.IPV6, int("[" in endpoint))
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        raise BindError(f"cannot connect to {endpoint}: {_reason(error, endpoint)}") from error
