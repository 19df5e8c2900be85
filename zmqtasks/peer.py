"""What every role shares: one inbox, the sessions over it, and their beat.

Owns both kinds of session ends (`Link`: opened by us; `Guest`: opened by others), their timers and the routing of
each message to its session. Knows nothing of tasks. A role registers as a `LinkRole` or `GuestRole` and is told what
happens, always in the loop's thread. Called by `ventilator.py`, `sink.py`, `node.py`.

    peer ── Link ──HELLO/STATUS/bulk──▶ Guest ── peer
         ◀─────────────STATUS──────────
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import zmqtasks
from zmqtasks.errors import BindError, LocalProtocolError
from zmqtasks.machines import session
from zmqtasks.messages import (
    PROTOCOL_VERSIONS,
    Address,
    Bulk,
    Cancel,
    Held,
    Hello,
    Load,
    Message,
    PeerId,
    PeerState,
    Query,
    Role,
    SessionId,
    Status,
    Window,
)
from zmqtasks.options import Limits
from zmqtasks.transport.network import Network, Wire

logger = logging.getLogger(__name__)

UNKNOWN_SESSION = "unknown session"
"""Reason of a rejection that a new session cures; any other is final."""
GOODBYE_S = 0.5
"""How long a goodbye may take to leave the host."""


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


@dataclass(frozen=True, slots=True)
class Report:
    """What a role adds to a Status: how it stands, what it would take, what it has."""

    state: PeerState = PeerState.UP
    window: Window = Window(0, 0)
    have: tuple[Held, ...] | None = None
    load: Load = Load()


class LinkRole(Protocol):
    """Told what happens to the sessions we open."""

    def link_opened(self, link: Link, status: Status) -> None:
        """The session is up."""

    def link_heard(self, link: Link, status: Status) -> None:
        """A later Status came."""

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

    def guest_delivered(self, guest: Guest, message: Bulk | Cancel | Query) -> None:
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

    def handle(self, event: session.Event) -> None:
        """Give an event to the machine and carry out what it says."""
        self._carry_out(self.machine.handle(event, self._peer.loop.time()))

    def _tick(self) -> None:
        self._timer, self._due = None, float("inf")
        # Silence is judged only after what has come was heard.
        self._peer.network.drain()
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
        self._last_seq = 0
        self._closed = False
        self._renew()

    @property
    def is_up(self) -> bool:
        """Tell whether bulk can be offered."""
        return self.machine.state in (session.State.UP, session.State.SUSPECT)

    @property
    def unacked_bytes(self) -> int:
        """Return the bytes of bulk that the partner has not acknowledged."""
        return self.machine.unacked_bytes

    def unacked(self) -> tuple[Bulk, ...]:
        """Return the bulk that the partner has not acknowledged, in order."""
        return self.machine.unacked()

    def send(self, message: Bulk) -> None:
        """Send a bulk message reliably, in order; `session` and `seq` are filled in."""
        self.handle(session.Offered(message))

    def request(self, make: Callable[[SessionId], Cancel | Query]) -> None:
        """Send a request, best effort."""
        if self._wire and self.is_up:
            self._wire.send_control(make(self.machine.session))

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

    def _open_wire(self) -> None:
        if self._wire:
            self._wire.close()
        self._wire = self._peer.network.reach(self.address)

    def _abandon(self, linger_s: float) -> None:
        self._disarm()
        self._peer.forget_link(self)
        if self._wire:
            self._wire.close(linger_s)

    def _do(self, command: session.Command) -> None:
        wire = self._wire
        assert wire is not None
        match command:
            case session.SendHello():
                wire.send_control(self._peer.hello(self.machine.session, self._role))
            case session.SendStatus(_, state):
                wire.send_control(self._peer.status(self.machine.session, Report(state)))
            case session.Transmit(messages):
                self._transmit(wire, messages)
            case session.Opened(status):
                self._opened(wire, status)
            case session.Heard(status):
                self._handler.link_heard(self, status)
            case session.Suspected():
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
        logger.info("= session with %s through %s", self.partner, self._wire and self._wire.endpoint)
        self._handler.link_opened(self, status)

    def _ended(self, closed: session.Closed) -> None:
        logger.info("= session with %s is over: %s", self.partner or self.address.endpoints, closed.reason)
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

    def __init__(self, peer: Peer, hello: Hello, handler: GuestRole) -> None:
        super().__init__(peer)
        self.address = hello.address
        self.role = hello.role
        self.limits = hello.limits
        self.versions = hello.versions
        self.data: Any = None
        self._over = False
        self._handler = handler
        self._wire = peer.network.reach(hello.address)
        timing = replace(peer.timing, lease_s=min(hello.lease_s, peer.timing.lease_s))
        self.machine = session.Incoming(hello.session, peer.loop.time(), timing)

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
        self._handler.guest_delivered(self, request)

    def speak(self) -> None:
        """Send a full Status now: something happened that the partner should know at once."""
        if not self._over:
            self._do(session.SendStatus(full=True))

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
            case session.SendStatus(full, state):
                report = self._handler.report(self, full=full)
                if state is not PeerState.UP:
                    report = Report(state, report.window)
                self._wire.send_control(self._peer.status(self.machine.session, report, self.machine))
            case session.Deliver(message):
                self._handler.guest_delivered(self, message)
            case session.Heard():
                pass
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


class Peer:
    """One inbox and all sessions over it.

    Args:
        loop: everything runs in its thread.
        network: inbox and ways to others; owned from now on.
        epoch: drawn at random when the process starts; tells this incarnation from an earlier one.
        chance: returns numbers in [0, 1).
        timing: of the sessions.
        limits: of one message; told to every partner.
    """

    def __init__(
        self,
        loop: Loop,
        network: Network,
        epoch: int,
        chance: Callable[[], float],
        *,
        timing: session.Timing | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.loop = loop
        self.network = network
        self.epoch = epoch
        self.chance = chance
        self.timing = timing or session.Timing()
        self.limits = limits or Limits()
        self.links: dict[SessionId, Link] = {}
        self.guests: dict[PeerId, Guest] = {}
        self._sessions_of_guests: dict[SessionId, Guest] = {}
        self._hosts: dict[Role, GuestRole] = {}
        self._retired: dict[PeerId, set[int]] = {}
        self._sessions = 0
        self._rejected_at: dict[SessionId, float] = {}
        network.listen(self._receive)

    @property
    def id(self) -> PeerId:
        """Return the id of this peer."""
        return self.network.address.peer

    @property
    def address(self) -> Address:
        """Return how others reach this peer."""
        return self.network.address

    def open(self, address: Address, role: Role, handler: LinkRole) -> Link:
        """Open a session with the peer at `address`, and a new one whenever it ends.

        Raises:
            BindError: the address is malformed.
        """
        return Link(self, address, role, handler)

    def host(self, role: Role, handler: GuestRole) -> None:
        """Accept sessions of peers in this role."""
        self._hosts[role] = handler

    def close(self) -> None:
        """Say goodbye to all, and close the inbox; idempotent."""
        for link in list(self.links.values()):
            link.close()
        for guest in list(self.guests.values()):
            guest.leave()
        self.network.close()

    # For the ends

    def next_session_number(self) -> SessionId:
        """Draw the id of a new session."""
        self._sessions += 1
        return SessionId(self.epoch, self._sessions)

    def forget_link(self, link: Link) -> None:
        """Route no more to this link."""
        machine = getattr(link, "machine", None)
        if machine is not None:
            self.links.pop(machine.session, None)

    def part(self, guest: Guest, linger_s: float) -> None:
        """Route no more to this guest, and let go of its connection."""
        if self.guests.get(guest.id) is guest:
            del self.guests[guest.id]
        self._sessions_of_guests.pop(guest.machine.session, None)
        guest.dismiss(linger_s)

    def hello(self, number: SessionId, role: Role) -> Hello:
        """Compose a Hello."""
        versions = (("python", platform.python_version()), ("zmqtasks", zmqtasks.__version__))
        return Hello(number, role, self.address, PROTOCOL_VERSIONS, self.limits, versions, self.timing.lease_s)

    def status(self, number: SessionId, report: Report, end: session.Incoming | None = None) -> Status:
        """Compose a Status."""
        return Status(
            session=number,
            address=self.address,
            incarnation=self.epoch,
            state=report.state,
            cum=end.cum if end else 0,
            gap=end.gap if end else False,
            window=report.window,
            have=report.have,
            load=report.load,
            limits=self.limits,
        )

    # What comes in

    def _receive(self, message: Message) -> None:
        match message:
            case Hello():
                self._greet(message)
            case Status() if message.session.epoch == self.epoch:
                if link := self.links.get(message.session):
                    link.handle(session.StatusReceived(message))
            case Status():
                if guest := self._sessions_of_guests.get(message.session):
                    guest.handle(session.StatusReceived(message))
                elif message.state not in (PeerState.BYE, PeerState.REJECT):
                    self._reject(message.session, message.address, UNKNOWN_SESSION)
            case Cancel() | Query():
                if guest := self._sessions_of_guests.get(message.session):
                    guest.deliver(message)
            case _:
                if guest := self._sessions_of_guests.get(message.session):
                    guest.handle(session.BulkReceived(message))

    def _greet(self, hello: Hello) -> None:
        """Echo a known session, replace an older one, or open a new one."""
        peer = hello.address.peer
        known = self.guests.get(peer)
        if known and known.machine.session == hello.session:
            known.handle(session.HelloReceived())
            return
        if known and hello.session.epoch == known.machine.session.epoch and hello.session < known.machine.session:
            return
        if hello.session.epoch in self._retired.get(peer, ()):
            return
        if reason := self._objection(hello):
            self._reject(hello.session, hello.address, reason)
            return
        self._admit(hello, known)

    def _objection(self, hello: Hello) -> str:
        if hello.role not in self._hosts:
            roles = ", ".join(sorted(self._hosts)) or "nobody"
            return f"this peer accepts sessions of {roles}, not of a {hello.role}"
        lowest, highest = hello.protocol
        if lowest > PROTOCOL_VERSIONS[1] or highest < PROTOCOL_VERSIONS[0]:
            ours, theirs = f"{PROTOCOL_VERSIONS[0]} to {PROTOCOL_VERSIONS[1]}", f"{lowest} to {highest}"
            return f"incompatible: this peer speaks protocol {ours}, the other {theirs}; install the same zmqtasks"
        return ""

    def _admit(self, hello: Hello, known: Guest | None) -> None:
        handler = self._hosts[hello.role]
        try:
            guest = Guest(self, hello, handler)
        except BindError as error:
            logger.warning("cannot answer %s: %s", hello.address.peer, error)
            return
        if known:
            if known.machine.session.epoch != hello.session.epoch:
                self._retired.setdefault(guest.id, set()).add(known.machine.session.epoch)
            guest.data = known.data
            self.part(known, 0.0)
        self.guests[guest.id] = self._sessions_of_guests[hello.session] = guest
        logger.info("= %s %s joined, session %d", guest.role, guest.id, hello.session.number)
        handler.guest_joined(guest, again=known is not None)
        guest.handle(session.HelloReceived())

    def _reject(self, number: SessionId, address: Address, reason: str) -> None:
        """Tell a stranger why, at most once a second."""
        now = self.loop.time()
        if now - self._rejected_at.get(number, -1.0) < 1.0:
            return
        if len(self._rejected_at) > 1000:
            self._rejected_at.clear()
        self._rejected_at[number] = now
        logger.info("= rejected a session of %s: %s", address.peer, reason)
        try:
            wire = self.network.reach(address)
        except BindError:
            return
        wire.send_control(
            Status(number, self.address, self.epoch, state=PeerState.REJECT, reason=reason, limits=self.limits)
        )
        self.loop.call_at(now + GOODBYE_S, wire.close, 0.0)

    def __repr__(self) -> str:
        return f"<Peer {self.id} links={list(self.links.values())} guests={list(self.guests.values())}>"
