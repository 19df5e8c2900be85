"""What `peer.py` sees of ZeroMQ: one inbox, outlets to others, addresses.

Owns the context and the inbox. `testing.SimNetwork` has the same face.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from zmqtasks.messages import Address, Bulk, Control, Memory, Message, Output, PeerId
from zmqtasks.options import Limits
from zmqtasks.transport import sockets
from zmqtasks.transport.inbox import Inbox
from zmqtasks.transport.outlet import Outlet
from zmqtasks.wire import loans
from zmqtasks.wire.loans import Loan, Pool

LONGEST_IPC_PATH = 107
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


class Network(Protocol):
    """A peer's inbox and its ways to others."""

    address: Address
    memory: Memory | None
    """Where loans of this process are found, if there can be any."""

    def listen(self, on_message: Callable[[Message], None]) -> None:
        """Begin to deliver what comes."""

    def drain(self) -> None:
        """Deliver what has come so far."""

    def reach(self, address: Address) -> Wire:
        """Return a new way to a peer."""

    def prefers(self, address: Address, endpoint: str) -> bool:
        """Tell whether a new way to `address` would be better than the one through `endpoint`."""

    def can_borrow(self, address: Address, memory: Memory) -> bool:
        """Tell whether loans of the peer at `address` can be read here."""

    def close(self) -> None:
        """Close the inbox and all that belongs to it; idempotent."""


class ZmqNetwork:
    """A peer's inbox and outlets on ZeroMQ.

    Args:
        loop: everything runs in its thread.
        peer: id of this peer.
        host: identity of this host; peers with the same one can use ipc.
        bind: endpoints to bind, e.g. ("tcp://127.0.0.1:0",); () for ipc alone.
        advertise: endpoints others shall use instead of the bound ones; then no ipc is offered either.
        folder: private folder for an ipc endpoint; None for none.
        limits: of one message.

    Raises:
        BindError: an endpoint cannot be bound.
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
        limits: Limits | None = None,
    ) -> None:
        self._loop = loop
        self._limits = limits or Limits()
        self._host = host
        self._inbox: Inbox | None = None
        self._examples = Pool()
        self._example: Loan | None = None
        self._context = sockets.new_context()
        ipc = (_ipc_endpoint(folder, peer),) if folder and not advertise else ()
        try:
            self._socket, bound = sockets.bound_pull(self._context, (*bind, *ipc), self._limits)
        except Exception:
            self.close()
            raise
        self.address = Address(peer, host, advertise or bound)
        self._example = self._examples.write(()) if loans.AVAILABLE else None
        self.memory = Memory(os.getpid(), self._example.fd, self._example.token) if self._example is not None else None

    def listen(self, on_message: Callable[[Message], None]) -> None:
        """Begin to deliver what comes."""
        self._inbox = Inbox(self._loop, self._socket, self._limits, on_message)

    def drain(self) -> None:
        """Deliver what has come so far."""
        if self._inbox:
            self._inbox.drain()

    def reach(self, address: Address) -> Outlet:
        """Return a new way to a peer: ipc on one host, else its first other endpoint.

        Raises:
            BindError: the endpoint is malformed.
        """
        return Outlet(self._loop, self._context, self._best(address))

    def prefers(self, address: Address, endpoint: str) -> bool:
        """Tell whether a new way to `address` would be better than the one through `endpoint`."""
        best = self._best(address)
        return best.startswith("ipc://") and best != endpoint

    def can_borrow(self, address: Address, memory: Memory) -> bool:
        """Tell whether loans of the peer at `address` can be read here: on one host, as the same user."""
        return address.host == self._host and loans.can_borrow(*memory)

    def _best(self, address: Address) -> str:
        if address.host == self._host:
            for endpoint in address.endpoints:
                if endpoint.startswith("ipc://") and _is_listening(endpoint.removeprefix("ipc://")):
                    return endpoint
        return next((e for e in address.endpoints if not e.startswith("ipc://")), address.endpoints[0])

    def close(self) -> None:
        """Close inbox and context; what says goodbye has its moment. Idempotent."""
        if self._inbox:
            self._inbox.close()
        self._context.destroy(linger=None)
        self._example = None
        self._examples.close()


def _is_listening(path: str) -> bool:
    """Tell whether somebody listens there: not at what a killed peer left, nor where a container shares no files."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            return probe.connect_ex(path) in (0, errno.EAGAIN)  # EAGAIN: its queue is full
        except OSError:  # longer than a path to a socket can be
            return False


def _ipc_endpoint(folder: Path, peer: PeerId) -> str:
    path = f"{folder}/{peer}"
    if len(path) > LONGEST_IPC_PATH:
        raise ValueError(f"the path of a socket may have {LONGEST_IPC_PATH} characters, {path} has {len(path)}")
    return f"ipc://{path}"
