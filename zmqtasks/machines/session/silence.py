"""How long a partner has been silent, and what is due at which silence: all that both halves of a session share.

Owns the times of a session. One's own stall is not the partner's silence, and is taken off. Says nothing itself;
`outgoing.py` and `incoming.py` build on it.
"""

from __future__ import annotations

from enum import StrEnum

from zmqtasks.errors import LocalProtocolError
from zmqtasks.messages import SessionId
from zmqtasks.records import Value

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


class Half:
    """What both halves share; see the module."""

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
