"""What `peer.py` sees of the ways between peers: one inbox, outlets to others, addresses.

Owns the context and the inbox. `testing.SimNetwork` has the same face.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from zmqtasks import doors
from zmqtasks.errors import BindError
from zmqtasks.messages import Address, Bulk, Control, Memory, Output, PeerId
from zmqtasks.options import Limits
from zmqtasks.transport import endings
from zmqtasks.transport.intake import Intake, OnMessage
from zmqtasks.transport.keyring import Keyring
from zmqtasks.transport.local import SCHEME, LocalInbox, LocalLane
from zmqtasks.transport.outlet import Lane, Outlet
from zmqtasks.transport.refusals import Refusals
from zmqtasks.transport.shut import ShutLane
from zmqtasks.wire import loans
from zmqtasks.wire.lending import Pool
from zmqtasks.wire.loans import Loan

if TYPE_CHECKING:
    import zmq

    from zmqtasks.transport.front_door import FrontDoor

TUNNEL = "tunnel://"
"""Begins the address of a peer that nobody can connect to: its name in a folder of sockets that lead to it."""
RELOAD_S = 1.0
"""How often the folder of known keys is looked at."""
LONGEST_PATH = 107
"""sizeof(sockaddr_un.sun_path) - 1 on Linux."""


class Wire(Protocol):
    """The way to one peer."""

    endpoint: str
    lends: bool
    """Whether large bodies are lent: the other side has said that it can read our memory."""

    def send_control(self, message: Control) -> None:
        """Send a small message that may be lost."""

    def send_bulk(self, message: Bulk) -> None:
        """Send a numbered message."""

    def send_output(self, message: Output) -> bool:
        """Send what workers printed, or return False where nothing can be taken now."""

    def forget_waiting(self) -> None:
        """Drop bulk that waits for a connection."""

    def close(self, linger_s: float = 0.0) -> None:
        """Close it; idempotent."""


class EndWatch(Protocol):
    """What `Network.watch_end` returns."""

    def cancel(self) -> None:
        """Watch no more; idempotent."""


class Network(Protocol):
    """A peer's inbox and its ways to others."""

    address: Address
    memory: Memory | None
    """Where loans of this process are found, if there can be any."""

    def listen(self, on_message: OnMessage, on_revoked: Callable[[frozenset[str]], None]) -> None:
        """Begin to deliver what comes.

        Args:
            on_message: gets each message, and the key of its own that its sender has proved, or None; returns False
                where nobody wants it.
            on_revoked: gets keys that are not known any more, or may do less than before.
        """

    def complete(self, address: Address) -> Address:
        """Return an address that somebody gave, with the keys that have to be proved there."""

    def drain(self) -> None:
        """Deliver what has come so far."""

    def reach(self, address: Address) -> Wire:
        """Return a new way to a peer."""

    def prefers(self, address: Address, endpoint: str) -> bool:
        """Tell whether a new way to `address` would be better than the one through `endpoint`."""

    def can_borrow(self, address: Address, memory: Memory) -> bool:
        """Tell whether loans of the peer at `address` can be read here."""

    def watch_end(self, endpoint: str, on_end: Callable[[], None]) -> EndWatch | None:
        """Have `on_end` called once, as soon as the process at `endpoint` has ended; None where that cannot be seen."""

    def close(self) -> None:
        """Close the inbox and all that belongs to it; idempotent."""


class ZmqNetwork:
    """A peer's inbox and outlets: ZeroMQ between hosts, Unix sockets on one host.

    Args:
        loop: everything runs in its thread.
        peer: id of this peer.
        host: identity of this host; peers with the same one reach each other through files.
        bind: endpoints to bind with ZeroMQ, e.g. ("tcp://127.0.0.1:0",); () for this host alone.
        advertise: endpoints others shall use instead of the bound ones; then this host has no way of its own either.
        folder: private folder for a Unix socket; None for none.
        tunnels: folder with sockets that lead to peers elsewhere, through ssh; None for none.
        limits: of one message.
        keyring: with one, all ways between hosts are encrypted, and both ends have to prove a key that is known.
        on_refused: told where we are not let in, why, and whether that is certain.

    Raises:
        BindError: an endpoint cannot be bound, or strangers are not refused there.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        peer: PeerId,
        host: str,
        *,
        bind: tuple[str, ...] = (),
        advertise: tuple[str, ...] = (),
        folder: Path | None = None,
        tunnels: Path | None = None,
        limits: Limits | None = None,
        keyring: Keyring | None = None,
        on_refused: Callable[[str, str, bool], None] = lambda endpoint, why, certain: None,
    ) -> None:
        self._loop = loop
        self._keyring = keyring
        self._reload: asyncio.TimerHandle | None = None
        self._on_refused = on_refused
        self._refusals = Refusals(loop.time)
        self._limits = limits or Limits()
        self._host = host
        self._tunnels = tunnels
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._door: FrontDoor | None = None
        self._examples = Pool()
        self._example: Loan | None = None
        self._local: LocalInbox | None = None
        raise_descriptor_limit()
        endpoints: tuple[str, ...] = ()
        try:
            if bind:
                from zmqtasks.transport.front_door import FrontDoor  # who stays on his host need not load ZeroMQ

                self._door = FrontDoor(loop, self._zmq(), bind, self._limits, keyring, self._refusals)
                endpoints = self._door.endpoints
            if folder and not advertise:
                path = _local_path(folder, peer)
                self._local = LocalInbox(loop, path)
                endpoints = (*endpoints, SCHEME + path)
        except Exception:
            self.close()
            raise
        own_key = keyring.own_key if keyring is not None else ""
        self.address = Address(peer, host, tuple(doors.with_key(e, own_key) for e in advertise or endpoints))
        self._example = self._examples.write(()) if loans.AVAILABLE else None
        self.memory = Memory(os.getpid(), self._example.fd, self._example.token) if self._example is not None else None

    def _zmq(self) -> zmq.Context[zmq.Socket[bytes]]:
        """Return the context of this peer, made when it is needed."""
        if self._context is None:
            from zmqtasks.transport import sockets

            self._context = sockets.new_context()
        return self._context

    def listen(self, on_message: OnMessage, on_revoked: Callable[[frozenset[str]], None] = lambda keys: None) -> None:
        """Begin to deliver what comes."""
        keyring = self._keyring
        intake = Intake(self._limits, on_message, self._loop.time, self._refusals)
        if keyring is not None and not keyring.is_shared:
            self._reload = self._loop.call_later(RELOAD_S, self._look_for_keys, keyring, on_revoked)
        for inbox in (self._door, self._local):
            if inbox is not None:
                inbox.listen(intake)

    def _look_for_keys(self, keyring: Keyring, on_revoked: Callable[[frozenset[str]], None]) -> None:
        self._reload = self._loop.call_later(RELOAD_S, self._look_for_keys, keyring, on_revoked)
        if revoked := keyring.reload():
            on_revoked(revoked)

    def complete(self, address: Address) -> Address:
        """Return an address that somebody gave, with the keys that have to be proved there.

        Raises:
            NotAuthorised: it is not clear whose key that is.
        """
        keyring = self._keyring
        if keyring is None:
            return address
        return address._replace(endpoints=tuple(keyring.complete(endpoint) for endpoint in address.endpoints))

    def drain(self) -> None:
        """Deliver what has come so far."""
        for inbox in (self._door, self._local):
            if inbox is not None:
                inbox.drain()

    def reach(self, address: Address) -> Outlet:
        """Return a new way to a peer: a Unix socket on one host, else its first other endpoint.

        Raises:
            BindError: the endpoint is malformed.
        """
        endpoint = self._best(address)
        return Outlet(endpoint, self._to_local(endpoint) if endpoint.startswith(SCHEME) else self._to_remote(endpoint))

    def _to_local(self, endpoint: str) -> Callable[[int | None, int | None], Lane]:
        path = endpoint.removeprefix(SCHEME)
        return lambda most, taken: LocalLane(self._loop, path, most)

    def _to_remote(self, endpoint: str) -> Callable[[int | None, int | None], Lane]:
        from zmqtasks.transport.push import PushLane
        from zmqtasks.transport.whereabouts import Whereabouts

        where = Whereabouts(self._loop, endpoint)

        def refused(why: str, certain: bool) -> None:
            self._on_refused(endpoint, why, certain)

        def new_lane(most: int | None, taken: int | None) -> Lane | None:
            if self._keyring is not None and self._keyring.server(endpoint) is None:
                return None
            return PushLane(where, self._zmq(), most, taken, self._keyring, refused)

        def lane(most: int | None, taken: int | None) -> Lane:
            return new_lane(most, taken) or ShutLane(lambda: new_lane(most, taken))

        return lane

    def prefers(self, address: Address, endpoint: str) -> bool:
        """Tell whether a new way to `address` would be better than the one through `endpoint`."""
        best = self._best(address)
        return best.startswith(SCHEME) and best != endpoint

    def can_borrow(self, address: Address, memory: Memory) -> bool:
        """Tell whether loans of the peer at `address` can be read here: on one host, as the same user."""
        return address.host == self._host and loans.can_borrow(*memory)

    def watch_end(self, endpoint: str, on_end: Callable[[], None]) -> EndWatch | None:
        """Have `on_end` called once, as soon as the process at `endpoint` has ended; None where that cannot be seen.

        It can where a Unix socket leads there: on this host, in a pid namespace that we see into.
        """
        local = endpoint.startswith(SCHEME) and endings.AVAILABLE
        pidfd = endings.pidfd_of_listener(endpoint.removeprefix(SCHEME)) if local else None
        return None if pidfd is None else endings.EndWatch(self._loop, pidfd, on_end)

    def _best(self, address: Address) -> str:
        if address.host == self._host:
            for endpoint in address.endpoints:
                if endpoint.startswith(SCHEME) and _is_listening(endpoint.removeprefix(SCHEME)):
                    return endpoint
        endpoint = next((e for e in address.endpoints if not e.startswith(SCHEME)), address.endpoints[0])
        return self._led_through(endpoint) if endpoint.startswith(TUNNEL) else endpoint

    def _led_through(self, endpoint: str) -> str:
        """Return the socket here that leads to a peer which can be reached through a tunnel alone.

        Raises:
            BindError: there can be none.
        """
        name = endpoint.removeprefix(TUNNEL)
        if self._tunnels is None or "/" in name:
            raise BindError(f"{endpoint} is reached by the nodes of its own cluster alone, through tunnels")
        return f"{SCHEME}{self._tunnels}/{name}"

    def close(self) -> None:
        """Close inbox and context; what says goodbye has its moment. Idempotent."""
        if self._reload is not None:
            self._reload.cancel()
        for inbox in (self._door, self._local):
            if inbox is not None:
                inbox.close()
        if self._context is not None:
            self._context.destroy(linger=None)
        self._example = None
        self._examples.close()


def raise_descriptor_limit() -> None:
    """Let this process hold as many descriptors as it may: each peer and each worker takes some."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _is_listening(path: str) -> bool:
    """Tell whether somebody listens there: not at what a killed peer left, nor where a container shares no files."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            return probe.connect_ex(path) in (0, errno.EAGAIN)  # EAGAIN: its queue is full
    except OSError:  # longer than a path to a socket can be, or we have no descriptor left
        return False


def _local_path(folder: Path, peer: PeerId) -> str:
    path = f"{folder}/{peer}"
    if len(path) > LONGEST_PATH:
        raise ValueError(f"the path of a socket may have {LONGEST_PATH} characters, {path} has {len(path)}")
    return path
