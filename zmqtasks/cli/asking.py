"""Asking nodes and sinks how they are, and nodes to end: a session as an observer with each.

Owns these sessions, until all have answered, or have ended, or time is up. Called by `status`, `drain` and `stop`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from zmqtasks.machines.session import Closed
from zmqtasks.messages import Address, Output, PeerState, Role, Status
from zmqtasks.peer import Link, Peer
from zmqtasks.place import Place, open_peer
from zmqtasks.processes.folder import PrivateFolder
from zmqtasks.records import Value, replace

T = TypeVar("T")


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
    asking = _Looking(nodes, timeout_s)
    asyncio.run(hold_sessions(asking, nodes, place, timeout_s))
    return asking.answers


def end(nodes: tuple[str, ...], place: Place, ending: Ending, timeout_s: float) -> dict[str, Status | str]:
    """Ask nodes to drain; return what each said before it ended, or why it does not.

    Args:
        nodes: their addresses.
        place: where to listen for the answers, and the key of the mesh.
        ending: how they shall end, and whether that is waited for.
        timeout_s: how long to wait for their answers.

    Raises:
        BindError: an address cannot be bound.
        KeyFileError: the key cannot be used.
    """
    asking = _Ending(nodes, timeout_s, ending)
    asyncio.run(hold_sessions(asking, nodes, place, timeout_s))
    return asking.answers


async def hold_sessions(asking: Asking[Any], nodes: tuple[str, ...], place: Place, timeout_s: float) -> None:
    """Ask the peers at these addresses until all have answered, or their time is up."""
    folder = PrivateFolder()
    try:
        peer = open_peer(asyncio.get_running_loop(), replace(place, folder=folder.path), on_refused=asking.not_let_in)
        for node in dict.fromkeys(nodes):
            asking.ask(peer, node)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asking.over.wait(), timeout_s)
        if asking.has_begun:
            asking.give_up()
            await asking.over.wait()
        peer.close()
    finally:
        folder.close()


class Ending(Value):
    """How nodes shall end.

    Args:
        within_s: how long what runs may take; None for as long as each node allows.
        wait: whether the end is waited for, or only the answer.
        on_end: called with the address of each that has ended.
    """

    within_s: float | None
    wait: bool
    on_end: Callable[[str], None]


class Asking(Generic[T]):
    """Sessions with peers, and what each answered, or why it did not; see `LinkRole`."""

    role = Role.OBSERVER
    has_begun = False
    """Whether something is under way that is waited for, however long it takes."""

    def __init__(self, nodes: tuple[str, ...], timeout_s: float) -> None:
        self.over = asyncio.Event()
        self.answers: dict[str, T | str] = dict.fromkeys(nodes, f"did not answer within {timeout_s:g} s")
        self._given = dict(zip(nodes, nodes, strict=True))  # as it was given, by the endpoint with its key
        self._waiting = set(nodes)

    def ask(self, peer: Peer, node: str) -> None:
        """Open a session with the peer at an address."""
        address = peer.network.complete(Address("", "", (node,)))
        self._given[address.endpoints[0]] = node
        peer.open(address, self.role, self)

    def give_up(self) -> None:
        """Wait for no answer any more."""

    def _answered(self, link: Link, answer: T | str) -> None:
        address = self._address(link)
        self.answers[address] = answer
        self._done(address)

    def _address(self, link: Link) -> str:
        return self._given[link.address.endpoints[0]]

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
        """Say what is wanted."""
        raise NotImplementedError

    def link_heard(self, link: Link, status: Status) -> None:
        """Nothing to do: the first answer tells it all."""

    def link_printed(self, link: Link, output: Output) -> None:
        """Nothing to do: an observer has no tasks."""

    def link_suspected(self, link: Link) -> None:
        """Nothing to do: it has answered."""

    def link_closed(self, link: Link, closed: Closed) -> None:
        """Nothing to do: it has answered, or another session follows."""

    def link_refused(self, link: Link, reason: str) -> None:
        """Take its reason for an answer."""
        self._answered(link, f"refused: {reason}")


class _Looking(Asking[Status]):
    """Sessions with peers that shall tell how they are."""

    def link_opened(self, link: Link, status: Status) -> None:
        self._answered(link, status)


class _Ending(Asking[Status]):
    """Sessions with nodes that shall end."""

    def __init__(self, nodes: tuple[str, ...], timeout_s: float, ending: Ending) -> None:
        super().__init__(nodes, timeout_s)
        self._ending = ending
        self._leaving: set[str] = set()

    @property
    def has_begun(self) -> bool:  # type: ignore[override]
        """Whether a node has said that it drains, and its end is waited for."""
        return self._ending.wait and bool(self._leaving & self._waiting)

    def give_up(self) -> None:
        """Wait for no answer any more, but for the end of those that have given one."""
        for address in self._waiting - self._leaving:
            self._done(address)

    def link_opened(self, link: Link, status: Status) -> None:
        if not status.load.workers:
            self._answered(link, "is a sink, not a node; it ends with Ctrl-C or SIGTERM")
            return
        link.want_drained(self._ending.within_s)
        self.link_heard(link, status)

    def link_heard(self, link: Link, status: Status) -> None:
        if status.state is not PeerState.DRAIN:
            return
        address = self._address(link)
        self.answers[address] = status
        self._leaving.add(address)
        if not self._ending.wait:
            self._done(address)

    def link_closed(self, link: Link, closed: Closed) -> None:
        address = self._address(link)
        if address in self._leaving & self._waiting:
            self._ending.on_end(address)
            self._done(address)
