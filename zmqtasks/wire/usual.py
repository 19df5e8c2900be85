"""The usual bulk messages in one look: TASKS of one chunk and nothing else, RESULTS of one outcome.

What waits for nobody travels alone, and each round trip has four such frames. Here they are judged by one call, whose
checks are compiled, where `bulk.py` looks at each field. Owns no format and no wording: what is not exactly as
expected, be it unusual or unsound, is left to `bulk.py`, and tests compare the two. Called by `codec`.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, MsgspecError, Struct
from msgspec.msgpack import Decoder

from zmqtasks.messages import NO_STAMP, Buffer, Chunk, Message, Outcome, OutcomeKind, Results, SessionId, Stamp, Tasks
from zmqtasks.wire.fields import MOST_INTEGER, MOST_NAME_CHARS
from zmqtasks.wire.headers import pack_map

_Number = Annotated[int, Meta(ge=0, le=MOST_INTEGER)]
_Label = Annotated[str, Meta(min_length=1, max_length=MOST_NAME_CHARS)]
_Nothing = tuple[()]
"""Tuples, never lists: how many entries there are is looked at before there is memory for them."""
_INFINITY = float("inf")
_KINDS = {kind.value: kind for kind in OutcomeKind}
_TASKS = b"\x86\xa1t\xa5tasks"
"""A map of six pairs begins so; as six keys have to be in it, none can be there twice."""
_RESULTS = b"\x84\xa1t\xa7results"


class _ChunkRow(Struct, array_like=True, forbid_unknown_fields=True):
    job: _Label
    attempt: _Number
    start: _Number
    stop: _Number
    origin: _Number
    size: _Number
    needs: _Nothing = ()
    submitted_at: int | float = 0.0


class _TasksHeader(Struct, forbid_unknown_fields=True):
    t: str
    s: tuple[_Number, _Number]
    n: _Number
    j: _Nothing
    c: tuple[_ChunkRow]
    e: _Nothing


class _OutcomeRow(Struct, array_like=True, forbid_unknown_fields=True):
    job: _Label
    attempt: _Number
    node: _Label
    start: _Number
    stop: _Number
    kind: int
    elapsed_s: int | float
    size: _Number
    delay_s: int | float


class _ResultsHeader(Struct, forbid_unknown_fields=True):
    t: str
    s: tuple[_Number, _Number]
    n: _Number
    o: tuple[_OutcomeRow]


_read_tasks = Decoder(_TasksHeader).decode
_read_results = Decoder(_ResultsHeader).decode


def encoded(message: Message) -> tuple[bytes, Buffer] | None:
    """Return header and body of a usual message, as `bulk.py` makes them; None of any other."""
    try:
        if type(message) is Tasks:
            if len(message.chunks) == 1 and not (message.jobs or message.ended or message.objects or message.dropped):
                return _encoded_tasks(message)
        elif type(message) is Results and len(message.outcomes) == 1:
            return _encoded_results(message)
    except (TypeError, ValueError, OverflowError):
        return None
    return None


def _encoded_tasks(message: Tasks) -> tuple[bytes, Buffer] | None:
    c = message.chunks[0]
    body, (submitted_at, trace_id) = c.body, c.stamp
    if c.needs or c.runs or trace_id or not isinstance(body, bytes | memoryview):
        return None
    row: tuple[object, ...] = (c.job, c.attempt, c.start, c.stop, c.origin, len(body))
    if submitted_at:
        row = (*row, (), submitted_at)
    return pack_map({"t": "tasks", "s": message.session, "n": message.seq, "j": (), "c": (row,), "e": ()}), body


def _encoded_results(message: Results) -> tuple[bytes, Buffer] | None:
    o = message.outcomes[0]
    body = o.body
    if not isinstance(body, bytes | memoryview):
        return None
    row = (o.job, o.attempt, o.node, o.start, o.stop, o.kind, o.elapsed_s, len(body), o.delay_s)
    return pack_map({"t": "results", "s": message.session, "n": message.seq, "o": (row,)}), body


def decoded(header: memoryview, body: memoryview) -> Tasks | Results | None:
    """Return the message of a header and what follows it, if it is a usual one, and sound."""
    try:
        if header[: len(_TASKS)] == _TASKS:
            return _tasks(_read_tasks(header), body)
        if header[: len(_RESULTS)] == _RESULTS:
            return _results(_read_results(header), body)
    except MsgspecError:
        return None
    return None


def _tasks(header: _TasksHeader, body: memoryview) -> Tasks | None:
    row = header.c[0]
    timely = 0 <= row.submitted_at < _INFINITY
    if not (row.origin <= row.start < row.stop and row.size == len(body) and timely):
        return None
    stamp = Stamp(row.submitted_at) if row.submitted_at else NO_STAMP
    chunk = Chunk(row.job, row.attempt, row.start, row.stop, row.origin, body, (), 0, stamp)
    return Tasks(SessionId(*header.s), header.n, (), (chunk,))


def _results(header: _ResultsHeader, body: memoryview) -> Results | None:
    row = header.o[0]
    kind = _KINDS.get(row.kind)
    timely = 0 <= row.elapsed_s < _INFINITY and 0 <= row.delay_s < _INFINITY
    if kind is None or not timely or row.start >= row.stop or row.size != len(body):
        return None
    outcome = Outcome(row.job, row.attempt, row.node, row.start, row.stop, kind, row.elapsed_s, body, row.delay_s)
    return Results(SessionId(*header.s), header.n, (outcome,))
