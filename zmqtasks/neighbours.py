"""The roster on sessions: whom a peer knows, whom it keeps a session with, and what it tells others of them.

`Neighbours` is what clients and nodes share; `Company` is a node's part: it lets other nodes open sessions, and opens
some itself. Decides nothing (`machines/roster.py` does). Runs in the loop's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from zmqtasks import doors
from zmqtasks.errors import BindError
from zmqtasks.machines import roster
from zmqtasks.machines.session import Closed
from zmqtasks.messages import Address, Bulk, Known, Output, PeerId, PeerState, Request, Role, Status
from zmqtasks.peer import Guest, Link, Loop, Peer, Report, Timer

logger = logging.getLogger(__name__)

TELL_S = 2.0
"""How often each partner is told whom we know."""


def can_talk(one: Address, other: Address) -> bool:
    """Tell whether two peers can be of use to each other: on one host, or where both can be reached from others."""
    return one.host == other.host or all(
        any(endpoint.startswith("tcp://") and not doors.is_local(endpoint) for endpoint in address.endpoints)
        for address in (one, other)
    )


class Neighbours:
    """Keep sessions with those that the roster names.

    Args:
        loop: what happens here happens in its thread.
        machine: whom we know.
        reach: opens a session.
        let_go: ends one.
    """

    def __init__(
        self, loop: Loop, machine: roster.Roster, reach: Callable[[Address], Link], let_go: Callable[[Link], None]
    ) -> None:
        self._loop, self._machine, self._reach, self._let_go = loop, machine, reach, let_go
        self._links: dict[str, Link] = {}
        self._partners: dict[Link, PeerId] = {}
        """Of the links that are up."""
        self._twins: dict[str, PeerId] = {}
        """Links that were ended for another one to the same node."""
        self._timer: Timer | None = None
        self._closed = False

    def list_seeds(self, source: str, endpoints: Sequence[str]) -> None:
        """Take what a source says of where nodes are."""
        self._handle(roster.SeedsListed(source, tuple(endpoints)))

    def known(self) -> tuple[Known, ...]:
        """Return what to tell others."""
        return self._machine.known(self._loop.time())

    def opened(self, link: Link, status: Status) -> None:
        """Hear that a session of ours is up."""
        self._partners[link] = status.address.peer
        key = self._key(link)
        self._handle(roster.Answered(key, status.address) if key else roster.Met(status.address))
        self.heard(status)

    def heard(self, status: Status) -> None:
        """Hear whom a partner knows."""
        if status.known:
            self._handle(roster.Told(status.known))

    def twin(self, link: Link, status: Status) -> None:
        """Hear that a link was ended, because another one leads to the same node."""
        peer, key = status.address.peer, self._key(link)
        if self._links.pop(key, None):
            self._twins[key] = peer
            self._handle(roster.FoundBehind(key, peer))

    def closed(self, link: Link, closed: Closed) -> None:
        """Hear that a session of ours is over; the link may open another one."""
        peer = self._partners.pop(link, None)
        if peer is None:
            return
        self._handle(roster.Parted(peer, closed.died))
        for key in [key for key, twin in self._twins.items() if twin == peer]:
            del self._twins[key]
            self._handle(roster.Ended(key))

    def met(self, address: Address) -> None:
        """Hear that a node has opened a session with us."""
        self._handle(roster.Met(address))

    def parted(self, peer: PeerId, closed: Closed) -> None:
        """Hear that such a session is over."""
        self._handle(roster.Parted(peer, closed.died))

    def close(self) -> None:
        """Open and end no more sessions."""
        self._closed = True
        self._disarm()

    def _disarm(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _key(self, link: Link) -> str:
        return next((key for key, other in self._links.items() if other is link), "")

    def _handle(self, event: roster.Event) -> None:
        if not self._closed:
            self._carry_out(self._machine.handle(event, self._loop.time()))

    def _tick(self) -> None:
        self._timer = None
        self._carry_out(self._machine.tick(self._loop.time()))

    def _carry_out(self, commands: list[roster.Command]) -> None:
        for command in commands:
            if isinstance(command, roster.Reach):
                self._open(command)
            elif link := self._links.pop(command.key, None):
                self._let_go(link)
            else:
                self._twins.pop(command.key, None)
        self._disarm()
        if (deadline := self._machine.next_deadline()) < float("inf"):
            self._timer = self._loop.call_at(deadline, self._tick)

    def _open(self, command: roster.Reach) -> None:
        """Open a session; what was given has to be an address, and what others tell may be one of no use.

        Raises:
            BindError: a seed is malformed.
        """
        try:
            self._links[command.key] = self._reach(command.address)
        except BindError as error:
            if not command.address.peer:
                raise
            logger.warning("%s cannot be reached: %s", command.key, error)


class Company:
    """The other nodes of a node.

    Args:
        peer: of the node.
    """

    def __init__(self, peer: Peer) -> None:
        machine = roster.Roster(peer.id, roster.FEW, lambda address: can_talk(peer.address, address))
        self._peer = peer
        self._told_at: dict[PeerId, float] = {}
        self.neighbours = Neighbours(peer.loop, machine, self._reach, lambda link: link.close())
        peer.host(Role.NODE, self)

    def _reach(self, address: Address) -> Link:
        return self._peer.open(address if address.peer else self._peer.network.complete(address), Role.NODE, self)

    def news(self, guest: Guest) -> tuple[Known, ...]:
        """Return whom to tell a guest of now; nobody where it was told a moment ago."""
        now = self._peer.loop.time()
        if now - self._told_at.get(guest.id, float("-inf")) < TELL_S:
            return ()
        self._told_at[guest.id] = now
        return tuple([known for known in self.neighbours.known() if known.address.peer != guest.id])

    def forget(self, guest: PeerId) -> None:
        """Forget whom a guest was told of: it has left."""
        self._told_at.pop(guest, None)

    def close(self) -> None:
        """Open no more sessions; those there are end with the peer."""
        self.neighbours.close()

    # Sessions that others open

    def guest_joined(self, guest: Guest, *, again: bool) -> None:
        """A node wants to know whom we know."""
        if not again:
            self.neighbours.met(guest.address)

    def guest_delivered(self, guest: Guest, message: Bulk | Request) -> None:
        """Nothing to do: nodes give each other no work."""

    def guest_left(self, guest: Guest, closed: Closed) -> None:
        """A node is gone, or silent for long."""
        self.forget(guest.id)
        self.neighbours.parted(guest.id, closed)

    def report(self, guest: Guest, *, full: bool) -> Report:
        """Tell a node whom we know."""
        return Report(PeerState.UP, known=self.news(guest))

    # Sessions that we open

    def link_opened(self, link: Link, status: Status) -> None:
        """A node answered."""
        self.neighbours.opened(link, status)

    def link_heard(self, link: Link, status: Status) -> None:
        """A node told whom it knows."""
        self.neighbours.heard(status)

    def link_printed(self, link: Link, output: Output) -> None:
        """Nothing to do: nobody runs anything for us."""

    def link_suspected(self, link: Link) -> None:
        """Nothing to do: it is known until its session is over."""

    def link_closed(self, link: Link, closed: Closed) -> None:
        """A session is over; the link opens the next one."""
        self.neighbours.closed(link, closed)

    def link_refused(self, link: Link, reason: str) -> None:
        """A peer will not have us: it is no node, or we lack its key."""
        logger.warning("%s is no node that this one could join: %s", link.address.endpoints[0], reason)
