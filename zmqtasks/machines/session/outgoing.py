"""The initiator's half of a session: it says Hello until echoed, and numbers bulk messages.

Owns the messages that are not acknowledged, and when they are sent again. Called by `sessions/link.py` and by the
simulation.
"""

from __future__ import annotations

from collections import deque

from zmqtasks.machines.session.moves import (
    Closed,
    Command,
    Event,
    Heard,
    LeaveRequested,
    Offered,
    Opened,
    PartnerEnded,
    SendHello,
    SendStatus,
    StatusReceived,
    Suspected,
    Transmit,
)
from zmqtasks.machines.session.silence import Half, State, Timing
from zmqtasks.messages import Bulk, PeerState, SessionId, Status
from zmqtasks.records import replace


class Outgoing(Half):
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

    @property
    def last_seq(self) -> int:
        """Return the number of the last message that was offered; the partner may not have it yet."""
        return self._next_seq - 1

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
        again = self._send_again(status.cum, now) if was_quiet else self._rewind(status, now)
        return [*again, said]  # who hears it may offer more, which comes behind what is sent again

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
