"""What every role shares: one inbox, the sessions over it, and their beat.

Owns the ends of the sessions (`sessions.py`) and the routing of each message to its session. Knows nothing of tasks.
Called by the shells: `ventilator`, `sink`, `node`.

    peer ── Link ──HELLO/STATUS/bulk──▶ Guest ── peer
         ◀─────────────STATUS──────────
"""

from __future__ import annotations

import logging
import platform
from collections import OrderedDict
from collections.abc import Callable

import zmqtasks
from zmqtasks.errors import BindError
from zmqtasks.machines import session
from zmqtasks.machines.authority import Member, names_only_own
from zmqtasks.messages import (
    PROTOCOL_VERSIONS,
    Address,
    Cancel,
    Errands,
    Hello,
    Message,
    Output,
    PeerId,
    PeerState,
    Query,
    Results,
    Role,
    SessionId,
    Status,
    Stored,
    Tasks,
    Tend,
    Tended,
)
from zmqtasks.options import Limits
from zmqtasks.sessions import GOODBYE_S, UNKNOWN_SESSION, Guest, GuestRole, Link, LinkRole, Loop, Report, Timer
from zmqtasks.transport.network import Network, Wire
from zmqtasks.transport.refusals import Refusals

logger = logging.getLogger(__name__)

MOST_RETIRED = 10_000
"""Incarnations of peers that are remembered as over; the session that a late HELLO of an older one opens soon ends."""
MOST_REJECTIONS = 64
"""That are on their way at once, each over a connection of its own; who is not told finds out by our silence."""

__all__ = ["Guest", "GuestRole", "Link", "LinkRole", "Loop", "Peer", "Report", "Timer"]


class Peer:
    """One inbox and all sessions over it.

    Args:
        loop: everything runs in its thread.
        network: inbox and ways to others; owned from now on.
        epoch: drawn at random when the process starts; tells this incarnation from an earlier one.
        chance: returns numbers in [0, 1).
        timing: of the sessions.
        limits: of one message; told to every partner.
        lease_s: how long partners are asked to keep us while we are silent; that of `timing` if None.
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
        lease_s: float | None = None,
    ) -> None:
        self.loop = loop
        self.network = network
        self.epoch = epoch
        self.chance = chance
        self.timing = timing or session.Timing()
        self.limits = limits or Limits()
        self.lease_s = self.timing.lease_s if lease_s is None else lease_s
        self.versions = (("python", platform.python_version()), ("zmqtasks", zmqtasks.__version__))
        self.links: dict[SessionId, Link] = {}
        self.guests: dict[PeerId, Guest] = {}
        self._sessions_of_guests: dict[SessionId, Guest] = {}
        self._nodes_at: dict[tuple[str, str], Guest] = {}
        """Guests that are nodes, by host and endpoint: where one is, no other can be."""
        self.on_errands: Callable[[PeerId, Errands], None] = lambda partner, message: None
        """Told of the errands that a partner carries here, in whichever direction the session goes."""
        self._hosts: dict[Role, GuestRole] = {}
        self._retired: OrderedDict[tuple[PeerId, int], None] = OrderedDict()
        """Earlier incarnations of peers, the last so many."""
        self._sessions = 0
        self._rejected_at: dict[SessionId, float] = {}
        self._rejecting = 0
        self._warned_at = float("-inf")
        self.refusals = Refusals(loop.time)
        """Told of whom this peer refuses, and why; its doors tell of those who do not come in."""
        network.listen(self._receive, self._revoke)

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
        for place in self._places(guest):
            if self._nodes_at.get(place) is guest:
                del self._nodes_at[place]
        guest.dismiss(linger_s)

    def hello(self, number: SessionId, role: Role) -> Hello:
        """Compose a Hello."""
        memory = self.network.memory
        return Hello(number, role, self.address, PROTOCOL_VERSIONS, self.limits, self.versions, self.lease_s, memory)

    def status(
        self,
        number: SessionId,
        report: Report,
        end: session.Incoming | None = None,
        *,
        borrows: bool = False,
        introduced: bool = False,
    ) -> Status:
        """Compose a Status; `introduced` tells our versions as well."""
        return Status(
            session=number,
            address=self.address,
            incarnation=self.epoch,
            state=report.state,
            reason=report.reason,
            cum=end.cum if end else 0,
            gap=end.gap if end else False,
            window=report.window,
            have=report.have,
            load=report.load,
            limits=self.limits,
            borrows=borrows,
            flight=report.flight,
            metrics=report.metrics,
            within_s=report.within_s,
            versions=self.versions if introduced else (),
            known=report.known,
            offer=report.offer,
        )

    # What comes in

    def _receive(self, message: Message, sender: Member | None = None) -> bool:
        """Give a message to its session; return False where there was none, or it is not of this sender."""
        guest: Guest | None = None
        link: Link | None = None
        match message:
            case Tasks() | Results() | Stored():
                if guest := self._guest_of(message, sender):
                    guest.handle(session.BulkReceived(message))
            case Hello():
                return self._greet(message, sender)
            case Status() if message.session.epoch == self.epoch:
                if link := self._link_of(message, sender):
                    link.handle(session.StatusReceived(message))
            case Status():
                if guest := self._guest_of(message, sender):
                    guest.handle(session.StatusReceived(message))
                elif message.state not in (PeerState.BYE, PeerState.REJECT):
                    self._reject(message.session, message.address, UNKNOWN_SESSION)
            case Output() | Tended():
                if link := self._link_of(message, sender):
                    link.hear(message)
            case Errands() if message.session.epoch == self.epoch:
                if (link := self._link_of(message, sender)) and link.partner:
                    self.on_errands(link.partner, message)
            case Errands():
                if guest := self._guest_of(message, sender):
                    self.on_errands(guest.id, message)
            case Cancel() | Query() | Tend():
                if guest := self._guest_of(message, sender):
                    guest.deliver(message)
        return guest is not None or link is not None

    def _guest_of(self, message: Message, sender: Member | None) -> Guest | None:
        guest = self._sessions_of_guests.get(message.session)
        if guest is None or sender is None:
            return guest
        if not self._owns(sender, guest, message):
            return None
        if guest.role is not Role.VENTILATOR or names_only_own(message, guest.id):
            return guest
        self.refusals.tell(sender.name, f"it sent {type(message).__name__.upper()} for a job that is not its own")
        return None

    def _link_of(self, message: Message, sender: Member | None) -> Link | None:
        link = self.links.get(message.session)
        return link if link and (sender is None or self._owns(sender, link, message)) else None

    def _owns(self, sender: Member, end: Guest | Link, message: Message) -> bool:
        """Tell whether a session is with this sender: others may know its number, too."""
        if end.key == sender.key:
            return True
        self.refusals.tell(sender.name, f"it sent {type(message).__name__.upper()} in a session that is not its own")
        return False

    def _revoke(self, keys: frozenset[str]) -> None:
        """End the sessions of those whose keys are not known any more, or may do less."""
        for guest in [guest for guest in self.guests.values() if guest.key in keys]:
            logger.warning("the key of %s %s was revoked: its session is over", guest.role, guest.id)
            guest.handle(session.PartnerEnded())
        for link in [link for link in self.links.values() if link.key in keys]:
            logger.warning("the key of %s was revoked: the session with it is over", link.partner or link.address)
            link.forsake()

    def _greet(self, hello: Hello, sender: Member | None) -> bool:
        """Echo a known session, replace an older one, or open a new one.

        Returns:
            Whether it was known. A new session is wanted, but who opens them all the time is slowed as well.
        """
        peer = hello.address.peer
        known = self.guests.get(peer)
        if known and sender is not None and not self._owns(sender, known, hello):
            return False
        if known and known.machine.session == hello.session:
            known.handle(session.HelloReceived())
            return True
        if known and hello.session.epoch == known.machine.session.epoch and hello.session < known.machine.session:
            return False
        if (peer, hello.session.epoch) in self._retired:
            return False
        if reason := self._objection(hello):
            self._reject(hello.session, hello.address, reason)
            return False
        self._admit(hello, known, "" if sender is None else sender.key)
        return False

    def _objection(self, hello: Hello) -> str:
        if hello.role not in self._hosts:
            roles = ", ".join(sorted(self._hosts)) or "nobody"
            return f"this peer accepts sessions of {roles}, not of a {hello.role}"
        lowest, highest = hello.protocol
        if lowest > PROTOCOL_VERSIONS[1] or highest < PROTOCOL_VERSIONS[0]:
            ours, theirs = f"{PROTOCOL_VERSIONS[0]} to {PROTOCOL_VERSIONS[1]}", f"{lowest} to {highest}"
            return f"incompatible: this peer speaks protocol {ours}, the other {theirs}; install the same zmqtasks"
        return ""

    def _admit(self, hello: Hello, known: Guest | None, key: str) -> None:
        handler = self._hosts[hello.role]
        try:
            guest = Guest(self, hello, handler, known=known is not None, key=key)
        except BindError as error:
            self._log_seldom("cannot answer %s: %s", hello.address.peer, error)
            return
        if known:
            if known.machine.session.epoch != hello.session.epoch:
                self._retired[guest.id, known.machine.session.epoch] = None
                if len(self._retired) > MOST_RETIRED:
                    self._retired.popitem(last=False)
            guest.data = known.data
            self.part(known, 0.0)
        self._part_those_before(guest)
        self.guests[guest.id] = self._sessions_of_guests[hello.session] = guest
        logger.info("= %s %s joined, session %d", guest.role, guest.id, hello.session.number)
        handler.guest_joined(guest, again=known is not None)
        guest.handle(session.HelloReceived())

    def _part_those_before(self, guest: Guest) -> None:
        """End the sessions of nodes that were where this one is: they have died, and their leases would run on."""
        for place in self._places(guest):
            if earlier := self._nodes_at.get(place):
                earlier.handle(session.PartnerEnded())
            self._nodes_at[place] = guest

    @staticmethod
    def _places(guest: Guest) -> list[tuple[str, str]]:
        endpoints = guest.address.endpoints if guest.role is Role.NODE else ()
        return [(guest.address.host, endpoint) for endpoint in endpoints]

    def _log_seldom(self, text: str, *args: object) -> None:
        """Warn of what a stranger has caused, at most once a second: he shall not fill our log."""
        if self.loop.time() - self._warned_at >= 1.0:
            self._warned_at = self.loop.time()
            logger.warning(text, *args)

    def _reject(self, number: SessionId, address: Address, reason: str) -> None:
        """Tell a stranger why, at most once a second."""
        now = self.loop.time()
        if self._rejecting >= MOST_REJECTIONS or now - self._rejected_at.get(number, -1.0) < 1.0:
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
        self._rejecting += 1
        self.loop.call_at(now + GOODBYE_S, self._rejected, wire)

    def _rejected(self, wire: Wire) -> None:
        self._rejecting -= 1
        wire.close()

    def __repr__(self) -> str:
        return f"<Peer {self.id} links={list(self.links.values())} guests={list(self.guests.values())}>"
