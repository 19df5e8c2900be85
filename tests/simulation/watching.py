"""A peer whose sessions are watched: each turn goes into the story, and each death sentence is checked.

Owns when each session was last heard. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zmqtasks.machines.session import Closed, Timing
from zmqtasks.messages import Address, Bulk, Cancel, Message, Output, Query, Role, SessionId, Status
from zmqtasks.peer import Guest, GuestRole, Link, LinkRole, Peer, Report

SILENT = "silent for"
"""How the reasons begin with which a session is closed for silence."""
ROUNDING_S = 1e-6


class Watch:
    """Who was heard when, and where that is told."""

    def __init__(self, now: Callable[[], float], tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.closings = 0
        self.silences = 0
        """Sessions that were given up for silence."""
        self._now = now
        self._heard: dict[tuple[str, SessionId], float] = {}

    def arrived(self, place: str, message: Message) -> None:
        """Note a message that reached a place, whether or not the peer there has read it."""
        self._heard[place, message.session] = self._now()

    def closed(self, place: str, end: Link | Guest, closed: Closed, least_s: float) -> None:
        """Check that who is given up for silence was silent for at least so long."""
        self.closings += 1
        self.tell(f"= {place}: {end!r} is over: {closed.reason}")
        self.silences += closed.reason.startswith(SILENT)
        heard = self._heard.get((place, end.machine.session))
        silence_s = self._now() - heard if heard is not None else float("inf")
        misjudged = closed.reason.startswith(SILENT) and silence_s < least_s - ROUNDING_S
        assert not misjudged, f"{place} gave up {end!r} ({closed.reason}), and heard of it {silence_s:.3f} s ago"


class WatchedPeer(Peer):
    """A peer that tells a watch what becomes of its sessions."""

    def __init__(self, *args: Any, watch: Watch, timing: Timing, **options: Any) -> None:
        self._watch = watch
        super().__init__(*args, timing=timing, **options)

    def open(self, address: Address, role: Role, handler: LinkRole) -> Link:
        """Open a session that is watched."""
        return super().open(address, role, _WatchedLink(self._watch, self, handler))

    def host(self, role: Role, handler: GuestRole) -> None:
        """Accept sessions that are watched."""
        super().host(role, _WatchedGuest(self._watch, self, handler))

    @property
    def place(self) -> str:
        return self.address.host


class _WatchedLink:
    def __init__(self, watch: Watch, peer: WatchedPeer, handler: LinkRole) -> None:
        self._watch = watch
        self._peer = peer
        self._handler = handler
        self.link_heard = handler.link_heard

    def link_opened(self, link: Link, status: Status) -> None:
        self._watch.tell(f"= {self._peer.place}: {link!r} is open")
        self._handler.link_opened(link, status)

    def link_printed(self, link: Link, output: Output) -> None:
        self._handler.link_printed(link, output)

    def link_suspected(self, link: Link) -> None:
        self._watch.tell(f"= {self._peer.place}: {link!r} is silent")
        self._handler.link_suspected(link)

    def link_closed(self, link: Link, closed: Closed) -> None:
        self._watch.closed(self._peer.place, link, closed, self._peer.timing.close_s)
        self._handler.link_closed(link, closed)

    def link_refused(self, link: Link, reason: str) -> None:
        self._watch.tell(f"= {self._peer.place}: {link!r} was refused: {reason}")
        self._handler.link_refused(link, reason)


class _WatchedGuest:
    def __init__(self, watch: Watch, peer: WatchedPeer, handler: GuestRole) -> None:
        self._watch = watch
        self._peer = peer
        self._handler = handler

    def guest_joined(self, guest: Guest, *, again: bool) -> None:
        self._watch.tell(f"= {self._peer.place}: {guest!r} joined{' again' * again}")
        self._handler.guest_joined(guest, again=again)

    def guest_delivered(self, guest: Guest, message: Bulk | Cancel | Query | Status) -> None:
        self._handler.guest_delivered(guest, message)

    def guest_left(self, guest: Guest, closed: Closed) -> None:
        self._watch.closed(self._peer.place, guest, closed, guest.machine.lease_s)
        self._handler.guest_left(guest, closed)

    def report(self, guest: Guest, *, full: bool) -> Report:
        return self._handler.report(guest, full=full)
