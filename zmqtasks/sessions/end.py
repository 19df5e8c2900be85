"""What both ends of a session share: a machine with its timer, and what a role adds to what is said.

Knows nothing of tasks. Everything happens in the thread of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from zmqtasks.machines import session
from zmqtasks.messages import (
    Flight,
    Held,
    Known,
    Load,
    Offer,
    PeerState,
    Window,
)
from zmqtasks.metrics import Metrics
from zmqtasks.records import Value

if TYPE_CHECKING:
    from zmqtasks.peer import Peer

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


class End:
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
