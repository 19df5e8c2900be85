"""`Link`: our end of the sessions that we open with a peer; one that ends is followed by the next.

Owns the way to the partner, and the watch over the end of its process. Made by `peer.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from zmqtasks import doors
from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines import session
from zmqtasks.messages import (
    Address,
    Bulk,
    Cancel,
    Errands,
    Output,
    PeerId,
    PeerState,
    Query,
    Role,
    SessionId,
    Status,
    Tend,
    Tended,
)
from zmqtasks.options import Limits
from zmqtasks.sessions.end import GOODBYE_S, End, Report, Timer
from zmqtasks.transport.network import EndWatch, Wire

if TYPE_CHECKING:
    from zmqtasks.peer import Peer

logger = logging.getLogger(__name__)

UNKNOWN_SESSION = "unknown session"
"""Reason of a rejection that a new session cures; any other is final."""
LAST_WORDS_S = 0.05
"""What a process had sent when it ended is read, and stored by a sink, before its session ends."""


class LinkRole(Protocol):
    """Told what happens to the sessions we open."""

    def link_opened(self, link: Link, status: Status) -> None:
        """The session is up."""

    def link_heard(self, link: Link, status: Status) -> None:
        """A later Status came."""

    def link_printed(self, link: Link, output: Output) -> None:
        """Workers printed something over tasks of ours."""

    def link_suspected(self, link: Link) -> None:
        """The peer is silent."""

    def link_closed(self, link: Link, closed: session.Closed) -> None:
        """The session is over; unless the link was closed by us, the next one is on its way."""

    def link_refused(self, link: Link, reason: str) -> None:
        """The peer will not have us; no further session is tried."""


class Link(End):
    """Our end of the sessions we open with one peer; a session that ends is followed by a new one.

    `partner` is who answered, and None before; `leaves_host` tells whether it is on another host; `data` is for the
    role.
    """

    machine: session.Outgoing

    def __init__(self, peer: Peer, address: Address, role: Role, handler: LinkRole) -> None:
        super().__init__(peer)
        self.address = address
        self.partner: PeerId | None = None
        self.leaves_host = True
        self.limits = Limits()
        self.data: Any = None
        self._role = role
        self._handler = handler
        self._wire: Wire | None = None
        self._end_watch: EndWatch | None = None
        self._end_timer: Timer | None = None
        self._last_seq = 0
        self._closed = False
        self._wanted = Report()
        """What our part of each Status says."""
        self.lends = False
        """Whether the partner can read our memory: then large bodies are lent."""
        self.on_tended: Callable[[Tended], None] = lambda tended: None
        """Told of answers to what a steward asks."""
        self._renew()

    @property
    def is_up(self) -> bool:
        """Tell whether bulk can be offered."""
        return self.machine.state in (session.State.UP, session.State.SUSPECT)

    @property
    def unacked_bytes(self) -> int:
        """Return the bytes of bulk that the partner has not acknowledged."""
        return self.machine.unacked_bytes

    @property
    def last_seq(self) -> int:
        """Return the number of the last bulk message that was offered."""
        return self.machine.last_seq

    def unacked(self) -> tuple[Bulk, ...]:
        """Return the bulk that the partner has not acknowledged, in order."""
        return self.machine.unacked()

    def send(self, message: Bulk) -> None:
        """Send a bulk message reliably, in order; `session` and `seq` are filled in."""
        self.handle(session.Offered(message))

    def request(self, make: Callable[[SessionId], Cancel | Query | Errands | Tend]) -> None:
        """Send a request, best effort."""
        if self._wire and self.is_up:
            self._wire.send_control(make(self.machine.session))

    def want_drained(self, within_s: float | None) -> None:
        """Ask the partner, which is a node, to take nothing new and to end; with each Status, until it is over."""
        self._wanted = Report(PeerState.DRAIN, within_s=within_s)
        if self.is_up:
            self._do(session.SendStatus(full=False))

    def hear(self, message: Output | Tended) -> None:
        """Pass on what is neither numbered nor acknowledged: what workers printed, or how a queue was tended."""
        if isinstance(message, Tended):
            self.on_tended(message)
        else:
            self._handler.link_printed(self, message)

    @property
    def key(self) -> str:
        """Return the key of its own that the partner has to prove; "" where none is asked for."""
        return doors.key_of(self.address.endpoints[0])

    def forsake(self) -> None:
        """End the session and open the next one, for which there may be no way for now."""
        if self.machine.state is not session.State.CLOSED:
            self.handle(session.LeaveRequested())

    def close(self) -> None:
        """End the session in order, and start no other; idempotent."""
        if self._closed:
            return
        self._closed = True
        if self.machine.state is not session.State.CLOSED:
            self.handle(session.LeaveRequested())
        self._abandon(GOODBYE_S)

    def _renew(self) -> None:
        self._peer.forget_link(self)
        number = self._peer.next_session_number()
        now = self._peer.loop.time()
        self.machine = session.Outgoing(number, now, self._peer.timing, self._peer.chance())
        self._peer.links[number] = self
        self._last_seq = 0
        self._open_wire()
        self._disarm()
        self._carry_out(self.machine.tick(now))

    def _watch_end(self, endpoint: str) -> None:
        """Learn at once where the partner's process ends, if that can be seen from here."""
        self._unwatch_end()
        self._end_watch = self._peer.network.watch_end(endpoint, self._process_ended)

    def _process_ended(self) -> None:
        self._peer.network.drain()
        self._end_timer = self._peer.loop.call_at(self._peer.loop.time() + LAST_WORDS_S, self._partner_ended)

    def _partner_ended(self) -> None:
        self._end_timer = None
        self._peer.network.drain()
        self.handle(session.PartnerEnded())

    def _unwatch_end(self) -> None:
        for watch in (self._end_watch, self._end_timer):
            if watch:
                watch.cancel()
        self._end_watch = self._end_timer = None

    def _open_wire(self) -> None:
        if self._wire:
            self._wire.close()
        self._wire = self._peer.network.reach(self.address)

    def _abandon(self, linger_s: float) -> None:
        self._disarm()
        self._unwatch_end()
        self._peer.forget_link(self)
        if self._wire:
            self._wire.close(linger_s)

    def _do(self, command: session.Command) -> None:
        wire = self._wire
        assert wire is not None
        match command:
            case session.Transmit(messages):
                self._transmit(wire, messages)
            case session.SendStatus(_, state):
                report = self._wanted if state is PeerState.UP else Report(state)
                wire.send_control(self._peer.status(self.machine.session, report))
            case session.SendHello():
                wire.send_control(self._peer.hello(self.machine.session, self._role))
            case session.Opened(status):
                self._opened(wire, status)
            case session.Heard(status):
                self._handler.link_heard(self, status)
            case session.Suspected():
                logger.info("= nothing comes from %s", self.partner)
                self._handler.link_suspected(self)
            case session.Closed():
                self._ended(command)
            case _:
                raise LocalProtocolError(f"{command} is not for {self!r}")

    def _transmit(self, wire: Wire, messages: tuple[Bulk, ...]) -> None:
        if messages[0].seq <= self._last_seq:
            wire.forget_waiting()
        for message in messages:
            wire.send_bulk(message)
        self._last_seq = messages[-1].seq

    def _opened(self, wire: Wire, status: Status) -> None:
        self.partner = status.address.peer
        self.leaves_host = status.address.host != self._peer.address.host
        self.limits = status.limits
        if self._peer.network.prefers(status.address, wire.endpoint):
            # Same host after all: no bulk was sent yet, so the way can be changed without loss.
            self._wire = self._peer.network.reach(status.address)
            wire.close()
        self.lends = status.borrows
        if self._wire:
            self._wire.lends = self.lends
            if not self.leaves_host:  # else the socket is that of a tunnel, whose end is not the end of the partner
                self._watch_end(self._wire.endpoint)
        logger.info("= session with %s through %s", self.partner, self._wire and self._wire.endpoint)
        self._handler.link_opened(self, status)

    def _ended(self, closed: session.Closed) -> None:
        logger.info("= session with %s is over: %s", self.partner or self.address.endpoints, closed.reason)
        self._unwatch_end()
        refused = closed.rejected and closed.reason != UNKNOWN_SESSION
        self._handler.link_closed(self, closed)
        if refused:
            self._closed = True
            self._abandon(0.0)
            self._handler.link_refused(self, closed.reason)
        elif not self._closed:
            self._peer.loop.call_soon(self._renew_unless_closed)

    def _renew_unless_closed(self) -> None:
        if not self._closed:
            self._renew()

    def __repr__(self) -> str:
        return f"<Link {self._role} to {self.partner or self.address.endpoints} {self.machine!r}>"
