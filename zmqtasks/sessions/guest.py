"""`Guest`: our end of a session that another peer has opened.

Owns the way to the partner. Made by `peer.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines import session
from zmqtasks.messages import (
    Bulk,
    Cancel,
    Errands,
    Hello,
    Output,
    PeerId,
    PeerState,
    Printed,
    Query,
    Request,
    SessionId,
    Tend,
    Tended,
)
from zmqtasks.records import replace
from zmqtasks.sessions.end import GOODBYE_S, End, Report

if TYPE_CHECKING:
    from zmqtasks.peer import Peer


class GuestRole(Protocol):
    """Told what happens to the sessions others open."""

    def guest_joined(self, guest: Guest, *, again: bool) -> None:
        """A session is open; `again` where it replaces an earlier one of the same peer."""

    def guest_delivered(self, guest: Guest, message: Bulk | Request) -> None:
        """The next bulk message in order, or a request. Bulk is acknowledged by `guest.processed(seq)`."""

    def guest_left(self, guest: Guest, closed: session.Closed) -> None:
        """The session is over."""

    def report(self, guest: Guest, *, full: bool) -> Report:
        """Return what to tell the guest; with `full`, the inventory too."""


class Guest(End):
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

    def deliver(self, request: Cancel | Query | Tend) -> None:
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

    def carry(self, make: Callable[[SessionId], Errands | Tended]) -> None:
        """Send errands, or an answer, best effort."""
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
