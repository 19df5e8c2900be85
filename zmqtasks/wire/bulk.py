"""Bulk messages as headers with bodies and back: TASKS, RESULTS, STORED.

Owns their keys and the order of their bodies. Hot: one record a chunk or a run, never one a task. Called by `codec`
through its tables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zmqtasks.errors import RemoteProtocolError
from zmqtasks.messages import Chunk, Job, Outcome, OutcomeKind, PutObject, Results, Settled, Stamp, Stored, Tasks
from zmqtasks.options import TaskOptions
from zmqtasks.wire.fields import (
    MOST_INTEGER,
    MOST_NAME_CHARS,
    array,
    flag,
    integer,
    label,
    mapping,
    record,
    seconds,
    text,
)
from zmqtasks.wire.values import Bodies, Header, Parts, address, amounts, job_ids, member, session, span

_KINDS = {kind.value: kind for kind in OutcomeKind}

# --- options of a job: only what differs from the default travels


def _seconds_or_none(value: object, name: str) -> float | None:
    return None if value is None else seconds(value, name)


def _integer_or_none(value: object, name: str) -> int | None:
    return None if value is None else integer(value, name)


def _signed(value: object, name: str) -> int:
    return integer(value, name, -(2**63))


_OPTIONS: dict[str, Callable[[object, str], object]] = {
    "timeout": _seconds_or_none,
    "max_memory": _integer_or_none,
    "retries": integer,
    "backoff": seconds,
    "jitter": seconds,
    "retry_on": text,
    "priority": _signed,
    "retry": flag,
    "crash_limit": integer,
    "serializer": text,
    "compression": text,
    "grace": _seconds_or_none,
    "stall_timeout": _seconds_or_none,
    "output": flag,
    "needs": amounts,
}
_DEFAULT_OPTIONS = TaskOptions()


def _pack_options(options: TaskOptions) -> Header:
    if options == _DEFAULT_OPTIONS:
        return {}
    values = {name: getattr(options, name) for name in _OPTIONS}
    return {name: value for name, value in values.items() if value != getattr(_DEFAULT_OPTIONS, name)}


def _labels(value: object, name: str) -> tuple[tuple[str, str], ...]:
    pairs = [record(entry, name, 2) for entry in array(value, name)]
    return tuple([(text(key, name), text(label, name)) for key, label in pairs])


_SPAWNED: dict[str, Callable[[object, str], object]] = {
    **_OPTIONS,
    "delay": seconds,
    "expires": _seconds_or_none,
    "queue": text,
    "where": _labels,
}
"""Options of calls that tasks spawn: what a ventilator sees to itself travels as well, but for times by the clock."""


def parse_changes(value: object, name: str) -> dict[str, Any]:
    """Return the options of calls that a task spawns, each checked; keys that are not known are ignored."""
    return _checked(value, name, _SPAWNED)


def _checked(value: object, name: str, checks: dict[str, Callable[[object, str], object]]) -> dict[str, Any]:
    given = mapping(value, name)
    return {key: check(given[key], f"{name}.{key}") for key, check in checks.items() if key in given}


def _options(value: object) -> TaskOptions:
    try:
        return TaskOptions(**_checked(value, "job.options", _OPTIONS))
    except ValueError as error:
        raise RemoteProtocolError(f"job.options: {error}") from error


# --- bulk messages


def encode_tasks(message: Tasks) -> Parts:
    """Return the header and the bodies of a TASKS."""
    jobs, chunks = message.jobs, message.chunks
    header = {
        "t": "tasks",
        "s": message.session,
        "n": message.seq,
        "j": [(j.id, j.name, j.sink, _pack_options(j.options), len(j.function)) for j in jobs],
        "c": [_pack_chunk(chunk) for chunk in chunks],
        "e": list(message.ended),
    }
    if message.objects:
        header["b"] = [(o.id, len(o.body)) for o in message.objects]
    if message.dropped:
        header["d"] = list(message.dropped)
    return header, [*(j.function for j in jobs), *(c.body for c in chunks), *(o.body for o in message.objects)]


def _pack_chunk(chunk: Chunk) -> tuple[object, ...]:
    """Return the record of a chunk, without the entries at its end that are as usual."""
    c, (submitted_at, trace_id) = chunk, chunk.stamp
    if trace_id or c.runs:
        told: tuple[object, ...] = (c.needs, submitted_at, c.runs, trace_id)
    elif submitted_at:
        told = (c.needs, submitted_at)
    else:
        told = (c.needs,) if c.needs else ()
    return (c.job, c.attempt, c.start, c.stop, c.origin, len(c.body), *told)


def decode_tasks(header: Header, bodies: Bodies) -> Tasks:
    """Return the TASKS of a header."""
    return Tasks(
        session=session(header),
        seq=integer(header.get("n"), "n (seq)"),
        jobs=tuple([_job(entry, bodies) for entry in array(header.get("j"), "j (jobs)")]),
        chunks=tuple([_chunk(entry, bodies) for entry in array(header.get("c"), "c (chunks)")]),
        ended=job_ids(header.get("e"), "e (ended)"),
        objects=tuple([_object(entry, bodies) for entry in array(header["b"], "b (objects)")] if "b" in header else ()),
        dropped=job_ids(header["d"], "d (dropped)") if "d" in header else (),
    )


def _object(entry: object, bodies: Bodies) -> PutObject:
    object_id, size = record(entry, "object", 2)
    return PutObject(label(object_id, "object.id"), bodies.take(size, "object.body length"))


def _job(entry: object, bodies: Bodies) -> Job:
    job, name, sink, options, size = record(entry, "job", 5)
    return Job(
        label(job, "job.id"),
        text(name, "job.name"),
        address(sink),
        _options(options),
        bodies.take(size, "job.function length"),
    )


def _chunk(entry: object, bodies: Bodies) -> Chunk:
    job, attempt, start, stop, origin, size = record(entry, "chunk", 6)
    if not _is_sound(job, attempt, start, stop):
        label(job, "chunk.job")
        integer(attempt, "chunk.attempt")
        span(start, stop, "chunk")
    told = array(entry, "chunk")[6:10]
    return Chunk(
        job,
        attempt,
        start,
        stop,
        integer(origin, "chunk.origin", 0, start),
        bodies.take(size, "chunk.body length"),
        job_ids(told[0], "chunk.needs") if told else (),
        integer(told[2], "chunk.runs") if len(told) > 2 else 0,
        Stamp(
            seconds(told[1], "chunk.submitted_at") if len(told) > 1 else 0.0,
            text(told[3], "chunk.trace_id") if len(told) > 3 else "",
        ),
    )


def encode_results(message: Results) -> Parts:
    """Return the header and the bodies of a RESULTS."""
    outcomes = message.outcomes
    rows = [(o.job, o.attempt, o.node, o.start, o.stop, o.kind, o.elapsed_s, len(o.body), o.delay_s) for o in outcomes]
    return {"t": "results", "s": message.session, "n": message.seq, "o": rows}, [o.body for o in outcomes]


def decode_results(header: Header, bodies: Bodies) -> Results:
    """Return the RESULTS of a header."""
    outcomes = array(header.get("o"), "o (outcomes)")
    return Results(
        session(header),
        integer(header.get("n"), "n (seq)"),
        tuple([_outcome(entry, bodies) for entry in outcomes]),
    )


def _outcome(entry: object, bodies: Bodies) -> Outcome:
    *parts, size, delay_s = record(entry, "outcome", 9)
    settled = _settled([*parts, delay_s])
    return Outcome(*settled[:7], bodies.take(size, "outcome.body length"), settled.delay_s)


def _is_sound(job: object, attempt: object, start: object, stop: object) -> bool:
    """Tell in one look whether a range is what it should be; where it is not, its fields are looked at one by one."""
    return (
        type(job) is str
        and 0 < len(job) <= MOST_NAME_CHARS
        and type(attempt) is int
        and type(start) is int
        and type(stop) is int
        and 0 <= start < stop <= MOST_INTEGER
        and 0 <= attempt <= MOST_INTEGER
    )


def _settled(entry: object) -> Settled:
    job, attempt, node, start, stop, kind, elapsed_s, delay_s = record(entry, "outcome", 8)
    if type(kind) is int and (known := _KINDS.get(kind)) is not None and _is_sound(job, attempt, start, stop):
        spent_s, wait_s = seconds(elapsed_s, "outcome.elapsed_s"), seconds(delay_s, "outcome.delay_s")
        return Settled(job, attempt, label(node, "outcome.node"), start, stop, known, spent_s, wait_s)
    start, stop = span(start, stop, "outcome")
    return Settled(
        label(job, "outcome.job"),
        integer(attempt, "outcome.attempt"),
        label(node, "outcome.node"),
        start,
        stop,
        member(kind, "outcome.kind", _KINDS, int),
        seconds(elapsed_s, "outcome.elapsed_s"),
        seconds(delay_s, "outcome.delay_s"),
    )


def encode_stored(message: Stored) -> Parts:
    """Return the header and the bodies of a STORED."""
    return {"t": "stored", "s": message.session, "n": message.seq, "o": list(message.settled)}, []


def decode_stored(header: Header, _: Bodies) -> Stored:
    """Return the STORED of a header."""
    settled = array(header.get("o"), "o (outcomes)")
    return Stored(session(header), integer(header.get("n"), "n (seq)"), tuple([_settled(entry) for entry in settled]))
