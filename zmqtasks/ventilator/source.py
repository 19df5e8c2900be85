"""The arguments of one job: given by the caller, encoded when they are sent, kept encoded until they have ended.

Owns them and nothing else. An argument is encoded once; what is sent again is a part of the same body. Called by
`ventilator.py`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from zmqtasks.machines.accounts import CHUNK_BYTES
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import NO_STAMP, Body, ObjectId, Stamp
from zmqtasks.options import TaskOptions
from zmqtasks.ventilator.repeats import LEAST_BYTES, Repeats
from zmqtasks.wire import payload

Needs = tuple[payload.Reference, ...]
"""What the arguments of a body refer to."""


class Part(NamedTuple):
    """Tasks [start, stop), whose arguments stand in `body` from task `origin` on."""

    start: int
    stop: int
    origin: int
    body: Body
    needs: Needs = ()
    stamp: Stamp = NO_STAMP


class _Segment(NamedTuple):
    first: int
    stop: int
    items: Sequence[Any]
    form: payload.Form
    stamp: Stamp


class _Kept(NamedTuple):
    """An encoded body of tasks up to `stop`, of which `left` have not ended."""

    stop: int
    body: Body
    left: int
    needs: Needs
    stamp: Stamp


class _How(NamedTuple):
    """How arguments are encoded: for whom, to where, and what they refer to."""

    leaves_host: bool
    pool: payload.Pool | None
    found: Mapping[ObjectId, payload.Reference]


class Source:
    """Encode the arguments of a job, range by range.

    Args:
        options: `serializer` and `compression` are used.
        most_bytes: the largest body.
        name: of the function, for people.
    """

    def __init__(self, options: TaskOptions, most_bytes: int, name: str = "a function") -> None:
        self.kept_bytes = 0
        """Bytes of the bodies that are kept."""
        self._repeats = Repeats(name)
        self._options = options
        self._most_bytes = most_bytes
        self._segments: deque[_Segment] = deque()
        self._added = 0
        self._open = RangeSet()
        """Tasks that have not ended."""
        self._unencoded = RangeSet()
        self._starts: list[int] = []
        self._bodies: list[_Kept] = []
        """In the order of `_starts`."""

    def add(self, items: Sequence[Any], form: payload.Form, stamp: Stamp = NO_STAMP) -> None:
        """Add the arguments of the next tasks; `items` is owned from now on."""
        first, self._added = self._added, self._added + len(items)
        self._segments.append(_Segment(first, self._added, items, form, stamp))
        self._open.add(first, self._added)
        self._unencoded.add(first, self._added)

    def adopt(self, body: Body, count: int, stamp: Stamp = NO_STAMP) -> None:
        """Add the arguments of the next tasks, which somebody else has encoded."""
        first, self._added = self._added, self._added + count
        self._open.add(first, self._added)
        self._keep(first, _Kept(self._added, body, count, (), stamp))

    def encode(
        self,
        start: int,
        stop: int,
        *,
        leaves_host: bool = False,
        pool: payload.Pool | None = None,
        known: Container[ObjectId] = (),
    ) -> tuple[list[Part], list[tuple[int, Exception]]]:
        """Return [start, stop) as parts of bodies, and the tasks that cannot be encoded with the reason.

        Tasks may be asked for in any order; nearly ascending costs least. `leaves_host` says whether they go to
        another host, where `compression="auto"` compresses; `pool` is where large bodies are put for a node that reads
        them there; `known` are the objects that arguments may refer to.
        """
        if stop == start + 1 and (alone := self._encode_alone(start, stop)):
            return [alone], []
        failures = []
        for first, last in self._unencoded.common(start, stop):
            with payload.noted(known) as found:
                failures += self._encode(first, last, _How(leaves_host, pool, found))
        self._drop_encoded_segments()
        return self._encoded_parts(start, stop), failures

    def _encode_alone(self, start: int, stop: int) -> Part | None:
        """Encode one task that was added by itself, and is small; None of any other."""
        if not self._segments or self._segments[0][:2] != (start, stop):
            return None
        segment = self._segments[0]
        items = segment.items
        body = payload.pack_small(items, segment.form, self._options.serializer) if type(items) is list else None
        if body is None:
            return None
        self._segments.popleft()
        self._unencoded.remove(start, stop)
        self._keep(start, _Kept(stop, body, 1, (), segment.stamp))
        return Part(start, stop, start, body, (), segment.stamp)

    def _encode(self, start: int, stop: int, how: _How) -> list[tuple[int, Exception]]:
        self._unencoded.remove(start, stop)
        failures: list[tuple[int, Exception]] = []
        for segment in self._segments:
            if segment.first >= stop:
                break
            first = max(start, segment.first)
            for run in self._pack(segment, first, min(stop, segment.stop), how):
                if run.body is not None:
                    if len(run.body) >= LEAST_BYTES and run.stop - run.start == 1:
                        self._repeats.look(segment.items[first + run.start - segment.first], segment.form)
                    count = run.stop - run.start
                    kept = _Kept(first + run.stop, run.body, count, tuple(how.found.values()), segment.stamp)
                    self._keep(first + run.start, kept)
                else:
                    assert run.error is not None
                    failures.append((first + run.start, run.error))
        return failures

    def _pack(self, segment: _Segment, start: int, stop: int, how: _How) -> list[payload.Run]:
        if start >= stop:
            return []
        return payload.pack(
            segment.items[start - segment.first : stop - segment.first],
            form=segment.form,
            serializer=self._options.serializer,
            compression=payload.choose(self._options.compression, CHUNK_BYTES, leaves_host=how.leaves_host),
            most_bytes=self._most_bytes,
            cut_bytes=CHUNK_BYTES,
            pool=how.pool,
        )

    def unencoded(self, start: int, stop: int) -> Iterator[tuple[int, payload.Form, Any]]:
        """Go through tasks that were never encoded: number, form and argument of each."""
        for first, last in self._unencoded.common(start, stop):
            for segment in self._segments:
                for index in range(max(first, segment.first), min(last, segment.stop)):
                    yield index, segment.form, segment.items[index - segment.first]

    def _drop_encoded_segments(self) -> None:
        while self._segments and not self._unencoded.common(self._segments[0].first, self._segments[0].stop):
            self._segments.popleft()

    def _keep(self, start: int, kept: _Kept) -> None:
        position = bisect_right(self._starts, start)
        self.kept_bytes += len(kept.body)
        self._starts.insert(position, start)
        self._bodies.insert(position, kept)

    def _encoded_parts(self, start: int, stop: int) -> list[Part]:
        parts = []
        position = max(0, bisect_right(self._starts, start) - 1)
        while position < len(self._starts) and self._starts[position] < stop:
            origin, (end, body, _, needs, stamp) = self._starts[position], self._bodies[position]
            if max(start, origin) < min(stop, end):
                parts.append(Part(max(start, origin), min(stop, end), origin, body, needs, stamp))
            position += 1
        return parts

    def release(self, start: int, stop: int) -> None:
        """Let go of the arguments of tasks that have ended; those that had before are no matter."""
        for first, last in self._open.common(start, stop):
            self._release(first, last)
        self._open.remove(start, stop)
        self._unencoded.remove(start, stop)
        self._drop_encoded_segments()

    def _release(self, start: int, stop: int) -> None:
        position = max(0, bisect_right(self._starts, start) - 1)
        while position < len(self._starts) and self._starts[position] < stop:
            origin, kept = self._starts[position], self._bodies[position]
            left = kept.left - max(0, min(stop, kept.stop) - max(start, origin))
            if left <= 0:
                self.kept_bytes -= len(kept.body)
                del self._starts[position], self._bodies[position]
            else:
                self._bodies[position] = kept._replace(left=left)
                position += 1
