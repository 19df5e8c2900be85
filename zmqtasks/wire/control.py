"""Control messages as headers and back: HELLO, STATUS, CANCEL, QUERY, OUTPUT, ERRANDS.

Owns their keys. Only ERRANDS has bodies. Called by `codec` through its tables.
"""

from __future__ import annotations

from typing import Any

from zmqtasks.messages import (
    Cancel,
    Errand,
    Errands,
    Flight,
    Held,
    Hello,
    Known,
    Load,
    Memory,
    Offer,
    Output,
    PeerState,
    Phase,
    Printed,
    Query,
    Range,
    Role,
    Status,
    Window,
)
from zmqtasks.metrics import COUNTS, MOMENTS, Metrics, Moments
from zmqtasks.wire.fields import array, finite, flag, integer, label, mapping, record, seconds, text
from zmqtasks.wire.values import (
    Bodies,
    Header,
    Parts,
    address,
    amounts,
    job_ids,
    limits_of,
    member,
    pack_limits,
    session,
    span,
)

_ROLES = {role.value: role for role in Role}
_STATES = {state.value: state for state in PeerState}
_PHASES = {phase.value: phase for phase in Phase}


def encode_hello(message: Hello) -> Parts:
    """Return the header and the bodies of a HELLO."""
    memory = {} if message.memory is None else {"m": message.memory}
    return {
        "t": "hello",
        "s": message.session,
        "r": message.role,
        "a": message.address,
        "p": message.protocol,
        "l": pack_limits(message.limits),
        "v": dict(message.versions),
        "e": message.lease_s,
        **memory,
    }, []


def decode_hello(header: Header, _: Bodies) -> Hello:
    """Return the HELLO of a header."""
    low, high = record(header.get("p"), "p (protocol)", 2)
    low = integer(low, "protocol.low")
    return Hello(
        session=session(header),
        role=member(header.get("r"), "r (role)", _ROLES, str),
        address=address(header.get("a")),
        protocol=(low, integer(high, "protocol.high", low)),
        limits=limits_of(header.get("l")),
        versions=_versions(header.get("v")),
        lease_s=seconds(header.get("e"), "e (lease)"),
        memory=_memory(header["m"]) if "m" in header else None,
    )


def _memory(value: object) -> Memory:
    pid, fd, token = record(value, "m (memory)", 3)
    return Memory(integer(pid, "memory.pid", 1), integer(fd, "memory.fd"), integer(token, "memory.token"))


def encode_status(message: Status) -> Parts:
    """Return the header and the bodies of a STATUS."""
    return {
        "t": "status",
        "s": message.session,
        "a": message.address,
        "i": message.incarnation,
        "st": message.state,
        "re": message.reason,
        "c": message.cum,
        "g": message.gap,
        "w": message.window,
        "h": None if message.have is None else list(message.have),
        "o": message.load,
        "l": pack_limits(message.limits),
        **({"b": True} if message.borrows else {}),
        **({} if message.flight is None else {"f": (message.flight.node, list(message.flight.begun))}),
        **({} if message.metrics is None else {"m": _pack_metrics(message.metrics)}),
        **({} if message.within_s is None else {"d": message.within_s}),
        **({"v": dict(message.versions)} if message.versions else {}),
        **({"k": list(message.known)} if message.known else {}),
        **({} if message.offer is None else {"q": message.offer}),
    }, []


def decode_status(header: Header, _: Bodies) -> Status:
    """Return the STATUS of a header."""
    tasks, size = record(header.get("w"), "w (window)", 2)
    have = header.get("h")
    return Status(
        session=session(header),
        address=address(header.get("a")),
        incarnation=integer(header.get("i"), "i (incarnation)"),
        state=member(header.get("st"), "st (state)", _STATES, str),
        reason=text(header.get("re"), "re (reason)"),
        cum=integer(header.get("c"), "c (cum)"),
        gap=flag(header.get("g"), "g (gap)"),
        window=Window(integer(tasks, "window.tasks"), integer(size, "window.bytes")),
        have=None if have is None else tuple(_held(entry) for entry in array(have, "h (have)")),
        load=_load(header.get("o")),
        limits=limits_of(header.get("l")),
        borrows=flag(header.get("b", False), "b (borrows)"),
        flight=_flight(header["f"]) if "f" in header else None,
        metrics=_metrics(header["m"]) if "m" in header else None,
        within_s=seconds(header["d"], "d (within)") if "d" in header else None,
        versions=_versions(header["v"]) if "v" in header else (),
        known=tuple(_known(entry) for entry in array(header["k"], "k (known)")) if "k" in header else (),
        offer=_offer(header["q"]) if "q" in header else None,
    )


def _versions(value: object) -> tuple[tuple[str, str], ...]:
    given = mapping(value, "v (versions)")
    return tuple((label(name, "versions"), text(version, "versions")) for name, version in given.items())


def _known(value: object) -> Known:
    where, age_s = record(value, "known", 2)
    return Known(address(where), seconds(age_s, "known.age"))


def _offer(value: object) -> Offer:
    queues, resources, labels = record(value, "q (offer)", 3)
    return Offer(
        tuple(label(queue, "offer.queues") for queue in array(queues, "offer.queues")),
        amounts(resources, "offer.resources"),
        tuple(_labelled(entry) for entry in array(labels, "offer.labels")),
    )


def _labelled(entry: object) -> tuple[str, str]:
    name, value = record(entry, "offer.labels", 2)
    return label(name, "offer.labels"), label(value, "offer.labels")


def _flight(value: object) -> Flight:
    node, begun = record(value, "f (flight)", 2)
    return Flight(label(node, "flight.node"), tuple(_held(entry) for entry in array(begun, "flight.begun")))


def _pack_metrics(metrics: Metrics) -> Header:
    shown: Header = {name: count for name in COUNTS if (count := getattr(metrics, name))}
    for name in MOMENTS:
        moments: Moments = getattr(metrics, name)
        if moments.count:
            shown[name] = (moments.count, moments.mean, moments.m2, moments.m3)
    return shown


def _metrics(value: object) -> Metrics:
    given = mapping(value, "m (metrics)")
    found: dict[str, Any] = {name: integer(given[name], f"metrics.{name}") for name in COUNTS if name in given}
    found |= {name: _moments(given[name], f"metrics.{name}") for name in MOMENTS if name in given}
    return Metrics(**found)


def _moments(value: object, name: str) -> Moments:
    count, *rest = record(value, name, 4)
    return Moments(integer(count, name), *(finite(entry, name) for entry in rest))


def _load(value: object) -> Load:
    *counts, partial, lost = record(value, "o (load)", len(Load._fields))
    load = Load(*(integer(entry, "load") for entry in counts))
    return load._replace(partial=seconds(partial, "load.partial"), lost=integer(lost, "load.lost"))


def _held(entry: object) -> Held:
    job, start, stop, attempt, phase = record(entry, "have", 5)
    start, stop = span(start, stop, "have")
    attempt = integer(attempt, "have.attempt")
    return Held(label(job, "have.job"), start, stop, attempt, member(phase, "have.phase", _PHASES, int))


def encode_cancel(message: Cancel) -> Parts:
    """Return the header and the bodies of a CANCEL."""
    return {"t": "cancel", "s": message.session, "r": list(message.ranges), "k": message.kill}, []


def decode_cancel(header: Header, _: Bodies) -> Cancel:
    """Return the CANCEL of a header."""
    ranges = tuple(_range(entry) for entry in array(header.get("r"), "r (ranges)"))
    return Cancel(session(header), ranges, flag(header.get("k"), "k (kill)"))


def _range(entry: object) -> Range:
    job, start, stop = record(entry, "range", 3)
    return Range(label(job, "range.job"), *span(start, stop, "range"))


def encode_query(message: Query) -> Parts:
    """Return the header and the bodies of a QUERY."""
    return {"t": "query", "s": message.session, "j": list(message.jobs)}, []


def decode_query(header: Header, _: Bodies) -> Query:
    """Return the QUERY of a header."""
    return Query(session(header), job_ids(header.get("j"), "j (jobs)"))


def encode_output(message: Output) -> Parts:
    """Return the header and the bodies of an OUTPUT."""
    lines = list(message.printed)
    return {"t": "output", "s": message.session, "p": lines, "d": message.dropped, "e": message.end}, []


def decode_output(header: Header, _: Bodies) -> Output:
    """Return the OUTPUT of a header."""
    printed = tuple(_printed(entry) for entry in array(header.get("p"), "p (printed)"))
    dropped = integer(header.get("d"), "d (dropped)")
    return Output(session(header), printed, dropped, flag(header.get("e"), "e (end)"))


def _printed(entry: object) -> Printed:
    worker, pid, job, name, task, stream, words = record(entry, "printed", len(Printed._fields))
    return Printed(
        integer(worker, "printed.worker"),
        integer(pid, "printed.pid"),
        label(job, "printed.job"),
        text(name, "printed.name"),
        integer(task, "printed.task"),
        label(stream, "printed.stream"),
        text(words, "printed.text"),
    )


def encode_errands(message: Errands) -> Parts:
    """Return the header and the bodies of an ERRANDS."""
    errands = message.errands
    header = {
        "t": "errands",
        "s": message.session,
        "n": message.stream,
        "c": message.cum,
        "f": message.first,
        "e": [(errand.worker, errand.number, errand.job, len(errand.body)) for errand in errands],
    }
    if message.over:
        header["o"] = True
    return header, [errand.body for errand in errands]


def decode_errands(header: Header, bodies: Bodies) -> Errands:
    """Return the ERRANDS of a header."""
    return Errands(
        session=session(header),
        stream=integer(header.get("n"), "n (stream)"),
        cum=integer(header.get("c"), "c (cum)"),
        first=integer(header.get("f"), "f (first)"),
        errands=tuple([_errand(entry, bodies) for entry in array(header.get("e"), "e (errands)")]),
        over=flag(header.get("o", False), "o (over)"),
    )


def _errand(entry: object, bodies: Bodies) -> Errand:
    worker, number, job, size = record(entry, "errand", 4)
    return Errand(
        integer(worker, "errand.worker"),
        integer(number, "errand.number"),
        text(job, "errand.job"),
        bodies.take(size, "errand.body length"),
    )
