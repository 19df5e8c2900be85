"""One session between two peers, as two halves: `Outgoing` at the initiator, `Incoming` at the acceptor.

Owns sequence numbers, acknowledgement, retransmission and liveness. Bulk messages go one way, from the initiator to
the acceptor; Status goes both ways. Never opens a message beyond its number, never judges what a message means.
Called by `peer.py`, and by the simulation.

A ZeroMQ PUSH loses a contiguous run of messages when a peer dies or a connection resets, and never reorders within a
connection. So a missing number means a lost run, and sending everything again from there (go-back-N) is exact and
cheap. Source: measured, docs/design/protocol.md.

    initiator:  OPENING --Status echoes the session--> UP <--any Status-- SUSPECT (3 s silent)
                UP or SUSPECT --10 s silent | new incarnation | bye | its process has ended--> CLOSED
                any --reject--> CLOSED
    acceptor:   OPEN --silent for the lease | bye | its process has ended--> CLOSED
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum

from zmqtasks.errors import LocalProtocolError
from zmqtasks.messages import Bulk, PeerState, SessionId, Status
from zmqtasks.records import Value, replace

MOST_SETTLING = 3
"""Beats by which own stalls may put off the end of a silent session: who stalls all the time has to end it, too."""


class Timing(Value):
    """Seconds; the defaults are those of the protocol page."""

    hello_s: float = 0.2
    """First repetition of a Hello; each further one waits half as long again, with jitter, up to `hello_max_s`."""
    hello_max_s: float = 2.0
    beat_s: float = 1.0
    ack_s: float = 0.01
    """How long an acknowledgement may wait after much bulk: the sender keeps all of it until then."""
    small_ack_s: float = 0.05
    """The same after little: it must not cost a Status each few round trips."""
    small_bytes: int = 1 << 20
    """What is little, in bytes since the last Status."""
    quiet_s: float = 1.5
    """Silence after which nothing is sent again before the partner speaks: it would be lost as well, or wait."""
    knock_s: float = 0.25
    """Time between two Statuses while the partner is quiet, and for `quiet_s` after it has spoken again: where a way
    has just healed, the first ones may go down with a connection that does not last."""
    suspect_s: float = 3.0
    close_s: float = 10.0
    retransmit_s: float = 2.0
    anew_s: float = 0.5
    """The same for what is sent within `quiet_s` after a silence: the connection it took may not last."""
    rewind_s: float = 0.2
    """Least time between two retransmissions that the same gap asks for."""
    settle_s: float = 0.2
    """After one's own stall, what came meanwhile may take so long from the kernel to the inbox."""
    lease_s: float = 60.0


class State(StrEnum):
    """Where a half stands."""

    OPENING = "opening"
    UP = "up"
    SUSPECT = "suspect"
    CLOSED = "closed"


# Events -----------------------------------------------------------------------------------------------------------


class Offered(Value):
    """The initiator's role has a bulk message to send; the session numbers it."""

    message: Bulk


class StatusReceived(Value):
    """A Status about this session came from the partner."""

    status: Status


class BulkReceived(Value):
    """A numbered message came from the initiator."""

    message: Bulk


class HelloReceived(Value):
    """The initiator asks (again) for an echo."""


class RequestReceived(Value):
    """A request that is not numbered came from the initiator: it has heard us."""


class Processed(Value):
    """The acceptor's role is done with all messages up to `seq`: they may be acknowledged."""

    seq: int


class LeaveRequested(Value):
    """This side ends the session in order."""


class PartnerEnded(Value):
    """The partner's process is known to be gone, and what it had sent was read."""


Event = (
    Offered
    | StatusReceived
    | BulkReceived
    | HelloReceived
    | RequestReceived
    | Processed
    | LeaveRequested
    | PartnerEnded
)

# Commands ---------------------------------------------------------------------------------------------------------


class SendHello(Value):
    """Send a Hello for this session."""


class SendStatus(Value):
    """Send a Status; `full` asks for the inventory as well."""

    full: bool
    state: PeerState = PeerState.UP


class Transmit(Value):
    """Send these numbered messages on the bulk connection, in this order."""

    messages: tuple[Bulk, ...]


class Deliver(Value):
    """Give this message to the role: it is the next one in order, and comes once."""

    message: Bulk


class Opened(Value):
    """The session is up; `status` is the first echo."""

    status: Status


class Heard(Value):
    """A later Status of the partner: window, inventory, load, state."""

    status: Status


class Suspected(Value):
    """Nothing came from the partner for a while: no new work for it."""


class Closed(Value):
    """The session is over.

    `unacked` is what the partner never acknowledged, in order; `died` is True where the partner's process is known
    to be gone; `rejected` carries the partner's reason where it refused us.
    """

    reason: str
    died: bool = False
    rejected: bool = False
    unacked: tuple[Bulk, ...] = ()


Command = SendHello | SendStatus | Transmit | Deliver | Opened | Heard | Suspected | Closed


class _Half:
    """What both halves share: the partner's silence, corrected by our own stalls."""

    def __init__(self, session: SessionId, now: float, timing: Timing) -> None:
        self.session = session
        self.state = State.OPENING
        self._timing = timing
        self._heard_at = now
        self._ticked_at = now
        self._settled_at = now
        """From here on the inbox has what came during one's own stall."""
        self._beat_at = now + timing.beat_s
        self._knock_until = now

    def _hear(self, now: float) -> None:
        """Take note that the partner has spoken."""
        if now - self._heard_at >= self._timing.quiet_s:
            self._knock_until = now + self._timing.quiet_s
            self._beat_at = min(self._beat_at, now + self._timing.knock_s)
        self._heard_at = now

    def _beat(self, now: float) -> None:
        """Choose when to speak next, whatever happens until then."""
        quiet = now < self._knock_until or now - self._heard_at >= self._timing.quiet_s
        self._beat_at = now + (self._timing.knock_s if quiet else self._timing.beat_s)

    def _excuse_own_stall(self, now: float) -> None:
        """One's own stall is not the peer's silence: it does not count into it."""
        stall = now - self._ticked_at - self._timing.beat_s
        if stall > 0:
            self._heard_at = min(now, self._heard_at + stall)
            self._settled_at = now + self._timing.settle_s
        self._ticked_at = now

    def _silent_until(self, most_s: float) -> float:
        """Return when silence ends the session, if it may last for `most_s` seconds."""
        end = self._heard_at + most_s
        return max(end, min(self._settled_at, end + MOST_SETTLING * self._timing.beat_s))

    def _was_quiet(self, now: float) -> bool:
        """Tell whether the partner, who speaks now, has been silent for a while, and not just unheard by us."""
        stall = max(0.0, now - self._ticked_at - self._timing.beat_s)
        return now - self._heard_at - stall >= self._timing.quiet_s

    def _illegal(self, event: object) -> LocalProtocolError:
        return LocalProtocolError(f"{type(event).__name__} is not legal in {self!r}")


class Outgoing(_Half):
    """The initiator's half: says Hello until echoed, numbers bulk messages and keeps each until it is acknowledged.

    Args:
        session: drawn by this side.
        now: monotonic seconds.
        timing: see `Timing`.
        chance: in [0, 1), drawn by the caller; spreads the Hellos of many peers.
    """

    def __init__(self, session: SessionId, now: float, timing: Timing | None = None, chance: float = 0.0) -> None:
        super().__init__(session, now, timing or Timing())
        self.incarnation: int | None = None
        self.unacked_bytes = 0
        self._chance = chance
        self._hello_at = now
        self._hello_wait_s = self._timing.hello_s
        self._unacked: deque[Bulk] = deque()
        self._cum = 0
        self._next_seq = 1
        self._patience_s = self._timing.retransmit_s
        self._progress_at = now
        self._rewound = (-1, now)

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; return what to do, in order."""
        match event:
            case Offered(message) if self.state in (State.UP, State.SUSPECT):
                return self._number(message, now)
            case StatusReceived(status) if self.state is not State.CLOSED:
                return self._take(status, now)
            case StatusReceived():
                return []
            case LeaveRequested() if self.state is not State.CLOSED:
                goodbye: list[Command] = [SendStatus(full=False, state=PeerState.BYE)]
                return goodbye + self._close("left")
            case PartnerEnded():
                up = self.state in (State.UP, State.SUSPECT)
                return self._close("its process has ended", died=True) if up else []
            case _:
                raise self._illegal(event)

    def tick(self, now: float) -> list[Command]:
        """Do what is due at `now`; call it after the inbox was drained."""
        self._excuse_own_stall(now)
        if self.state is State.CLOSED:
            return []
        if self.state is State.OPENING:
            return self._say_hello(now)
        # Compared as in `next_deadline`: a difference may round to just below what it should be.
        if now >= self._silent_until(self._timing.close_s):
            return self._close(f"silent for {now - self._heard_at:.1f} s")
        commands: list[Command] = []
        if self.state is State.UP and now >= self._heard_at + self._timing.suspect_s:
            self.state = State.SUSPECT
            commands.append(Suspected())
        if now >= self._beat_at:
            self._beat(now)
            commands.append(SendStatus(full=False))
        if now >= self._retransmission_due():
            # Nothing says that it is lost: the partner may just be slow to store. So ask less and less often.
            if self._progress_at >= self._knock_until:
                self._patience_s = min(2 * self._patience_s, 16 * self._timing.retransmit_s)
            self._progress_at = now
            commands.append(Transmit(tuple(self._unacked)))
        return commands

    def next_deadline(self) -> float:
        """Return the time at which `tick` has something to do."""
        if self.state is State.CLOSED:
            return float("inf")
        if self.state is State.OPENING:
            return self._hello_at
        suspect, timing = self.state is State.SUSPECT, self._timing
        silence = self._silent_until(timing.close_s) if suspect else self._heard_at + timing.suspect_s
        return min(self._beat_at, silence, self._retransmission_due())

    def _retransmission_due(self) -> float:
        """Return when all that is not acknowledged is sent again; never, as long as the partner is quiet."""
        anew = self._progress_at < self._knock_until
        due = self._progress_at + (self._timing.anew_s if anew else self._patience_s)
        return due if self._unacked and due < self._heard_at + self._timing.quiet_s else float("inf")

    def unacked(self) -> tuple[Bulk, ...]:
        """Return the messages the partner has not acknowledged, in order."""
        return tuple(self._unacked)

    def _say_hello(self, now: float) -> list[Command]:
        if now < self._hello_at:
            return []
        self._hello_at = now + self._hello_wait_s * (1 + 0.5 * self._chance)
        self._hello_wait_s = min(1.5 * self._hello_wait_s, self._timing.hello_max_s)
        return [SendHello()]

    def _number(self, message: Bulk, now: float) -> list[Command]:
        numbered = replace(message, session=self.session, seq=self._next_seq)
        self._next_seq += 1
        if not self._unacked:
            self._progress_at = now
        self._unacked.append(numbered)
        self.unacked_bytes += numbered.size_bytes
        return [Transmit((numbered,))]

    def _take(self, status: Status, now: float) -> list[Command]:
        if status.state is PeerState.REJECT:
            died = self.incarnation not in (None, status.incarnation)
            return self._close(status.reason, died=died, rejected=not died)
        if self.incarnation not in (None, status.incarnation):
            return self._close("the peer was restarted", died=True)
        if status.state is PeerState.BYE:
            return self._close("the peer left")
        if status.cum >= self._next_seq:
            return self._close(f"the peer acknowledged {status.cum}, and {self._next_seq - 1} was the last sent")
        first = self.state is State.OPENING
        self.incarnation = status.incarnation
        self.state = State.UP
        was_quiet = self._was_quiet(now)
        self._hear(now)
        self._acknowledge(status.cum, now)
        said: Command = Opened(status) if first else Heard(status)
        return [said, *(self._send_again(status.cum, now) if was_quiet else self._rewind(status, now))]

    def _acknowledge(self, cum: int, now: float) -> None:
        if cum <= self._cum:
            return
        for _ in range(cum - self._cum):
            self.unacked_bytes -= self._unacked.popleft().size_bytes
        self._cum = cum
        self._progress_at = now
        self._patience_s = self._timing.retransmit_s

    def _rewind(self, status: Status, now: float) -> list[Command]:
        """Retransmit from cum + 1 on a reported gap, but not for every Status that reports the same one."""
        cum, at = self._rewound
        if not status.gap or not self._unacked or (cum == status.cum and now - at < self._timing.rewind_s):
            return []
        return self._send_again(status.cum, now)

    def _send_again(self, cum: int, now: float) -> list[Command]:
        """Retransmit all that is not acknowledged, if anything; after a silence, connections may have been lost."""
        if not self._unacked:
            return []
        self._rewound = (cum, now)
        self._progress_at = now
        return [Transmit(tuple(self._unacked))]

    def _close(self, reason: str, *, died: bool = False, rejected: bool = False) -> list[Command]:
        unacked = tuple(self._unacked)
        self._unacked.clear()
        self.unacked_bytes = 0
        self._next_seq = self._cum + 1
        self.state = State.CLOSED
        return [Closed(reason, died=died, rejected=rejected, unacked=unacked)]

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        assert [m.seq for m in self._unacked] == list(range(self._cum + 1, self._next_seq)), repr(self)
        assert self.unacked_bytes == sum(m.size_bytes for m in self._unacked), repr(self)
        assert not (self._unacked and self.state in (State.OPENING, State.CLOSED)), repr(self)

    def __repr__(self) -> str:
        return (
            f"<Outgoing {self.session.number} {self.state} cum={self._cum} next={self._next_seq} "
            f"unacked={len(self._unacked)}/{self.unacked_bytes}B>"
        )


class Incoming(_Half):
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
