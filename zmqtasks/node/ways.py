"""A node's ways to all sinks: which route outcomes take, when a route is replaced, and what all of them may hold.

Owns the routes. Called by `shell.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from zmqtasks.messages import Address, Held, Job, Outcome, PeerId, ventilator_of
from zmqtasks.node.routes import Route
from zmqtasks.peer import Peer


class Ways:
    """Send outcomes to the sinks of their jobs.

    Args:
        peer: this node.
        most_bytes: what all sinks together may not have acknowledged, before tasks for them wait.
        on_congestion: told of a ventilator whose sink has too much unacknowledged, and when that is over.
    """

    def __init__(self, peer: Peer, most_bytes: int, on_congestion: Callable[[PeerId, bool], None]) -> None:
        self.routes: list[Route] = []
        self._peer = peer
        self._most_bytes = most_bytes
        self._on_congestion = on_congestion
        self._unsent: list[Route] = []
        """Routes with outcomes of the event at hand: they go together, and at once."""

    def emit(self, job: Job, outcomes: Iterable[Outcome]) -> None:
        """Take outcomes; they leave with the next `flush`."""
        route = self._route_to(job.sink)
        route.join(ventilator_of(job.id))
        for outcome in outcomes:
            route.add(outcome)
        if route not in self._unsent:
            self._unsent.append(route)

    def flush(self) -> None:
        """Send what was taken since the last time."""
        while self._unsent:
            self._unsent.pop().flush()

    def finished(self, ventilator: PeerId) -> Iterator[Held]:
        """Return what has ended of a ventilator's tasks, and is not acknowledged."""
        return (held for route in self.routes for held in route.finished(ventilator))

    def is_empty(self) -> bool:
        """Tell whether all outcomes are acknowledged."""
        return all(route.is_empty() for route in self.routes)

    def leave(self, ventilator: PeerId) -> None:
        """Nobody wants the outcomes of a ventilator any more."""
        for route in [route for route in self.routes if ventilator in route.ventilators]:
            route.leave(ventilator)
            if not route.ventilators:
                route.close()
                self.routes.remove(route)
                self._share()

    def redirect(self, sink: Address) -> None:
        """Results for a client that was started again, with another address, go there from now on."""
        for earlier in [route for route in self.routes if route.address.peer == sink.peer]:
            if earlier.address != sink:
                self._replace(earlier, sink)

    def close(self) -> None:
        """Close all routes."""
        for route in self.routes:
            route.close()

    def _route_to(self, sink: Address) -> Route:
        """Return the way to a sink; where the one there is leads nowhere, a job may know a newer address."""
        if client := self._peer.guests.get(sink.peer):
            sink = client.address  # it knows best where it is, and a job of an earlier life does not
        earlier = None
        for route in self.routes:
            if route.leads_to(sink):
                earlier = route
                break
        if earlier and (earlier.is_up or earlier.address == sink):
            return earlier
        return self._replace(earlier, sink)

    def _replace(self, earlier: Route | None, sink: Address) -> Route:
        if earlier:
            self.routes.remove(earlier)
        route = Route(self._peer, sink, self._most_bytes, self._congested, earlier)
        if earlier:
            earlier.close()
        self.routes.append(route)
        self._share()
        return route

    def _share(self) -> None:
        """Bound what all sinks together have not acknowledged."""
        for route in self.routes:
            route.limit(self._most_bytes // len(self.routes))

    def _congested(self, route: Route, congested: bool) -> None:
        for ventilator in sorted(route.ventilators):
            self._on_congestion(ventilator, congested)
