"""The inbox for other hosts and the door before it: bound, and where there are keys, guarded before anybody comes.

Owns the bound socket, who answers for it, and who is told of whom was refused. Judges no message. Called by
`network.py` where a peer is to be reached from elsewhere: importing this loads ZeroMQ.
"""

from __future__ import annotations

import asyncio

import zmq

from zmqtasks.options import Limits
from zmqtasks.transport.doorkeeper import Doorkeeper
from zmqtasks.transport.handshakes import Guard
from zmqtasks.transport.inbox import Inbox
from zmqtasks.transport.intake import Intake
from zmqtasks.transport.keyring import Keyring
from zmqtasks.transport.refusals import Refusals
from zmqtasks.transport.sockets import bound_pull


class FrontDoor:
    """Where others connect.

    Args:
        loop: everything runs in its thread.
        context: of this peer.
        bind: endpoints.
        limits: of one message.
        keyring: whose key may come in; None lets anybody in.
        refusals: told of whom was not let in.

    Raises:
        BindError: an endpoint cannot be bound, or strangers are not refused there.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: zmq.Context[zmq.Socket[bytes]],
        bind: tuple[str, ...],
        limits: Limits,
        keyring: Keyring | None,
        refusals: Refusals,
    ) -> None:
        self._loop = loop
        self._keyring = keyring
        self._refusals = refusals
        self._guard: Guard | None = None
        self.inbox: Inbox | None = None
        self.doorkeeper = None if keyring is None else Doorkeeper(context, keyring, refusals)
        pair = None if keyring is None else keyring.pair
        try:
            self._socket, self.endpoints = bound_pull(context, bind, limits, pair)
            if self.doorkeeper is not None:
                for endpoint in self.endpoints:
                    self.doorkeeper.try_door(endpoint)
        except BaseException:
            if self.doorkeeper is not None:
                self.doorkeeper.close()
            raise

    def listen(self, intake: Intake) -> None:
        """Begin to read."""
        keyring = self._keyring
        self.inbox = Inbox(self._loop, self._socket, intake, None if keyring is None or keyring.is_shared else keyring)
        if self.doorkeeper is not None:
            self.doorkeeper.attend(self._loop)
            self._guard = Guard(self._loop, self._socket, self._refusals)

    def drain(self) -> None:
        """Read what has come so far."""
        if self.inbox is not None:
            self.inbox.drain()

    def close(self) -> None:
        """Let nobody in, and read no more; idempotent."""
        for part in (self._guard, self.inbox, self.doorkeeper):
            if part is not None:
                part.close()
