"""A network in memory: many peers, one clock, one source of chance, and faults on demand.

Owns every inbox, every connection and what is under way on it. A connection behaves as a ZeroMQ PUSH with IMMEDIATE=1
was measured to behave (docs/design/protocol.md): order is kept, nothing comes twice, nothing is queued for a peer that
is not there, and a connection that breaks loses a contiguous run. Knows nothing of sessions or tasks. `network.join`
returns what `peer.Peer` takes as its network.

    network.reset(a, b)               connections break, and come back
    network.partition(a, b), heal     nothing passes; what was sent waits, as TCP retransmits
    network.stop(a), resume(a)        the process is stopped: it reads and connects no more until it continues
    network.kill(a)                   the process is gone, and what was under way to it
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from zmqtasks.errors import BindError
from zmqtasks.messages import (
    Address,
    Bulk,
    Cancel,
    Control,
    Hello,
    Message,
    PeerId,
    PeerState,
    Query,
    Results,
    Status,
    Stored,
    Tasks,
)
from zmqtasks.options import Limits
from zmqtasks.peer import Loop
from zmqtasks.testing.clock import FakeClock, FakeTimer
from zmqtasks.wire import codec

SCHEME = "sim://"
LIMITS = Limits()
CONTROL_WAITING = 16
"""As `transport.outlet`: older control messages are out of date."""
LONGEST_RECONNECT_S = 5.0
NOTICED_S = 25.0
"""A connection to a host that vanished is given up by ZMTP's own heartbeat: 5 s interval, 20 s time-out."""
MOST_RTO_S = 0.5
"""After a partition the next TCP retransmission takes up to about this long."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a connection is like.

    Args:
        latency_s: least time from one peer to the other.
        jitter_s: up to so much is added, by chance.
        connect_s: time a connection takes to be set up.
        reconnect_s: pause before the first new try; each further one is twice as long, up to 5 s.
        bytes_per_s: bandwidth of each connection; None for no limit.
        encoded: pass every message through `wire.codec`, as between real processes.
    """

    latency_s: float = 0.0002
    jitter_s: float = 0.0003
    connect_s: float = 0.001
    reconnect_s: float = 0.1
    bytes_per_s: float | None = None
    encoded: bool = False


class SimNetwork:
    """All inboxes and connections.

    Args:
        clock: passes time for everybody.
        chance: the only source of it; the same seed gives the same run.
        conditions: of each connection.
        story: told what happens, a line at a time; None costs nothing.
        on_arrival: told of each message that reaches a place, before the peer there is.
    """

    def __init__(
        self,
        clock: FakeClock,
        chance: random.Random,
        conditions: Conditions | None = None,
        *,
        story: Callable[[str], None] | None = None,
        on_arrival: Callable[[str, Message], None] = lambda place, message: None,
    ) -> None:
        self.on_arrival = on_arrival
        self.clock = clock
        self.chance = chance
        self.conditions = conditions or Conditions()
        self.story = story
        self.blocked: set[tuple[str, str]] = set()
        self.inboxes: dict[str, SimInbox] = {}
        self._lanes: dict[_Lane, None] = {}

    def join(self, place: str, peer: PeerId, loop: Loop, *, host: str = "") -> SimInbox:
        """Bind the inbox of a peer at a place, where a killed one may have been before.

        Args:
            place: its endpoint is `sim://` and this; faults name peers by it.
            peer: its id.
            loop: that of the peer; messages are delivered on it.
            host: identity of its host; the place if empty.

        Raises:
            BindError: the place is taken.
        """
        if place in self.inboxes:
            raise BindError(f"cannot bind {SCHEME}{place}: the address is in use")
        self.inboxes[place] = inbox = SimInbox(self, place, Address(peer, host or place, (SCHEME + place,)), loop)
        for lane in self._to(place):
            lane.reset(survivors=False)  # the kernel of the new process does not know the old connection
        return inbox

    # Faults

    def reset(self, one: str, other: str) -> None:
        """Break the connections between two places; of what is under way, a run up to the last is lost."""
        self.tell(f"reset {one} -- {other}")
        for lane in self._between(one, other):
            lane.reset(survivors=True)

    def partition(self, source: str, target: str, *, both_ways: bool = True) -> None:
        """Let nothing pass from `source` to `target`, and with `both_ways` nothing back either."""
        self.tell(f"partition {source} {'<' if both_ways else ''}-> {target}")
        self.blocked.add((source, target))
        if both_ways:
            self.blocked.add((target, source))

    def heal(self, one: str, other: str) -> None:
        """End a partition; what waited goes on in order, after TCP has found out."""
        self.tell(f"heal {one} -- {other}")
        self.blocked -= {(one, other), (other, one)}
        for lane in self._between(one, other):
            lane.retransmit()

    def stop(self, place: str) -> None:
        """Stop the process at a place: what comes waits in the kernel."""
        self.inboxes[place].stopped = True

    def resume(self, place: str, lag_s: float = 0.0) -> None:
        """Let it go on; its own thread of ZeroMQ hands over what waited after `lag_s` seconds."""
        self.inboxes[place].resume(lag_s)

    def kill(self, place: str, *, silently: bool = False) -> None:
        """Let the process at a place be gone; with `silently` its host as well, so that nobody is told."""
        self.tell(f"kill {place}{' silently' if silently else ''}")
        self.inboxes.pop(place).closed = True
        for lane in [lane for lane in self._lanes if lane.source.place == place]:
            lane.close(linger_s=0.0)
        for lane in self._to(place):
            if silently:
                lane.vanish(NOTICED_S)
            else:
                lane.reset(survivors=False)

    # For lanes and inboxes

    def tell(self, line: str) -> None:
        """Add a line to the story, if somebody listens."""
        if self.story is not None:
            self.story(line)

    def passes(self, source: str, target: str) -> bool:
        """Tell whether messages get from one place to the other."""
        return (source, target) not in self.blocked

    def can_connect(self, source: SimInbox, place: str) -> bool:
        """Tell whether a connection can be set up: that takes both ways, and both ends awake."""
        target = self.inboxes.get(place)
        awake = target is not None and not target.stopped and not source.stopped
        return awake and self.passes(source.place, place) and self.passes(place, source.place)

    def add_lane(self, lane: _Lane) -> None:
        """Remember a connection, for faults."""
        self._lanes[lane] = None

    def forget_lane(self, lane: _Lane) -> None:
        """Forget a connection that is closed and empty."""
        self._lanes.pop(lane, None)

    def under_way(self) -> int:
        """Return how many messages are on connections, or wait for one."""
        return sum(len(lane.flight) + len(lane.waiting) for lane in self._lanes)

    def unbind(self, inbox: SimInbox) -> None:
        """The inbox at a place is closed in order."""
        if self.inboxes.get(inbox.place) is inbox:
            del self.inboxes[inbox.place]
            for lane in self._to(inbox.place):
                lane.reset(survivors=False)

    def _to(self, place: str) -> list[_Lane]:
        return [lane for lane in self._lanes if lane.place == place]

    def _between(self, one: str, other: str) -> list[_Lane]:
        return [lane for lane in self._lanes if {lane.source.place, lane.place} == {one, other}]


class SimInbox:
    """One peer's inbox and its ways to others: the face of `transport.network.Network`. Made by `SimNetwork.join`."""

    def __init__(self, network: SimNetwork, place: str, address: Address, loop: Loop) -> None:
        self.address = address
        self.place = place
        self.stopped = self.closed = False
        self._network = network
        self._loop = loop
        self._on_message: Callable[[Message], None] | None = None
        self._waiting: deque[Message] = deque()

    def listen(self, on_message: Callable[[Message], None]) -> None:
        """Begin to deliver what comes."""
        self._on_message = on_message
        self._loop.call_soon(self.drain)

    def drain(self) -> None:
        """Deliver what has come so far; what the kernel has while the process is stopped has not."""
        while self._waiting and not (self.stopped or self.closed) and self._on_message is not None:
            message = self._waiting.popleft()
            if self._network.story is not None:
                self._network.tell(f"  < {self.place} {describe(message)}")
            self._on_message(message)

    def reach(self, address: Address) -> SimWire:
        """Return a new way to a peer.

        Raises:
            BindError: the endpoint is malformed.
        """
        endpoint = address.endpoints[0]
        if not endpoint.startswith(SCHEME) or endpoint == SCHEME:
            raise BindError(f'cannot connect to {endpoint}: it is malformed; write "{SCHEME}PLACE"')
        return SimWire(self._network, self, endpoint)

    def prefers(self, address: Address, endpoint: str) -> bool:
        """Tell whether a new way to `address` would be better: never, a place has one endpoint."""
        return False

    def close(self) -> None:
        """Unbind, and forget what was not read; idempotent."""
        self.closed = True
        self._waiting.clear()
        self._network.unbind(self)

    # For lanes

    def take(self, item: Message | bytes) -> None:
        """Take a message that has arrived."""
        message = codec.decode(item, LIMITS) if isinstance(item, bytes) else item
        self._network.on_arrival(self.place, message)
        self._waiting.append(message)
        self.drain()

    def resume(self, lag_s: float) -> None:
        """Hand over what came while the process was stopped, in `lag_s` seconds of its own."""
        self._loop.call_at(self._loop.time() + lag_s, self._catch_up)

    def _catch_up(self) -> None:
        self.stopped = False
        self.drain()


class SimWire:
    """The way to one place: two connections, as `transport.outlet.Outlet` has them. Made by `SimInbox.reach`."""

    def __init__(self, network: SimNetwork, source: SimInbox, endpoint: str) -> None:
        self.endpoint = endpoint
        self._network = network
        self._source = source
        self._control = _Lane(network, source, endpoint.removeprefix(SCHEME), CONTROL_WAITING)
        self._bulk: _Lane | None = None

    def send_control(self, message: Control) -> None:
        """Send a small message; the last few wait for a connection."""
        self._control.send(message)

    def send_bulk(self, message: Bulk) -> None:
        """Send a numbered message; it waits for a connection."""
        if self._bulk is None:
            self._bulk = _Lane(self._network, self._source, self.endpoint.removeprefix(SCHEME), None)
        self._bulk.send(message)

    def forget_waiting(self) -> None:
        """Drop bulk that waits for a connection."""
        if self._bulk is not None:
            self._bulk.waiting.clear()

    def close(self, linger_s: float = 0.0) -> None:
        """Close both connections; what is on its way gets `linger_s` seconds. Idempotent."""
        self._control.close(linger_s)
        if self._bulk is not None:
            self._bulk.close(linger_s)


class _Lane:
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
        network.add_lane(self)
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
            while self.waiting:
                self._fly(self.waiting.popleft())
        else:
            self._attempt = self._clock.call_later(self._pause_s, self._connect)
            self._pause_s = min(2 * self._pause_s, LONGEST_RECONNECT_S)

    def _fly(self, message: Message) -> None:
        network, conditions = self._network, self._network.conditions
        if network.story is not None:
            network.tell(f"{self.source.place} > {self.place} {describe(message)}{' into the void' * self._vanished}")
        if self._vanished:
            return
        item = codec.encode(message) if conditions.encoded else message
        leaves = max(self._clock.time(), self._free_at)
        if conditions.bytes_per_s is not None:
            size = len(item) if isinstance(item, bytes) else getattr(message, "size_bytes", 0)
            leaves += size / conditions.bytes_per_s
        self._free_at = leaves
        arrives = leaves + conditions.latency_s + conditions.jitter_s * network.chance.random()
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
        elif self._network.passes(self.source.place, self.place):
            target.take(self.flight.popleft()[1])
            if self.flight:
                self._await_first()
        self._forget_if_over()

    def retransmit(self) -> None:
        """TCP sends what got no answer again: all of it arrives a little later, in order."""
        self._stop_timer()
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
            self._network.forget_lane(self)


def describe(message: Message) -> str:
    """Return a message in one line, for a story."""
    name = type(message).__name__
    match message:
        case Hello():
            return f"{name} #{message.session.number} from a {message.role}"
        case Status():
            have = "" if message.have is None else f" have={[tuple(held) for held in message.have]}"
            state = "" if message.state is PeerState.UP else f" {message.state} {message.reason}"
            return f"{name} #{message.session.number} cum={message.cum}{' gap' * message.gap}{state}{have}"
        case Tasks():
            parts = [f"{c.job}[{c.start}..{c.stop})@{c.attempt}" for c in message.chunks]
            parts += [f"end of {job}" for job in message.ended]
        case Results():
            parts = [f"{o.kind.name} {o.job}[{o.start}..{o.stop})@{o.attempt}" for o in message.outcomes]
        case Stored():
            parts = [f"{s.kind.name} {s.job}[{s.start}..{s.stop})@{s.attempt}" for s in message.settled]
        case Cancel() | Query():
            return repr(message)
    return f"{name} #{message.session.number} seq={message.seq} {' '.join(parts)}"
