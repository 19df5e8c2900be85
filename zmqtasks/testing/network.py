"""A network in memory: many peers, one clock, one source of chance, and faults on demand.

Owns every inbox, every connection and what is under way on it. A connection behaves as a ZeroMQ PUSH with IMMEDIATE=1
was measured to behave (docs/design/protocol.md): order is kept, nothing comes twice, nothing is queued for a peer that
is not there, and a connection that breaks loses a contiguous run. Knows nothing of sessions or tasks. `network.join`
returns what `peer.Peer` takes as its network.

    network.reset(a, b)               connections break, and come back
    network.lose(a, b, number)        a run of messages is lost when something is sent next
    network.partition(a, b), heal     nothing passes; what was sent waits, as TCP retransmits, for 2 s: then it is lost
    network.weaken(a, b, share)       so many packets are lost, and sent again: all behind one waits
    network.stop(a), resume(a)        the process is stopped: it reads and connects no more until it continues
    network.kill(a)                   the process is gone, and what was under way to it
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

from zmqtasks.errors import BindError
from zmqtasks.messages import Address, Memory, Message, PeerId
from zmqtasks.options import Limits
from zmqtasks.peer import Loop
from zmqtasks.testing.clock import FakeClock
from zmqtasks.testing.connections import LEAST_RTO_S, MOST_RTO_S, SCHEME, Conditions, Connection, SimWire
from zmqtasks.testing.story import describe
from zmqtasks.transport.intake import OnMessage
from zmqtasks.wire import codec

LIMITS = Limits()
NOTICED_S = 25.0
"""A connection to a host that vanished is given up by ZMTP's own heartbeat: 5 s interval, 20 s time-out."""


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
        self.lossy: dict[tuple[str, str], tuple[float, Callable[[], None]]] = {}
        self.inboxes: dict[str, SimInbox] = {}
        self._connections: dict[Connection, None] = {}

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
        for connection in self._to(place):
            connection.reset(survivors=False)  # the kernel of the new process does not know the old connection
        return inbox

    # Faults

    def reset(self, one: str, other: str) -> int:
        """Break the connections between two places; of what is under way, a run up to the last is lost.

        Returns how many connections stood.
        """
        self.tell(f"reset {one} -- {other}")
        between = self._between(one, other)
        stood = sum(connection.stands for connection in between)
        for connection in between:
            connection.reset(survivors=True)
        return stood

    def lose(
        self, source: str, target: str, number: int, on_lost: Callable[[], None] = lambda: None, *, breaks: bool = False
    ) -> None:
        """Lose the next messages on one connection, and with `breaks` the connection too, as a reset does.

        `on_lost` is called when the first of them is lost.
        """
        ways = [way for way in self._to(target) if way.source.place == source and way.stands]
        if ways:
            self.chance.choice(ways).lose_next(number, on_lost, breaks=breaks)

    def weaken(self, source: str, target: str, share: float, on_delay: Callable[[], None] = lambda: None) -> None:
        """Lose this share of packets from one place to the other; TCP sends them again. 0 ends it.

        `on_delay` is called for each message that comes later by that.
        """
        self.tell(f"{share:.0%} loss {source} -> {target}")
        self.lossy.pop((source, target), None)
        if share:
            self.lossy[source, target] = share, on_delay

    def partition(self, source: str, target: str, *, both_ways: bool = True) -> None:
        """Let nothing pass from `source` to `target`, and with `both_ways` nothing back either."""
        self.tell(f"partition {source} {'<' if both_ways else ''}-> {target}")
        self.blocked.add((source, target))
        if both_ways:
            self.blocked.add((target, source))

    def heal(self, one: str, other: str) -> bool:
        """End a partition; what still waits goes on in order, after TCP found out. Tells whether anything waited."""
        self.tell(f"heal {one} -- {other}")
        self.blocked -= {(one, other), (other, one)}
        between = self._between(one, other)
        waited = any(connection.held_up for connection in between)
        for connection in between:
            connection.retransmit()
        return waited

    def stop(self, place: str, *, stalled: bool = False) -> None:
        """Stop the process at a place: what comes waits in the kernel.

        A process that is only `stalled` still makes and takes connections: ZeroMQ's own thread goes on.
        """
        inbox = self.inboxes[place]
        inbox.stopped, inbox.connects = True, stalled

    def resume(self, place: str, lag_s: float = 0.0) -> None:
        """Let it go on; its own thread of ZeroMQ hands over what waited after `lag_s` seconds."""
        self.inboxes[place].resume(lag_s)

    def kill(self, place: str, *, silently: bool = False) -> None:
        """Let the process at a place be gone; with `silently` its host as well, so that nobody is told."""
        self.tell(f"kill {place}{' silently' if silently else ''}")
        self.inboxes.pop(place).closed = True
        for connection in [connection for connection in self._connections if connection.source.place == place]:
            connection.close(linger_s=0.0)
        for connection in self._to(place):
            if silently:
                connection.vanish(NOTICED_S)
            else:
                connection.reset(survivors=False)

    # For connections and inboxes

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
        awake = target is not None and target.connects and source.connects
        return awake and self.passes(source.place, place) and self.passes(place, source.place)

    def retransmission_s(self, source: str, target: str) -> float:
        """Return how much later a message comes for loss of packets: mostly 0."""
        share, on_delay = self.lossy.get((source, target), (0.0, None))
        if on_delay is None or self.chance.random() >= share:
            return 0.0
        on_delay()
        return LEAST_RTO_S + MOST_RTO_S * self.chance.random()

    def add(self, connection: Connection) -> None:
        """Remember a connection, for faults."""
        self._connections[connection] = None

    def forget(self, connection: Connection) -> None:
        """Forget a connection that is closed and empty."""
        self._connections.pop(connection, None)

    def under_way(self) -> int:
        """Return how many messages are on connections, or wait for one."""
        return sum(len(connection.flight) + len(connection.waiting) for connection in self._connections)

    def unbind(self, inbox: SimInbox) -> None:
        """The inbox at a place is closed in order."""
        if self.inboxes.get(inbox.place) is inbox:
            del self.inboxes[inbox.place]
            for connection in self._to(inbox.place):
                connection.reset(survivors=False)

    def _to(self, place: str) -> list[Connection]:
        return [connection for connection in self._connections if connection.place == place]

    def _between(self, one: str, other: str) -> list[Connection]:
        return [
            connection
            for connection in self._connections
            if {connection.source.place, connection.place} == {one, other}
        ]


class SimInbox:
    """One peer's inbox and its ways to others: the face of `transport.network.Network`. Made by `SimNetwork.join`."""

    def __init__(self, network: SimNetwork, place: str, address: Address, loop: Loop) -> None:
        self.address = address
        self.memory: Memory | None = None
        self.place = place
        self.stopped = self.closed = False
        self.connects = True
        self._network = network
        self._loop = loop
        self._on_message: OnMessage | None = None
        self._waiting: deque[Message] = deque()

    def listen(self, on_message: OnMessage, on_revoked: Callable[[frozenset[str]], None] = lambda keys: None) -> None:
        """Begin to deliver what comes."""
        self._on_message = on_message
        self._loop.call_soon(self.drain)

    def drain(self) -> None:
        """Deliver what has come so far; what the kernel has while the process is stopped has not."""
        while self._waiting and not (self.stopped or self.closed) and self._on_message is not None:
            message = self._waiting.popleft()
            if self._network.story is not None:
                self._network.tell(f"  < {self.place} {describe(message)}")
            self._on_message(message, None)

    def complete(self, address: Address) -> Address:
        """Return the address as it is: here nobody has a key."""
        return address

    def can_borrow(self, address: Address, memory: Memory) -> bool:
        """Tell that nothing can: here messages are not encoded, and nothing is copied."""
        return False

    def reach(self, address: Address) -> SimWire:
        """Return a new way to a peer.

        Raises:
            BindError: the endpoint is malformed.
        """
        endpoint = address.endpoints[0]
        if not endpoint.startswith(SCHEME) or endpoint == SCHEME:
            raise BindError(f'cannot connect to {endpoint}: it is malformed; write "{SCHEME}PLACE"')
        return SimWire(self._network, self, endpoint)

    def watch_end(self, endpoint: str, on_end: Callable[[], None]) -> None:
        """Watch nothing: each peer has a host of its own, and nobody sees a process end."""

    def prefers(self, address: Address, endpoint: str) -> bool:
        """Tell whether a new way to `address` would be better: never, a place has one endpoint."""
        return False

    def close(self) -> None:
        """Unbind, and forget what was not read; idempotent."""
        self.closed = True
        self._waiting.clear()
        self._network.unbind(self)

    # For connections

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
        self.stopped, self.connects = False, True
        self.drain()
