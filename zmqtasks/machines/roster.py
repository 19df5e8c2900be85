"""Whom a peer knows of, and with whom it keeps a session: so that one address is enough to find all nodes.

Nodes tell those who have a session with them which nodes they know, and how long ago each was last seen; what nobody
has seen for half a minute is forgotten by all. A client keeps a session with each node it hears of; a node with a few
others, the next ones in the order of their ids, so that all hang together.

Owns what is known. Knows no socket and no clock: ages are durations. Called by `neighbours.py`.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable

from zmqtasks.messages import Address, Known, PeerId
from zmqtasks.records import Entity, Value

KEEP_S = 30.0
"""So long after it was last seen by anybody a node is told of."""
GONE_S = 2 * KEEP_S
"""So long who has said goodbye is not believed to be there, whatever others still tell."""
FEW = 3
"""Sessions that a node keeps with others, if it was not told to keep more."""
MOST_KNOWN = 10_000


class SeedsListed(Value):
    """Where nodes are, as a source says: an address that was given, a file, a name; all that it says now."""

    source: str
    endpoints: tuple[str, ...]


class Answered(Value):
    """A session that we opened is up: behind `key` is this node."""

    key: str
    address: Address


class Met(Value):
    """A node has opened a session with us."""

    address: Address


class Parted(Value):
    """A session is over; `gone` where the node has said goodbye, or is known to have ended."""

    peer: PeerId
    gone: bool = False


class FoundBehind(Value):
    """Behind `key` is a node that we have a session with already; this one was ended."""

    key: str
    peer: PeerId


class Ended(Value):
    """What was reached under `key` is not kept any more, though nobody let go of it."""

    key: str


class Told(Value):
    """A node has told whom it knows."""

    known: tuple[Known, ...]


Event = SeedsListed | Answered | Met | Parted | FoundBehind | Ended | Told


class Reach(Value):
    """Keep a session with the node at `address`; `key` is what it is called from now on."""

    key: str
    address: Address


class LetGo(Value):
    """Keep this session no more."""

    key: str


Command = Reach | LetGo


class _Node(Entity):
    address: Address
    seen_at: float


class Roster:
    """Whom we know; see the module.

    Args:
        own: our id; nobody needs a session with himself.
        most: sessions to be kept beside those with seeds; None for one with each node.
        reachable: tells whether an address can be of use to us.
    """

    def __init__(
        self, own: PeerId, most: int | None = None, reachable: Callable[[Address], bool] = lambda address: True
    ) -> None:
        self._own = own
        self._most = most
        self._reachable = reachable
        self._seeds: dict[str, tuple[str, ...]] = {}
        self._known: dict[PeerId, _Node] = {}
        self._gone: dict[PeerId, float] = {}
        self._sessions: Counter[PeerId] = Counter()
        """With whom there is a session, whoever opened it."""
        self._open: dict[str, PeerId] = {}
        """What we were told to reach, by key, and who is there; "" before it answers."""

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take an event; return what is to be done."""
        match event:
            case SeedsListed(source, endpoints):
                self._seeds[source] = endpoints
            case Answered(key, address):
                self._open[key] = address.peer
                self._met(address, now)
            case Met(address):
                self._met(address, now)
            case Parted(peer, gone):
                self._part(peer, gone, now)
            case FoundBehind(key, peer):
                self._open[key] = peer
            case Ended(key):
                self._open.pop(key, None)
            case _:
                for entry in event.known:
                    self._believe(entry, now)
        return self.tick(now)

    def tick(self, now: float) -> list[Command]:
        """Forget who was not seen for long; return which sessions are to be kept now, and which not."""
        self._forget(now)
        wanted = self._wanted()
        commands: list[Command] = [LetGo(key) for key in self._open if key not in wanted]
        for command in commands:
            self._open.pop(command.key)
        for key, address in wanted.items():
            if key not in self._open:
                self._open[key] = ""
                commands.append(Reach(key, address))
        return commands

    def next_deadline(self) -> float:
        """Return when somebody is to be forgotten."""
        ends = [node.seen_at + KEEP_S for peer, node in self._known.items() if not self._sessions[peer]]
        return min([*ends, *(at + GONE_S for at in self._gone.values())], default=float("inf"))

    def known(self, now: float) -> tuple[Known, ...]:
        """Return what to tell others: each node that is believed to be there, and how long ago it was seen."""
        return tuple(
            [
                Known(node.address, 0.0 if self._sessions[peer] else now - node.seen_at)
                for peer, node in self._known.items()
            ]
        )

    def check(self) -> None:
        """Assert what always holds."""
        assert self._own not in self._known
        assert not self._gone.keys() & self._known.keys()
        assert all(count > 0 for count in self._sessions.values())
        assert len(self._known) <= MOST_KNOWN + len(self._sessions)

    def _met(self, address: Address, now: float) -> None:
        self._sessions[address.peer] += 1
        self._gone.pop(address.peer, None)
        if address.peer != self._own:
            self._known[address.peer] = _Node(address, now)

    def _part(self, peer: PeerId, gone: bool, now: float) -> None:
        self._sessions[peer] -= 1
        if self._sessions[peer] <= 0:
            del self._sessions[peer]
        for key in [key for key, who in self._open.items() if who == peer and not self._sessions[peer]]:
            self._open[key] = ""
        if gone:
            self._known.pop(peer, None)
            self._gone[peer] = now
        elif node := self._known.get(peer):
            node.seen_at = now

    def _believe(self, entry: Known, now: float) -> None:
        peer, seen_at = entry.address.peer, now - entry.age_s
        if peer == self._own or peer in self._gone or seen_at + KEEP_S <= now:
            return
        node = self._known.get(peer)
        if node is not None:
            node.seen_at = max(node.seen_at, seen_at)
        elif len(self._known) < MOST_KNOWN:
            self._known[peer] = _Node(entry.address, seen_at)

    def _forget(self, now: float) -> None:
        for peer in [p for p, n in self._known.items() if not self._sessions[p] and n.seen_at + KEEP_S <= now]:
            del self._known[peer]
        for peer in [p for p, at in self._gone.items() if at + GONE_S <= now]:
            del self._gone[peer]

    def _wanted(self) -> dict[str, Address]:
        """Return the sessions to keep, by key: those with seeds, and with who is not behind one of them."""
        seeds = dict.fromkeys(endpoint for listed in self._seeds.values() for endpoint in listed)
        wanted = {endpoint: Address("", "", (endpoint,)) for endpoint in seeds}
        behind = {peer for key, peer in self._open.items() if key in seeds}
        others = [
            peer
            for peer, node in self._known.items()
            if peer not in behind and not seeds.keys() & set(node.address.endpoints) and self._reachable(node.address)
        ]
        room = len(others) if self._most is None else max(0, self._most - len(wanted))
        return wanted | {peer: self._known[peer].address for peer in _next_after(self._own, others, room)}

    def __repr__(self) -> str:
        return f"<Roster knows {len(self._known)}, sessions {dict(self._sessions)}, keeps {self._open}>"


def _next_after(own: PeerId, peers: Iterable[PeerId], most: int) -> list[PeerId]:
    """Return so many peers that follow us in the order of ids, which goes round: so all hang together."""
    ring = sorted(peers)
    place = bisect(ring, own)
    return [*ring[place:], *ring[:place]][:most]
