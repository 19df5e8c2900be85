"""The arguments of one job: given by the caller, encoded when they are sent, kept encoded until they have ended.

Owns them and nothing else. An argument is encoded once; what is sent again is a part of the same body. Called by
`ventilator.py`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from zmqtasks.machines.dispatch import CHUNK_BYTES
from zmqtasks.options import TaskOptions
from zmqtasks.wire import payload


class Part(NamedTuple):
    """Tasks [start, stop), whose arguments stand in `body` from task `origin` on."""

    start: int
    stop: int
    origin: int
    body: bytes


class _Segment(NamedTuple):
    first: int
    stop: int
    items: Sequence[Any]
    form: payload.Form


class Source:
    """Encode the arguments of a job, range by range.

    Args:
        options: `serializer` and `compression` are used.
        most_bytes: the largest body.
    """

    def __init__(self, options: TaskOptions, most_bytes: int) -> None:
        self.kept_bytes = 0
        """Bytes of the bodies that are kept."""
        self._options = options
        self._most_bytes = most_bytes
        self._segments: deque[_Segment] = deque()
        self._added = 0
        self._encoded = 0
        self._starts: list[int] = []
        self._bodies: list[tuple[int, bytes, int]] = []
        """(stop, body, tasks that have not ended), in the order of `_starts`."""

    def add(self, items: Sequence[Any], form: payload.Form) -> None:
        """Add the arguments of the next tasks; `items` is owned from now on."""
        first, self._added = self._added, self._added + len(items)
        self._segments.append(_Segment(first, self._added, items, form))

    def encode(
        self, start: int, stop: int, *, leaves_host: bool = False
    ) -> tuple[list[Part], list[tuple[int, Exception]]]:
        """Return [start, stop) as parts of bodies, and the tasks that cannot be encoded with the reason.

        Tasks that were not encoded before have to be asked for in their order. `leaves_host` says whether they go to
        another host, where `compression="auto"` compresses.
        """
        parts, failures = [], []
        if start < self._encoded:
            parts = self._encoded_parts(start, min(stop, self._encoded))
        while self._encoded < stop:
            for run_start, run in self._encode_next(max(start, self._encoded), stop, leaves_host):
                if run.body is None:
                    assert run.error is not None
                    failures.append((run_start, run.error))
                else:
                    part = Part(run_start, run_start + run.stop - run.start, run_start, run.body)
                    self._keep(part)
                    parts.append(part)
        return parts, failures

    def _encode_next(self, start: int, stop: int, leaves_host: bool) -> list[tuple[int, payload.Run]]:
        """Encode what [start, stop) has in the first segment; skipped tasks before it are let go."""
        segment = self._segments[0]
        while segment.stop <= start:
            self._segments.popleft()
            segment = self._segments[0]
        stop = min(stop, segment.stop)
        items = segment.items[start - segment.first : stop - segment.first]
        if stop == segment.stop:
            self._segments.popleft()
        self._encoded = stop
        compression = payload.choose(self._options.compression, CHUNK_BYTES, leaves_host=leaves_host)
        runs = payload.pack(
            items,
            form=segment.form,
            serializer=self._options.serializer,
            compression=compression,
            most_bytes=self._most_bytes,
            cut_bytes=CHUNK_BYTES,
        )
        return [(start + run.start, run) for run in runs]

    def _keep(self, part: Part) -> None:
        self.kept_bytes += len(part.body)
        self._starts.append(part.start)
        self._bodies.append((part.stop, part.body, part.stop - part.start))

    def _encoded_parts(self, start: int, stop: int) -> list[Part]:
        parts = []
        position = max(0, bisect_right(self._starts, start) - 1)
        while position < len(self._starts) and self._starts[position] < stop:
            origin, (end, body, _) = self._starts[position], self._bodies[position]
            if max(start, origin) < min(stop, end):
                parts.append(Part(max(start, origin), min(stop, end), origin, body))
            position += 1
        return parts

    def release(self, start: int, stop: int) -> None:
        """Let go of the arguments of tasks that have ended; each task is released once."""
        position = max(0, bisect_right(self._starts, start) - 1)
        while position < len(self._starts) and self._starts[position] < stop:
            origin, (end, body, left) = self._starts[position], self._bodies[position]
            left -= max(0, min(stop, end) - max(start, origin))
            if left <= 0:
                self.kept_bytes -= len(body)
                del self._starts[position], self._bodies[position]
            else:
                self._bodies[position] = (end, body, left)
                position += 1
