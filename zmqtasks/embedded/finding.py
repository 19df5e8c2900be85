"""How a program learns of nodes while it runs, where their addresses are not simply given.

Owns the words between a client and whoever knows of nodes (`cluster`, say). Called by `thread.py`, in its loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from zmqtasks.records import Value


class Inbox(Value):
    """Where the inbox of a program has to be, so that nodes reach it; without `bind`, its Unix socket is led there."""

    bind: tuple[str, ...] = ()
    key: str | None = None
    """File of the key of the mesh."""
    insecure: bool = False


class Finder(Protocol):
    """Tells one client of nodes."""

    def inbox(self) -> Inbox:
        """Return where the client's inbox has to be; called before it is made."""

    async def open(
        self, inbox: str, on_nodes: Callable[[Sequence[str]], object], on_lost: Callable[[str], object]
    ) -> tuple[str, ...]:
        """Begin to tell of nodes; return what the client shall advertise, or nothing for where it listens.

        Args:
            inbox: path of the client's Unix socket.
            on_nodes: told of the endpoints of all nodes there are, now and at each change.
            on_lost: told why nobody will tell of nodes any more, before `close` was called.
        """

    async def close(self) -> None:
        """Tell no more."""


class NodeSource(Protocol):
    """What may stand in place of an address: it knows of nodes."""

    def finder(self) -> Finder:
        """Return what tells a client of them."""
