"""Tasks that a fake worker runs before its next flush: how they fare, and what it tells of them.

Owns the outcomes, with real bodies: the function is called on real arguments. Called by `workers.py`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Any, NamedTuple

from zmqtasks.errors import RequeueRequested, RetryRequested
from zmqtasks.messages import Body, Chunk, Job, Outcome, OutcomeKind, PeerId
from zmqtasks.processes.progress import Progress, WorkPhase
from zmqtasks.records import Entity
from zmqtasks.wire import payload
from zmqtasks.wire.payload import Form


class Fate(NamedTuple):
    """What happens to a task that is begun: how long it takes, and how it ends if not with its function's value."""

    seconds: float = 0.001
    crashes: bool = False
    """Its worker dies in the middle of it."""
    error: BaseException | None = None
    """It raises this in place of calling its function: an exception, or a `RetryRequested` or `RequeueRequested`."""


class Stretch(Entity):
    """Tasks of a chunk that run before the next flush, and when each of them ends."""

    chunk: Chunk
    job: Job
    start: int
    begun_at: float
    fates: list[Fate]
    ends: list[float]

    @property
    def stop(self) -> int:
        """Return one past the last task."""
        return self.start + len(self.ends)

    def begun(self, now: float) -> int:
        """Return one past the last task that was begun by then."""
        return min(self.stop, self.start + bisect_right(self.ends, now) + 1)

    def progress(self, chunks: int, now: float, offset_s: float) -> Progress:
        """Return what the worker's slot says, in times of a clock that is `offset_s` ahead."""
        ended = bisect_right(self.ends, now)
        phase = WorkPhase.PACKING if ended == len(self.ends) else WorkPhase.RUNNING
        started_s = (self.ends[ended - 1] if ended else self.begun_at) + offset_s
        return Progress(chunks, self.chunk.attempt, self.start + ended, phase, round(started_s * 1e9))


def outcomes_of(stretch: Stretch, function: Callable[..., Any], node: PeerId) -> list[Outcome]:
    """Run the tasks of a stretch: one outcome for each run of values, and one for each task that raised."""
    chunk, serializer = stretch.chunk, stretch.job.options.serializer
    first, last = stretch.start - chunk.origin, stretch.stop - chunk.origin
    unpacked = payload.unpack(chunk.body, first=first, last=last, serializer=serializer)
    outcomes: list[Outcome] = []
    values: list[Any] = []

    def add(kind: OutcomeKind, place: int, stop: int, body: Body = b"", delay_s: float = 0.0) -> None:
        elapsed_s = sum(fate.seconds for fate in stretch.fates[place:stop])
        start = stretch.start + place
        last = start + stop - place
        outcomes.append(Outcome(chunk.job, chunk.attempt, node, start, last, kind, elapsed_s, body, delay_s))

    def add_values(stop: int) -> None:
        if values:
            (run,) = payload.pack(values, form=Form.ONE, serializer=serializer)
            assert run.body is not None, run.error
            add(OutcomeKind.OK, stop - len(values), stop, run.body)
            values.clear()

    for place, (item, fate) in enumerate(zip(unpacked.values, stretch.fates, strict=True)):
        try:
            values.append(_call(function, unpacked.form, item, fate))
        except RetryRequested as asked:
            add_values(place)
            add(OutcomeKind.RETRY, place, place + 1, delay_s=asked.delay_s)
        except RequeueRequested:
            add_values(place)
            add(OutcomeKind.RETURNED, place, place + 1)
        except Exception as error:
            add_values(place)
            add(OutcomeKind.ERROR, place, place + 1, payload.pack_failure(error, serializer=serializer))
    add_values(len(stretch.fates))
    return outcomes


def _call(function: Callable[..., Any], form: Form, item: Any, fate: Fate) -> Any:
    if fate.error is not None:
        raise fate.error.with_traceback(None)  # one error may serve many tasks, and would gather all their frames
    if form is Form.ONE:
        return function(item)
    return function(*item) if form is Form.MANY else function(*item[0], **item[1])
