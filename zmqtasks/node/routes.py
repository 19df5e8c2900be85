"""A node's way to one sink: outcomes are batched, sent, and kept until the sink has acknowledged them.

Owns what the sink has not acknowledged; a session that breaks loses nothing. Never opens a body. Called by `ways.py`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator

from zmqtasks.machines.ranges import RangeSet
from zmqtasks.machines.session import Closed
from zmqtasks.messages import (
    NO_SESSION,
    OUTCOME_BYTES,
    Address,
    Held,
    JobId,
    Outcome,
    Output,
    PeerId,
    Phase,
    Results,
    Role,
    Status,
    ventilator_of,
)
from zmqtasks.options import MIB
from zmqtasks.peer import Link, Peer

logger = logging.getLogger(__name__)

MESSAGE_BYTES = MIB
"""Outcomes that are ready at once travel together, up to about this."""
MESSAGE_OUTCOMES = 10_000


class Route:
    """Send outcomes to one sink.

    Args:
        peer: this node.
        address: the sink's.
        most_bytes: beyond this much unacknowledged, the route is congested.
        on_congestion: told when that changes.
        earlier: a closed route to the same sink; what it could not bring is brought here.
    """

    def __init__(
        self,
        peer: Peer,
        address: Address,
        most_bytes: int,
        on_congestion: Callable[[Route, bool], None],
        earlier: Route | None = None,
    ) -> None:
        self.address = address
        self.ventilators: set[PeerId] = set(earlier.ventilators) if earlier else set()
        """Whose tasks' outcomes go this way."""
        self._most_bytes = most_bytes
        self._on_congestion = on_congestion
        self._congested: bool = earlier is not None and earlier._congested
        self._waiting: deque[Outcome] = deque(earlier.unsent() if earlier else ())
        self._waiting_bytes = sum(_weight(outcome) for outcome in self._waiting)
        self._closed = False
        self._window_bytes = most_bytes
        self._link = peer.open(address, Role.NODE, self)

    @property
    def is_up(self) -> bool:
        """Tell whether the sink answers."""
        return self._link.is_up

    def limit(self, most_bytes: int) -> None:
        """Change how much may be unacknowledged: other sinks have their part."""
        self._most_bytes = most_bytes
        self._judge_congestion()

    def leads_to(self, sink: Address) -> bool:
        """Tell whether this is the way to a sink; one that was started again has another id at the same endpoint.

        Two sessions of one node with one sink would replace each other without end.
        """
        return sink.peer == self.address.peer or not set(sink.endpoints).isdisjoint(self.address.endpoints)

    def join(self, ventilator: PeerId) -> None:
        """Outcomes of this ventilator's tasks go this way, too."""
        if ventilator not in self.ventilators:
            self.ventilators.add(ventilator)
            if self._congested:
                self._on_congestion(self, True)

    def leave(self, ventilator: PeerId) -> None:
        """Nobody wants what this ventilator's tasks gave: forget what was not sent yet."""
        self.ventilators.discard(ventilator)
        wanted = [outcome for outcome in self._waiting if ventilator_of(outcome.job) != ventilator]
        self._waiting = deque(wanted)
        self._waiting_bytes = sum(_weight(outcome) for outcome in wanted)
        self._judge_congestion()

    def add(self, outcome: Outcome) -> None:
        """Take an outcome, which goes at the next `flush`."""
        self._waiting.append(outcome)
        self._waiting_bytes += _weight(outcome)

    def unsent(self) -> tuple[Outcome, ...]:
        """Return what the sink has not acknowledged."""
        sent = (m for m in self._link.unacked() if isinstance(m, Results))
        return (*(outcome for message in sent for outcome in message.outcomes), *self._waiting)

    def finished(self, ventilator: PeerId) -> Iterator[Held]:
        """Return the inventory of what ended for a ventilator and is not acknowledged: a range, however it was told."""
        ranges: dict[tuple[JobId, int], RangeSet] = {}
        for o in self.unsent():
            if ventilator_of(o.job) == ventilator:
                ranges.setdefault((o.job, o.attempt), RangeSet()).add(o.start, o.stop)
        for (job, attempt), ended in ranges.items():
            yield from (Held(job, start, stop, attempt, Phase.FINISHED) for start, stop in ended)

    def is_empty(self) -> bool:
        """Tell whether the sink has acknowledged everything."""
        return not self._waiting and not self._link.unacked_bytes and not self._link.unacked()

    def close(self) -> None:
        """End the session; idempotent."""
        self._closed = True
        self._link.close()

    def flush(self) -> None:
        """Send what the sink has room for."""
        while self._waiting and not self._closed and self._link.is_up and self._link.unacked_bytes < self._window_bytes:
            self._link.send(Results(NO_SESSION, 0, self._next_batch()))
        self._judge_congestion()

    def _next_batch(self) -> tuple[Outcome, ...]:
        batch: list[Outcome] = []
        nbytes = 0
        while self._waiting and nbytes < MESSAGE_BYTES and len(batch) < MESSAGE_OUTCOMES:
            outcome = self._waiting.popleft()
            self._waiting_bytes -= _weight(outcome)
            nbytes += len(outcome.body)
            batch.append(outcome)
        return tuple(batch)

    def _judge_congestion(self) -> None:
        congested = self._waiting_bytes + self._link.unacked_bytes > self._most_bytes
        if congested is not self._congested and not self._closed:
            self._congested = congested
            self._on_congestion(self, congested)

    # The session

    def link_opened(self, link: Link, status: Status) -> None:
        """The sink answered: send what waits."""
        self._window_bytes = status.window.bytes or self._most_bytes
        self.flush()

    def link_heard(self, link: Link, status: Status) -> None:
        """The sink acknowledged something, or told another window."""
        self._window_bytes = status.window.bytes or self._most_bytes
        if self._waiting or self._congested:
            self.flush()

    def link_printed(self, link: Link, output: Output) -> None:
        """Nothing to do: a sink prints nothing."""

    def link_suspected(self, link: Link) -> None:
        """Nothing to do: what is sent waits in the session."""

    def link_closed(self, link: Link, closed: Closed) -> None:
        """What the sink did not acknowledge is sent again in the next session."""
        for message in reversed(closed.unacked):
            if isinstance(message, Results):
                self._waiting.extendleft(reversed(message.outcomes))
                self._waiting_bytes += sum(_weight(outcome) for outcome in message.outcomes)

    def link_refused(self, link: Link, reason: str) -> None:
        """The sink will not have us: results wait until the ventilator's lease ends."""
        logger.error("sink %s refused our results: %s", self.address.endpoints, reason)


def _weight(outcome: Outcome) -> int:
    return OUTCOME_BYTES + len(outcome.body)
