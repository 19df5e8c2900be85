"""One connection of the fake network, with what waits for it and what is under way on it; and a pair of them.

Owns how a connection stands, breaks and comes back. Knows of no fault but what `network.py`, its only caller, tells it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from zmqtasks.messages import Bulk, Control, Message, Output
from zmqtasks.records import Value
from zmqtasks.testing.clock import FakeTimer
from zmqtasks.testing.story import describe
from zmqtasks.transport.sockets import GIVE_UP_MS
from zmqtasks.wire import codec

if TYPE_CHECKING:
    from zmqtasks.testing.network import SimInbox, SimNetwork

SCHEME = "sim://"
CONTROL_WAITING = 16
"""As `transport.outlet`: older control messages are out of date."""
LONGEST_RECONNECT_S = 1.2
"""As `transport.sockets`: a try that is not answered, and the pause after it."""
RUN_S = 0.02
"""A run of messages that is lost was under way at the same time."""
LEAST_RTO_S = 0.2
"""A segment that is lost is sent again after so long, and all behind it waits."""
MOST_RTO_S = 0.8
"""The longest pause between two tries of TCP to send a segment, before it gives the connection up."""
GIVE_UP_S = GIVE_UP_MS / 1000
"""A connection that gets no answer from the other kernel for so long breaks."""


class Conditions(Value):
    """What a connection is like.

    Args:
        latency_s: least time from one peer to the other.
        jitter_s: up to so much is added, by chance.
        connect_s: time a connection takes to be set up.
        reconnect_s: pause before the first new try; each further one is twice as long, up to 1.2 s.
        bytes_per_s: bandwidth of each connection; None for no limit.
        encoded: pass every message through `wire.codec`, as between real processes.
    """

    latency_s: float = 0.0002
    jitter_s: float = 0.0003
    connect_s: float = 0.001
    reconnect_s: float = 0.1
    bytes_per_s: float | None = None
    encoded: bool = False


class SimWire:
    """The way to one place: two connections, as `transport.outlet.Outlet` has them. Made by `SimInbox.reach`."""

    def __init__(self, network: SimNetwork, source: SimInbox, endpoint: str) -> None:
        self.endpoint = endpoint
        self.lends = False
        self._network = network
        self._source = source
        self._control = Connection(network, source, endpoint.removeprefix(SCHEME), CONTROL_WAITING)
        self._bulk: Connection | None = None
        self._output: Connection | None = None

    def send_control(self, message: Control) -> None:
        """Send a small message; the last few wait for a connection."""
        self._control.send(message)

    def send_bulk(self, message: Bulk) -> None:
        """Send a numbered message; it waits for a connection."""
        if self._bulk is None:
            self._bulk = Connection(self._network, self._source, self.endpoint.removeprefix(SCHEME), None)
        self._bulk.send(message)

    def send_output(self, message: Output) -> bool:
        """Send what workers printed."""
        if self._output is None:
            self._output = Connection(self._network, self._source, self.endpoint.removeprefix(SCHEME), CONTROL_WAITING)
        self._output.send(message)
        return True

    def forget_waiting(self) -> None:
        """Drop bulk that waits for a connection."""
        if self._bulk is not None:
            self._bulk.waiting.clear()

    def close(self, linger_s: float = 0.0) -> None:
        """Close all connections; what is on its way gets `linger_s` seconds. Idempotent."""
        self._control.close(linger_s)
        if self._bulk is not None:
            self._bulk.close(linger_s)
        if self._output is not None:
            self._output.close(linger_s)


class Connection:
    """One connection to a place: what waits for it, and what is under way on it."""

    def __init__(self, network: SimNetwork, source: SimInbox, place: str, most: int | None) -> None:
        self.source = source
        self.place = place
        self.waiting: deque[Message] = deque(maxlen=most)
        self.flight: deque[tuple[float, Message | bytes]] = deque()
        """What was sent and has not arrived, with the times of arrival."""
        self._network = network
        self._clock = network.clock
        self._connected = self._vanished = self._closed = False
        self._free_at = 0.0
        self._timer: FakeTimer | None = None
        self._patience: FakeTimer | None = None
        """Ends where no answer comes back from the other kernel."""
        self._doomed = 0
        self._doomed_until = math.inf
        self._breaks = False
        self._on_lost: Callable[[], None] = _nothing
        network.add(self)
        self._pause_s = network.conditions.reconnect_s
        self._attempt = self._clock.call_later(network.conditions.connect_s, self._connect)

    def send(self, message: Message) -> None:
        """Send a message now, or when the connection stands."""
        if self._closed:
            return
        if self._connected:
            self._fly(message)
        else:
            self.waiting.append(message)

    def _connect(self) -> None:
        if self._network.can_connect(self.source, self.place):
            self._connected, self._vanished = True, False
            self._pause_s = self._network.conditions.reconnect_s
            while self.waiting and self._connected:
                self._fly(self.waiting.popleft())
        else:
            self._attempt = self._clock.call_later(self._pause_s, self._connect)
            self._pause_s = min(2 * self._pause_s, LONGEST_RECONNECT_S)

    @property
    def stands(self) -> bool:
        """Whether it is set up, as far as this side knows."""
        return self._connected and not self._closed

    @property
    def held_up(self) -> bool:
        """Whether a partition keeps something from arriving, or this from being set up."""
        return (bool(self.flight) and self._timer is None) or not (self._connected or self._closed)

    def lose_next(self, number: int, on_lost: Callable[[], None], *, breaks: bool) -> None:
        """Lose the next message, and up to `number` that follow at once; with `breaks`, the connection breaks with it.

        `on_lost` is called when the first is lost.
        """
        self._doomed, self._doomed_until, self._on_lost, self._breaks = number, math.inf, on_lost, breaks

    def _is_doomed(self) -> bool:
        """Tell whether the message at hand is lost, and lose it."""
        now = self._clock.time()
        if now > self._doomed_until:
            self._doomed = 0
            return False
        self._doomed -= 1
        self._doomed_until = min(self._doomed_until, now + RUN_S)
        on_lost, self._on_lost = self._on_lost, _nothing
        self._network.tell(f"a message from {self.source.place} to {self.place} is lost")
        on_lost()
        if self._breaks:
            self._doomed = 0
            self.reset(survivors=True)
        return True

    def _fly(self, message: Message) -> None:
        network, conditions = self._network, self._network.conditions
        if network.story is not None:
            network.tell(f"{self.source.place} > {self.place} {describe(message)}{' into the void' * self._vanished}")
        if self._vanished:
            return
        if self._doomed and self._is_doomed():
            return
        item = codec.encode(message) if conditions.encoded else message
        leaves = max(self._clock.time(), self._free_at)
        if conditions.bytes_per_s is not None:
            size = len(item) if isinstance(item, bytes) else getattr(message, "size_bytes", 0)
            leaves += size / conditions.bytes_per_s
        self._free_at = leaves
        arrives = leaves + conditions.latency_s + conditions.jitter_s * network.chance.random()
        if network.lossy:
            arrives += network.retransmission_s(self.source.place, self.place)
        self.flight.append((max(arrives, self.flight[-1][0] if self.flight else 0.0), item))
        if len(self.flight) == 1:
            self._await_first()

    def _await_first(self) -> None:
        self._timer = self._clock.call_at(self.flight[0][0], self._arrive)

    def _arrive(self) -> None:
        self._timer = None
        target = self._network.inboxes.get(self.place)
        if target is None:
            self.flight.clear()
        else:
            if self._is_cut() and self._patience is None:
                self._patience = self._clock.call_later(GIVE_UP_S, self._give_up)
            if self._network.passes(self.source.place, self.place):
                target.take(self.flight.popleft()[1])
                if self.flight:
                    self._await_first()
        self._forget_if_over()

    def _is_cut(self) -> bool:
        """Tell whether messages do not get there, or answers not back."""
        passes, ends = self._network.passes, (self.source.place, self.place)
        return bool(self._network.blocked) and not (passes(*ends) and passes(*reversed(ends)))

    def _give_up(self) -> None:
        self._patience = None
        if self._is_cut():
            self._network.tell(f"{self.source.place} gives up a connection to {self.place}")
            self.reset(survivors=True)

    def retransmit(self) -> None:
        """TCP sends what got no answer again: all of it arrives a little later, in order."""
        self._stop_timer()
        self._be_patient()
        if self.flight:
            again = self._clock.time() + MOST_RTO_S * self._network.chance.random()
            self.flight = deque((max(arrives, again), item) for arrives, item in self.flight)
            self._await_first()

    def reset(self, *, survivors: bool) -> None:
        """Break: of what is under way, only a first part may still arrive; then connect anew."""
        if survivors and self._network.passes(self.source.place, self.place):
            kept = self._network.chance.randint(0, len(self.flight))
        else:
            kept = 0
        self._lose(kept)
        self._be_patient()
        if not self._closed:
            self._connected = self._vanished = False
            self._attempt.cancel()
            self._attempt = self._clock.call_later(self._pause_s, self._connect)

    def vanish(self, noticed_s: float) -> None:
        """The other host is gone without a word: what is sent goes nowhere until this side notices."""
        self._lose(0)
        self._vanished = True
        self._attempt.cancel()
        self._attempt = self._clock.call_later(noticed_s, self._notice)

    def _notice(self) -> None:
        self.reset(survivors=False)

    def _lose(self, kept: int) -> None:
        lost = len(self.flight) - kept
        if lost and self._network.story is not None:
            self._network.tell(f"{lost} message(s) from {self.source.place} to {self.place} are lost")
        while len(self.flight) > kept:
            self.flight.pop()
        if not self.flight:
            self._stop_timer()
            self._forget_if_over()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _be_patient(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def close(self, linger_s: float) -> None:
        """Close: with no time to linger, only what the kernel had of it still arrives."""
        if self._closed:
            return
        self._closed = True
        self.waiting.clear()
        self._attempt.cancel()
        if linger_s <= 0:
            self._lose(self._network.chance.randint(0, len(self.flight)))
        self._forget_if_over()

    def _forget_if_over(self) -> None:
        if self._closed and not self.flight:
            self._network.forget(self)


def _nothing() -> None:
    """Nobody asked to be told."""
