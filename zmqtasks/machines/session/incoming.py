"""The acceptor's half of a session: it takes bulk messages in order, and acknowledges what was processed.

Owns how far that is, and the lease of the initiator. Called by `sessions/guest.py` and by the simulation.
"""

from __future__ import annotations

from zmqtasks.machines.session.moves import (
    BulkReceived,
    Closed,
    Command,
    Deliver,
    Event,
    Heard,
    HelloReceived,
    LeaveRequested,
    Offered,
    PartnerEnded,
    Processed,
    RequestReceived,
    SendStatus,
    StatusReceived,
)
from zmqtasks.machines.session.silence import Half, State, Timing
from zmqtasks.messages import Bulk, PeerState, SessionId, Status


class Incoming(Half):
    """The acceptor's half: takes bulk messages in order, once each, and acknowledges what was processed.

    Args:
        session: drawn by the initiator.
        now: monotonic seconds.
        timing: see `Timing`; `lease_s` is what the initiator asked for, cut to what this side grants.
        known: whether the initiator had a session here before, and so may have work here.
    """

    def __init__(self, session: SessionId, now: float, timing: Timing | None = None, *, known: bool = True) -> None:
        super().__init__(session, now, timing or Timing())
        self.state = State.UP
        self.gap = False
        self.taken = 0
        self.cum = 0
        self._ack_at = float("inf")
        self._new_bytes = 0
        """Of bulk that came since the last Status."""
        granted = self._timing.lease_s
        self.lease_s = granted if known else min(granted, self._timing.close_s)
        """Short until a stranger has heard us: a HELLO that nobody stands behind shall not last."""

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; return what to do, in order."""
        if self.state is State.CLOSED:
            return self._after_the_end(event)
        match event:
            case BulkReceived(message):
                self._hear(now)
                self.lease_s = self._timing.lease_s
                return self._take(message, now)
            case Processed(seq) if self.cum <= seq <= self.taken:
                self.cum = seq
                few = self._new_bytes < self._timing.small_bytes
                self._acknowledge_by(now + (self._timing.small_ack_s if few else self._timing.ack_s))
                return []
            case StatusReceived(status):
                self._hear(now)
                self.lease_s = self._timing.lease_s
                return self._listen(status)
            case HelloReceived():
                self._hear(now)
                return self._speak(now, full=True)
            case RequestReceived():
                self._hear(now)
                self.lease_s = self._timing.lease_s
                return []
            case LeaveRequested():
                self.state = State.CLOSED
                return [SendStatus(full=False, state=PeerState.BYE), Closed("left")]
            case PartnerEnded():
                self.state = State.CLOSED
                return [Closed("its process has ended", died=True)]
            case _:
                raise self._illegal(event)

    def tick(self, now: float) -> list[Command]:
        """Do what is due at `now`; call it after the inbox was drained."""
        self._excuse_own_stall(now)
        if self.state is State.CLOSED:
            return []
        if now >= self._silent_until(self.lease_s):
            self.state = State.CLOSED
            return [Closed(f"silent for {now - self._heard_at:.0f} s: its lease has ended")]
        if now >= self._beat_at:
            return self._speak(now, full=True)
        if now >= self._ack_at:
            return self._speak(now, full=False)
        return []

    def next_deadline(self) -> float:
        """Return the time at which `tick` has something to do."""
        if self.state is State.CLOSED:
            return float("inf")
        return min(self._beat_at, self._ack_at, self._silent_until(self.lease_s))

    def _acknowledge_by(self, at: float) -> None:
        if at < self._ack_at:
            self._ack_at = at

    def _speak(self, now: float, *, full: bool) -> list[Command]:
        self._ack_at, self._new_bytes = float("inf"), 0
        if full:
            self._beat(now)
        return [SendStatus(full)]

    def _take(self, message: Bulk, now: float) -> list[Command]:
        if message.seq == self.taken + 1:
            self.taken += 1
            self.gap = False
            self._new_bytes += message.size_bytes
            return [Deliver(message)]
        if message.seq > self.taken and not self.gap:
            self.gap = True
            return self._speak(now, full=False)
        # A repetition (our acknowledgement was lost or is late), or more beyond a gap that is already reported.
        self._acknowledge_by(now + self._timing.ack_s)
        return []

    def _listen(self, status: Status) -> list[Command]:
        if status.state is PeerState.BYE:
            self.state = State.CLOSED
            return [Closed("the peer left", died=True)]
        return [Heard(status)]

    def _after_the_end(self, event: Event) -> list[Command]:
        """What was under way when the session ended is not an error."""
        if isinstance(event, Offered):
            raise self._illegal(event)
        return []

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        assert 0 <= self.cum <= self.taken, repr(self)

    def __repr__(self) -> str:
        gap = " gap" if self.gap else ""
        return f"<Incoming {self.session.number} {self.state} cum={self.cum} taken={self.taken}{gap}>"
