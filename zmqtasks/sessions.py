"""The two ends of a session as shells: `Link`, opened by us, and `Guest`, opened by another peer.

Owns the machine of a session, its timer and its way to the partner. Knows nothing of tasks; a role is told what happens
as a `LinkRole` or a `GuestRole`, always in the loop's thread. Made by `peer.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from zmqtasks import doors
from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines import session
from zmqtasks.messages import (
    Address,
    Bulk,
    Cancel,
    Errands,
    Flight,
    Held,
    Hello,
    Known,
    Load,
    Offer,
    Output,
    PeerId,
    PeerState,
    Printed,
    Query,
    Role,
    SessionId,
    Status,
    Window,
)
from zmqtasks.metrics import Metrics
from zmqtasks.options import Limits
from zmqtasks.records import Value, replace
from zmqtasks.transport.network import EndWatch, Wire

if TYPE_CHECKING:
    from zmqtasks.peer import Peer

logger = logging.getLogger(__name__)

UNKNOWN_SESSION = "unknown session"
"""Reason of a rejection that a new session cures; any other is final."""
GOODBYE_S = 0.5
"""How long a goodbye may take to leave the host."""
LAST_WORDS_S = 0.05
"""What a process had sent when it ended is read, and stored by a sink, before its session ends."""


class Timer(Protocol):
    """What `Loop.call_at` returns."""

    def cancel(self) -> None:
        """Forget the call."""


class Loop(Protocol):
    """The part of an asyncio loop that shells use; `testing.FakeClock` has it too."""

    def time(self) -> float:
        """Return monotonic seconds."""

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> Timer:
        """Call back at `when`."""

    def call_soon(self, callback: Callable[..., object], *args: Any) -> Any:
        """Call back in the next turn."""


class Report(Value):
    """What a role adds to a Status: how it stands, what it would take, what it has."""

    state: PeerState = PeerState.UP
    window: Window = Window(0, 0)
    have: tuple[Held, ...] | None = None
    load: Load = Load()
    flight: Flight | None = None
    reason: str = ""
    """What is wrong, for people; empty where nothing is."""
    metrics: Metrics | None = None
    within_s: float | None = None
    known: tuple[Known, ...] = ()
    offer: Offer | None = None


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


class GuestRole(Protocol):
    """Told what happens to the sessions others open."""

    def guest_joined(self, guest: Guest, *, again: bool) -> None:
        """A session is open; `again` where it replaces an earlier one of the same peer."""

    def guest_delivered(self, guest: Guest, message: Bulk | Cancel | Query | Status) -> None:
        """The next bulk message in order, or a request. Bulk is acknowledged by `guest.processed(seq)`."""

    def guest_left(self, guest: Guest, closed: session.Closed) -> None:
        """The session is over."""

    def report(self, guest: Guest, *, full: bool) -> Report:
        """Return what to tell the guest; with `full`, the inventory too."""


class _End:
    """What both ends of a session share: a machine, a way to the partner, a timer."""

    machine: session.Outgoing | session.Incoming

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._timer: Timer | None = None
        self._due = float("inf")
        self._over = False
        """Nothing is said any more: another session has taken the place of this one, or nobody has."""

    def handle(self, event: session.Event) -> None:
        """Give an event to the machine and carry out what it says."""
        self._carry_out(self.machine.handle(event, self._peer.loop.time()))

    def _tick(self) -> None:
        self._timer, self._due = None, float("inf")
        # Silence is judged only after what has come was heard.
        self._peer.network.drain()
        if not self._over:  # what came may have replaced it
            self._carry_out(self.machine.tick(self._peer.loop.time()))

    def _carry_out(self, commands: Iterable[session.Command]) -> None:
        for command in commands:
            self._do(command)
        self._rearm()

    def _rearm(self) -> None:
        """Keep one timer; one that fires early does no harm, so only an earlier deadline moves it."""
        deadline = self.machine.next_deadline()
        if deadline >= self._due:
            return
        self._disarm()
        self._due = deadline
        self._timer = self._peer.loop.call_at(deadline, self._tick)

    def _disarm(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer, self._due = None, float("inf")

    def _do(self, command: session.Command) -> None:
        raise NotImplementedError


class Link(_End):
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
        """Return the number of the last bulk message that was sent."""
        return self._last_seq

    def unacked(self) -> tuple[Bulk, ...]:
        """Return the bulk that the partner has not acknowledged, in order."""
        return self.machine.unacked()

    def send(self, message: Bulk) -> None:
        """Send a bulk message reliably, in order; `session` and `seq` are filled in."""
        self.handle(session.Offered(message))

    def request(self, make: Callable[[SessionId], Cancel | Query | Errands]) -> None:
        """Send a request, best effort."""
        if self._wire and self.is_up:
            self._wire.send_control(make(self.machine.session))

    def want_drained(self, within_s: float | None) -> None:
        """Ask the partner, which is a node, to take nothing new and to end; with each Status, until it is over."""
        self._wanted = Report(PeerState.DRAIN, within_s=within_s)
        if self.is_up:
            self._do(session.SendStatus(full=False))

    def hear_output(self, output: Output) -> None:
        """Pass on what workers printed; output is neither numbered nor acknowledged."""
        self._handler.link_printed(self, output)

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


class Guest(_End):
    """Our end of a session that another peer opened. `data` is for the role."""

    machine: session.Incoming

    def __init__(self, peer: Peer, hello: Hello, handler: GuestRole, *, known: bool, key: str = "") -> None:
        super().__init__(peer)
        self.key = key
        """Its own, which it has proved; "" where that was not asked for."""
        self.address = hello.address
        self.role = hello.role
        self.limits = hello.limits
        self.versions = hello.versions
        self.data: Any = None
        self.borrows = hello.memory is not None and peer.network.can_borrow(hello.address, hello.memory)
        self.answered = False
        """Whether it has heard us, and so knows what the first Status tells."""
        self._handler = handler
        self._wire = peer.network.reach(hello.address)
        timing = replace(peer.timing, lease_s=min(hello.lease_s, peer.timing.lease_s))
        self.machine = session.Incoming(hello.session, peer.loop.time(), timing, known=known)

    @property
    def id(self) -> PeerId:
        """Return the peer that opened the session."""
        return self.address.peer

    def processed(self, seq: int) -> None:
        """Acknowledge all bulk up to `seq`: it is stored, or held; of a session that is over, nothing."""
        if not self._over:
            self.handle(session.Processed(seq))

    def deliver(self, request: Cancel | Query) -> None:
        """Pass a request on; requests are not numbered."""
        self.handle(session.RequestReceived())
        self._handler.guest_delivered(self, request)

    def speak(self) -> None:
        """Send a full Status now: something happened that the partner should know at once."""
        if not self._over:
            self._do(session.SendStatus(full=True))

    def print(self, printed: tuple[Printed, ...], dropped: int = 0, *, end: bool = False) -> bool:
        """Send what workers printed, best effort; False where nothing can be taken now."""
        return not self._over and self._wire.send_output(Output(self.machine.session, printed, dropped, end))

    def carry(self, make: Callable[[SessionId], Errands]) -> None:
        """Send errands, best effort."""
        if not self._over:
            self._wire.send_control(make(self.machine.session))

    def leave(self) -> None:
        """End the session in order."""
        if not self._over:
            self.handle(session.LeaveRequested())

    def dismiss(self, linger_s: float = 0.0) -> None:
        """Let go of timer and connection: the session is over, or replaced by another."""
        self._over = True
        self._disarm()
        self._wire.close(linger_s)

    def _do(self, command: session.Command) -> None:
        match command:
            case session.Deliver(message):
                self._handler.guest_delivered(self, message)
            case session.SendStatus(full, state):
                report = self._handler.report(self, full=full)
                if state is not PeerState.UP:
                    report = Report(state, report.window)
                self._wire.send_control(
                    self._peer.status(
                        self.machine.session, report, self.machine, borrows=self.borrows, introduced=not self.answered
                    )
                )
            case session.Heard(status):
                self.answered = True
                if status.state is PeerState.DRAIN:
                    self._handler.guest_delivered(self, status)
            case session.Closed():
                self._peer.part(self, GOODBYE_S)
                self._handler.guest_left(self, command)
            case _:
                raise LocalProtocolError(f"{command} is not for {self!r}")

    def _rearm(self) -> None:
        if not self._over:
            super()._rearm()

    def __repr__(self) -> str:
        return f"<Guest {self.role} {self.id} {self.machine!r}>"
