"""A ventilator's session with a standalone sink: what it tells the sink, what it asks, and what it hears.

Owns the outcomes that the sink has to record and was not told yet: what this side decided, and what is missing on a
node. Decides nothing about tasks. Runs in the loop's thread. Called by `ventilator.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from zmqtasks.machines.absence import Missing
from zmqtasks.machines.session import Closed
from zmqtasks.messages import (
    NO_SESSION,
    Address,
    Bulk,
    JobId,
    Outcome,
    OutcomeKind,
    Output,
    Query,
    Request,
    Results,
    Role,
    Settled,
    Status,
    Stored,
    Window,
)
from zmqtasks.options import MIB
from zmqtasks.peer import Guest, Link, Peer, Report

logger = logging.getLogger(__name__)

OUTCOMES_AT_ONCE = 1_000
"""That one message tells a sink; what waited for a sink may be more than a message holds."""


class SinkSession:
    """Speak with a standalone sink, over its sessions and the way it opens back.

    Args:
        peer: owned by the caller.
        sink: its address.
        jobs: returns the jobs that have not ended.
        settle: told of what the sink has stored, and of its answers.
        on_change: called when the sink answers or refuses.
    """

    def __init__(
        self,
        peer: Peer,
        sink: Address,
        *,
        jobs: Callable[[], Iterable[JobId]],
        settle: Callable[[Settled], None],
        on_change: Callable[[], None],
    ) -> None:
        self.address = sink
        """As far as known: before it has answered, a sink may have no id."""
        self.refusal = ""
        """Why it will not take results."""
        self._peer = peer
        self._jobs = jobs
        self._settle = settle
        self._on_change = on_change
        self._reason = ""
        self._unsent: list[Outcome] = []
        peer.host(Role.SINK, self)
        self._link = peer.open(sink, Role.VENTILATOR, self)

    def is_up(self) -> bool:
        """Tell whether results have somewhere to go."""
        return self._link.is_up

    def flushed(self) -> bool:
        """Tell whether the sink has acknowledged all that this side decided."""
        return not self._unsent and not self._link.unacked()

    def close(self) -> None:
        """End the session."""
        self._link.close()

    def tell(self, outcomes: Iterable[Outcome]) -> None:
        """Let the sink record outcomes; where it is not there, when it is."""
        self._unsent += outcomes
        self._send()

    def ask(self, jobs: Sequence[JobId]) -> None:
        """Ask what the sink has of these jobs."""
        self._link.request(lambda number: Query(number, tuple(jobs)))

    def ask_of_all(self) -> None:
        """Ask what the sink has of the jobs that have not ended when it is asked."""
        self._link.request(lambda number: Query(number, tuple(self._jobs())))

    def inquire(self, missing: Sequence[Missing]) -> None:
        """Ask about tasks that a node has no more, unless the sink has not answered what it was asked before."""
        if not self.is_up() or not self.flushed():
            return
        logger.info("%d ranges are missing on their node; asking the sink", len(missing))
        own, kind = self._peer.id, OutcomeKind.RETURNED
        self.tell([Outcome(job, attempt, own, start, stop, kind, 0.0) for job, attempt, start, stop in missing])

    def _send(self) -> None:
        if self._link.is_up and self._unsent:
            outcomes, self._unsent = self._unsent, []
            for first in range(0, len(outcomes), OUTCOMES_AT_ONCE):
                self._link.send(Results(NO_SESSION, 0, tuple(outcomes[first : first + OUTCOMES_AT_ONCE])))

    # The session

    def link_opened(self, link: Link, status: Status) -> None:
        """The sink answered: give it what waited, and ask what it already has."""
        if status.load.workers:
            link.close()
            self.link_refused(link, "it is a node, not a sink")
            return
        self.address = status.address
        self._send()
        self.ask_of_all()
        self._on_change()

    def link_heard(self, link: Link, status: Status) -> None:
        """Pass on to people that nothing can be stored, once; a sink's window concerns nodes."""
        if status.reason != self._reason:
            self._reason = status.reason
            logger.warning("the sink says: %s", status.reason or "results can be stored again")

    def link_printed(self, link: Link, output: Output) -> None:
        """Nothing to do: a sink prints nothing."""

    def link_suspected(self, link: Link) -> None:
        """The sink is silent: nodes keep what they have for it."""
        logger.warning("the sink is silent; results wait on the nodes")

    def link_closed(self, link: Link, closed: Closed) -> None:
        """The session is over: what was not acknowledged is sent again in the next."""
        again = [o for message in closed.unacked if isinstance(message, Results) for o in message.outcomes]
        self._unsent[:0] = again

    def link_refused(self, link: Link, reason: str) -> None:
        """There is no sink where results should go."""
        logger.error("%s cannot take our results: %s", link.address.endpoints[0], reason)
        self.refusal = reason
        self._on_change()

    # The way back

    def guest_joined(self, guest: Guest, *, again: bool) -> None:
        """The sink opened its way back."""

    def guest_delivered(self, guest: Guest, message: Bulk | Request) -> None:
        """The sink tells what it has stored."""
        if isinstance(message, Stored):
            for settled in message.settled:
                self._settle(settled)
            guest.processed(message.seq)

    def guest_left(self, guest: Guest, closed: Closed) -> None:
        """The sink's way back is gone; it opens another."""

    def report(self, guest: Guest, *, full: bool) -> Report:
        """Tell the sink that anything it has stored is welcome."""
        return Report(window=Window(1_000_000, 64 * MIB))
