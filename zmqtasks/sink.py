"""The shell of a sink: the collection machine on sessions from nodes, in front of a recorder.

Owns the order "record, then acknowledge": what a node has heard acknowledged is stored. Decides nothing about
outcomes (`machines/collection.py` does). Runs in the loop's thread. Called by `embedded` and by the commands.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from zmqtasks.machines.collection import Collection, JobForgotten, OutcomeReceived, Record, Tell
from zmqtasks.machines.dispatch_moves import END_OF_ANSWER, UNKNOWN_ATTEMPT
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.machines.recent import Recent
from zmqtasks.machines.session import Closed
from zmqtasks.messages import (
    NO_SESSION,
    Bulk,
    JobId,
    Load,
    OutcomeKind,
    Output,
    PeerId,
    Query,
    Request,
    Results,
    Role,
    Settled,
    Status,
    Stored,
    Window,
    ventilator_of,
)
from zmqtasks.options import KIB, MIB
from zmqtasks.peer import Guest, Link, Peer, Report

logger = logging.getLogger(__name__)

NO_TASK = 2**63
"""Above the index of any task."""
WINDOW_BYTES = 64 * MIB
"""Results a node may have on the way to a sink, unacknowledged: in our memory until they are stored."""
ALL_WINDOWS_BYTES = 256 * MIB
"""The same of all nodes together ..."""
LEAST_WINDOW_BYTES = 256 * KIB
"""... as long as there are no more than 1,000."""
JOBS_AT_HAND = 1_000
"""That a standalone sink keeps in memory when nothing of them is on its way; others are read from its store again."""
STORED_AT_ONCE = 10_000
"""Outcomes that one message tells; what a sink has to tell after a break may be more than a message holds."""

Read = Callable[[JobId], tuple[RangeSet, Mapping[int, tuple[int, OutcomeKind]]]]
"""Returns the tasks of a job that are stored as succeeded, and those that failed last, with attempt and kind."""


class Recorder(Protocol):
    """Where a sink puts what is new."""

    def record(self, records: Sequence[Record], on_stored: Callable[[], None]) -> None:
        """Store these; then call `on_stored`, in the loop's thread."""


class Sink:
    """Take outcomes from nodes, record what is new, acknowledge what is recorded.

    Args:
        peer: owned by the caller.
        recorder: where records go.
        tell: told of each outcome once it is recorded, or known to be; None for a standalone sink, which opens a
            session with each ventilator and tells it there.
        read: what is stored, so that not all jobs have to be in memory; None: they are.
        jobs_at_hand: that stay in memory when nothing of them is on its way.
    """

    def __init__(
        self,
        peer: Peer,
        recorder: Recorder,
        tell: Callable[[Settled], None] | None = None,
        *,
        read: Read | None = None,
        jobs_at_hand: int = JOBS_AT_HAND,
    ) -> None:
        self.guests: dict[PeerId, Guest] = {}
        self._nodes: set[PeerId] = set()
        """Those of the guests that send results."""
        self.done = self.failed = 0
        """Tasks recorded as succeeded, and failures recorded, since this was made."""
        self.trouble = ""
        """Why nothing can be stored, while that lasts; told to all partners."""
        self._peer = peer
        self._recorder = recorder
        self._collection = Collection()
        self._read = read
        self._recent = Recent(jobs_at_hand)
        self._at_hand: set[JobId] = set()
        """Jobs of which the collection has all that is stored."""
        self._tellers: dict[PeerId, _Teller] = {}
        self._standalone = tell is None
        self._tell = tell or self._tell_ventilator
        peer.host(Role.NODE, self)
        if self._standalone:
            peer.host(Role.VENTILATOR, self)
            peer.host(Role.OBSERVER, self)

    def resume(self, job: JobId, succeeded: RangeSet, failed: Mapping[int, tuple[int, OutcomeKind]]) -> None:
        """Start from what the recorder already has of a job; see `Collection.resume`."""
        self._collection.resume(job, succeeded, failed)

    def recall(self, job: JobId) -> None:
        """Read what is stored of a job, before anything of it comes."""
        self._take((job,))
        self._give_back((job,))

    def forget(self, job: JobId) -> None:
        """Let go of a job that has ended."""
        self._collection.handle(JobForgotten(job), self._peer.loop.time())

    # Sessions from nodes and ventilators

    def guest_joined(self, guest: Guest, *, again: bool) -> None:
        """A node will send results; a ventilator wants to be told of them."""
        self.guests[guest.id] = guest
        if guest.role is Role.NODE:
            self._nodes.add(guest.id)
        if guest.role is Role.VENTILATOR:
            self._keep_telling(guest)

    def _keep_telling(self, guest: Guest) -> None:
        """Tell a ventilator where it is now; what is on its way there stays on its way."""
        teller = self._tellers.get(guest.id)
        if teller and teller.address != guest.address:
            teller.close()
        if not teller or teller.address != guest.address:
            self._tellers[guest.id] = _Teller(self._peer, guest)

    def guest_delivered(self, guest: Guest, message: Bulk | Request) -> None:
        """Record what is new in these results; acknowledge them when that is stored."""
        if isinstance(message, Query):
            if not self._take(message.jobs):
                self._give_back(message.jobs)  # it asks again
                return
            # Through the recorder as well: what is told has to be stored. What comes meanwhile is told later.
            known = [settled for job in message.jobs for settled in self._known_of(job, 0, NO_TASK)]
            # Who resumes waits for the end of the answer.
            known += [Settled(j, END_OF_ANSWER, self._peer.id, 0, 1, OutcomeKind.RETURNED, 0.0) for j in message.jobs]
            self._recorder.record((), lambda: self._answer(guest, known, message.jobs))
        elif isinstance(message, Results):
            self._collect(guest, message)

    def _collect(self, guest: Guest, message: Results) -> None:
        now = self._peer.loop.time()
        records: list[Record] = []
        told: list[Settled] = []
        jobs = {outcome.job for outcome in message.outcomes}
        self._take(jobs)  # what cannot be read is recorded again, and refused by the store
        for outcome in message.outcomes:
            if outcome.kind is OutcomeKind.RETURNED and guest.role is Role.VENTILATOR:
                # It misses them. What an earlier sink stored comes first: then only what is lost is handed back.
                told += self._known_of(outcome.job, outcome.start, outcome.stop)
            for command in self._collection.handle(OutcomeReceived(outcome), now):
                if isinstance(command, Record):
                    records.append(command)
                elif isinstance(command, Tell):
                    told.append(command.settled)

        def stored() -> None:
            self.trouble = ""
            self._count(records)
            guest.processed(message.seq)
            for settled in told:
                self._tell(settled)
            self._give_back(jobs)

        # Repetitions pass through the recorder too: what they repeat may still be on its way to the disk.
        self._recorder.record(records, stored)

    def _count(self, records: Iterable[Record]) -> None:
        for record in records:
            if record.outcome.kind is OutcomeKind.OK:
                self.done += record.stop - record.start
            else:
                self.failed += record.stop - record.start

    def _take(self, jobs: Iterable[JobId]) -> bool:
        """Have at hand what is stored of these jobs, until they are given back; tell whether it can be read."""
        if self._read is None:
            return True
        for job in jobs:
            self._recent.take(job)
            if job not in self._at_hand:
                try:
                    self._collection.resume(job, *self._read(job))
                except (OSError, ValueError) as error:
                    logger.warning("what is stored of job %s cannot be read: %s", job, error)
                else:
                    self._at_hand.add(job)
        return self._at_hand.issuperset(jobs)

    def _give_back(self, jobs: Iterable[JobId]) -> None:
        """Say that all that was taken of these jobs is stored; let go of those that were not used for long."""
        if self._read is None:
            return
        for job in jobs:
            for old in self._recent.give_back(job):
                self._collection.let_go(old)
                self._at_hand.discard(old)

    def guest_left(self, guest: Guest, closed: Closed) -> None:
        """A peer is gone; what it sent is kept."""
        if self.guests.get(guest.id) is guest:
            del self.guests[guest.id]
            self._nodes.discard(guest.id)
        if guest.role is Role.VENTILATOR and (teller := self._tellers.pop(guest.id, None)):
            teller.close()

    def report(self, guest: Guest, *, full: bool) -> Report:
        """Tell how much may be under way unacknowledged, and what is recorded."""
        part = max(min(WINDOW_BYTES, ALL_WINDOWS_BYTES // max(len(self._nodes), 1)), LEAST_WINDOW_BYTES)
        return Report(
            window=Window(1_000_000, part), load=Load(done=self.done, failed=self.failed), reason=self.trouble
        )

    # Telling ventilators

    def _tell_ventilator(self, settled: Settled) -> None:
        if teller := self._tellers.get(ventilator_of(settled.job)):
            teller.tell(settled)

    def _known_of(self, job: JobId, start: int, stop: int) -> list[Settled]:
        """Return all that is recorded of these tasks, or about to be."""
        known = [
            Settled(job, UNKNOWN_ATTEMPT, self._peer.id, a, b, OutcomeKind.OK, 0.0)
            for a, b in self._collection.succeeded(job).common(start, stop)
        ]
        for index, (attempt, kind) in self._collection.failed(job).items():
            if start <= index < stop:
                known.append(Settled(job, attempt, self._peer.id, index, index + 1, kind, 0.0))
        return known

    def _answer(self, guest: Guest, known: list[Settled], jobs: Iterable[JobId]) -> None:
        self._give_back(jobs)
        if teller := self._tellers.get(guest.id):
            for settled in known:
                teller.tell(settled)

    def close(self) -> None:
        """End the sessions with ventilators."""
        for teller in self._tellers.values():
            teller.close()
        self._tellers.clear()


class _Teller:
    """A standalone sink's session with one ventilator: what is stored, in order, reliably."""

    def __init__(self, peer: Peer, guest: Guest) -> None:
        self._loop = peer.loop
        self._waiting: deque[Settled] = deque()
        self._scheduled = False
        self.address = guest.address
        self._link = peer.open(guest.address, Role.SINK, self)

    def tell(self, settled: Settled) -> None:
        self._waiting.append(settled)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        while self._waiting and self._link.is_up:
            number = min(len(self._waiting), STORED_AT_ONCE)
            self._link.send(Stored(NO_SESSION, 0, tuple([self._waiting.popleft() for _ in range(number)])))

    def close(self) -> None:
        self._link.close()

    def link_opened(self, link: Link, status: Status) -> None:
        self._flush()

    def link_heard(self, link: Link, status: Status) -> None:
        """Nothing to do: a ventilator's window is never the narrow one."""

    def link_printed(self, link: Link, output: Output) -> None:
        """Nothing to do: a ventilator prints nothing."""

    def link_suspected(self, link: Link) -> None:
        """Nothing to do: what is told waits in the session."""

    def link_closed(self, link: Link, closed: Closed) -> None:
        unacked = [s for message in closed.unacked if isinstance(message, Stored) for s in message.settled]
        self._waiting.extendleft(reversed(unacked))

    def link_refused(self, link: Link, reason: str) -> None:
        logger.error("ventilator %s refused to be told: %s", link.partner, reason)
