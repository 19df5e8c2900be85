"""How tasks get to nodes: encoded when the machine has cut them, put into few messages, with the objects they need.

Owns the objects that arguments refer to, and the shared memory for nodes on this host. Decides nothing. Called by
`shell.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from zmqtasks.machines import dispatch_moves as moves
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import (
    NO_SESSION,
    Body,
    Chunk,
    JobId,
    ObjectId,
    PeerState,
    PutObject,
    Status,
    Tasks,
)
from zmqtasks.options import MIB
from zmqtasks.peer import Link
from zmqtasks.records import Entity, field
from zmqtasks.ventilator.jobs import OpenJob
from zmqtasks.ventilator.resuming import Resuming
from zmqtasks.ventilator.source import Part
from zmqtasks.wire import payload

MESSAGE_BYTES = 8 * MIB
"""Chunks for one node are put into one message up to about this."""


class NodeLink(Entity):
    """What this side knows of a node, in `Link.data`."""

    named: set[JobId] = field(default_factory=set)
    """Jobs that were named in this session."""
    ended: list[JobId] = field(default_factory=list)
    open: bool = False
    status: Status | None = None
    python: str = ""
    """Version of its Python, as it has told."""
    unwritten: int = 0
    """Groups of chunks that wait for the journal; nodes cannot have them yet."""
    objects: set[ObjectId] = field(default_factory=set)
    """That were sent in this session."""
    shown: tuple[PeerState, bool] = (PeerState.UP, True)
    """State, and whether it is heard, as `on_nodes` was told last."""


class Shipping:
    """Encode and send.

    Args:
        jobs: those that have not ended.
        resuming: the journal; None for none.
        is_aboard: whether an attempt has not ended.
        on_event: told of sizes, and of tasks that did not go.
        on_failure: told of a task whose arguments could not be encoded, and why.
    """

    def __init__(
        self,
        jobs: Mapping[JobId, OpenJob],
        resuming: Resuming | None,
        *,
        is_aboard: Callable[[int], bool],
        on_event: Callable[[moves.Event], None],
        on_failure: Callable[[moves.Cut, int, BaseException], None],
    ) -> None:
        self.objects: dict[ObjectId, Body] = {}
        """What arguments refer to, for the nodes that will need it."""
        self._jobs = jobs
        self._resuming = resuming
        self._is_aboard = is_aboard
        self._on_event = on_event
        self._on_failure = on_failure
        self._pool = payload.Pool()

    def close(self) -> None:
        """Let go of all objects and memory."""
        self._pool.close()
        self.objects.clear()

    def drop_object(self, object_id: ObjectId, links: Iterable[Link]) -> None:
        """Let go of an object that nobody refers to, here and on the nodes."""
        self.objects.pop(object_id, None)
        for link in links:
            if link.data and object_id in link.data.objects:
                link.data.objects.discard(object_id)
                if link.is_up:
                    link.send(Tasks(NO_SESSION, 0, dropped=(object_id,)))

    def send(self, link: Link, cuts: tuple[moves.Cut, ...]) -> None:
        """Encode what the machine cut, and send it in as few messages as is reasonable."""
        pool = self._pool if link.lends else None
        events: list[moves.Event] = []
        chunks: list[Chunk] = []
        for cut in cuts:
            job = self._jobs[cut.job]
            encoded, failures = job.source.encode(
                cut.start, cut.stop, leaves_host=link.leaves_host, pool=pool, known=self.objects
            )
            nbytes = sum([len(part.body) for part in encoded])
            unwanted = job.on_sent(cut.start, cut.stop, nbytes) or ()
            for part in _without(encoded, unwanted) if unwanted else encoded:
                chunks.append(_chunk(cut, part))
            events.append(moves.Encoded(cut.attempt, nbytes))
            for index in unwanted:
                job.source.release(index, index + 1)
                events.append(moves.EncodingFailed(cut.attempt, index, index + 1))
            for index, error in failures:
                events.append(moves.EncodingFailed(cut.attempt, index, index + 1))
                self._on_failure(cut, index, error)
        self._ship_when_written(link, chunks)
        for event in events:
            self._on_event(event)

    def _ship_when_written(self, link: Link, chunks: list[Chunk]) -> None:
        """Ship chunks; what may not run twice only after it is written that it is perhaps sent."""
        resuming, known = self._resuming, link.data
        once = [chunk for chunk in chunks if resuming.is_at_most_once(chunk.job)] if resuming else []
        if resuming and once:
            marks = [(chunk.job, chunk.stop) for chunk in once]
            known.unwritten += 1
            resuming.write_sent(marks, lambda: self._ship_if_wanted(link, known, once))
            chunks = [chunk for chunk in chunks if not resuming.is_at_most_once(chunk.job)]
        self._ship(link, chunks)

    def _ship_if_wanted(self, link: Link, known: NodeLink, chunks: list[Chunk]) -> None:
        """Ship chunks that waited for the journal, unless session or attempt ended meanwhile."""
        known.unwritten -= 1
        if link.data is known and known.open:
            self._ship(link, [chunk for chunk in chunks if self._is_aboard(chunk.attempt)])

    def _ship(self, link: Link, chunks: list[Chunk]) -> None:
        batch: list[Chunk] = []
        nbytes = 0
        for chunk in chunks:
            if batch and nbytes + len(chunk.body) > MESSAGE_BYTES:
                self._ship_batch(link, batch)
                batch, nbytes = [], 0
            batch.append(chunk)
            nbytes += len(chunk.body)
        if batch:
            self._ship_batch(link, batch)

    def _ship_batch(self, link: Link, chunks: list[Chunk]) -> None:
        known: NodeLink = link.data
        unnamed = dict.fromkeys([chunk.job for chunk in chunks if chunk.job not in known.named])
        known.named.update(unnamed)
        jobs = tuple([self._jobs[job_id].wire for job_id in unnamed])
        for object_id in dict.fromkeys([needed for chunk in chunks for needed in chunk.needs]):
            if object_id not in known.objects:
                known.objects.add(object_id)
                link.send(Tasks(NO_SESSION, 0, objects=(PutObject(object_id, self.objects[object_id]),)))
        ended, known.ended = tuple(known.ended), []
        link.send(Tasks(NO_SESSION, 0, jobs, tuple(chunks), ended))


def _chunk(cut: moves.Cut, part: Part) -> Chunk:
    start, stop, origin, body, needs, stamp = part
    ids = tuple(reference.id for reference in needs) if needs else ()
    return Chunk(cut.job, cut.attempt, start, stop, origin, body, ids, cut.runs, stamp)


def _without(parts: Sequence[Part], unwanted: Sequence[int]) -> list[Part]:
    """Return the parts without some of their tasks; the bodies stay as they are."""
    gone = RangeSet((index, index + 1) for index in unwanted)
    return [
        part._replace(start=start, stop=stop) for part in parts for start, stop in gone.missing(part.start, part.stop)
    ]
