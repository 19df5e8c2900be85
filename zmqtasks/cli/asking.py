"""Asking nodes and sinks how they are: a session as an observer with each, until all have answered or time is up.

Owns these sessions. Called by `status`.
"""

from __future__ import annotations

import asyncio
import contextlib

from zmqtasks.machines.session import Closed
from zmqtasks.messages import Address, Output, Role, Status
from zmqtasks.peer import Link, Peer
from zmqtasks.place import Place, open_peer
from zmqtasks.processes.folder import PrivateFolder
from zmqtasks.records import replace


def ask(nodes: tuple[str, ...], place: Place, timeout_s: float) -> dict[str, Status | str]:
    """Return what the peer at each address answered, or why it did not.

    Args:
        nodes: addresses, of nodes or sinks.
        place: where to listen for the answers, and the key of the mesh.
        timeout_s: how long to wait for all of them.

    Raises:
        BindError: an address cannot be bound.
        KeyFileError: the key cannot be used.
    """
    return asyncio.run(_ask(nodes, place, timeout_s))


async def _ask(nodes: tuple[str, ...], place: Place, timeout_s: float) -> dict[str, Status | str]:
    asking = _Asking(nodes, timeout_s)
    folder = PrivateFolder()
    try:
        peer = open_peer(asyncio.get_running_loop(), replace(place, folder=folder.path), on_refused=asking.not_let_in)
        for node in dict.fromkeys(nodes):
            asking.ask(peer, node)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asking.over.wait(), timeout_s)
        peer.close()
    finally:
        folder.close()
    return asking.answers


class _Asking:
    """Sessions as an observer, and what came of them; see `LinkRole`."""

    def __init__(self, nodes: tuple[str, ...], timeout_s: float) -> None:
        self.over = asyncio.Event()
        self.answers: dict[str, Status | str] = dict.fromkeys(nodes, f"did not answer within {timeout_s:g} s")
        self._given = dict(zip(nodes, nodes, strict=True))  # as it was given, by the endpoint with its key
        self._waiting = set(nodes)

    def ask(self, peer: Peer, node: str) -> None:
        """Open a session with the peer at an address."""
        address = peer.network.complete(Address("", "", (node,)))
        self._given[address.endpoints[0]] = node
        peer.open(address, Role.OBSERVER, self)

    def _answered(self, link: Link, answer: Status | str) -> None:
        address = self._given[link.address.endpoints[0]]
        self.answers[address] = answer
        self._done(address)

    def _done(self, address: str) -> None:
        self._waiting.discard(address)
        if not self._waiting:
            self.over.set()

    def not_let_in(self, endpoint: str, why: str, certain: bool) -> None:
        """Note that a peer has refused the connection."""
        address = self._given.get(endpoint, endpoint)
        if address in self._waiting:
            self.answers[address] = f"did not let us in: {why}"
            if certain:
                self._done(address)

    def link_opened(self, link: Link, status: Status) -> None:
        self._answered(link, status)

    def link_heard(self, link: Link, status: Status) -> None:
        """Nothing to do: the first answer tells it all."""

    def link_printed(self, link: Link, output: Output) -> None:
        """Nothing to do: an observer has no tasks."""

    def link_suspected(self, link: Link) -> None:
        """Nothing to do: it has answered."""

    def link_closed(self, link: Link, closed: Closed) -> None:
        """Nothing to do: it has answered, or another session follows."""

    def link_refused(self, link: Link, reason: str) -> None:
        self._answered(link, f"refused: {reason}")
