"""What tasks ask and are answered, as bodies of errands and back: one msgpack map each.

Owns their keys. Values, functions and arguments in them stay encoded. Called by workers and by `home.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from zmqtasks.asks import (
    Acquire,
    Admit,
    Answer,
    Ask,
    DeleteKey,
    Disregard,
    Ended,
    Extend,
    GetKey,
    Inspect,
    Refused,
    Release,
    SetKey,
    Spawn,
    Told,
)
from zmqtasks.messages import Buffer, OutcomeKind
from zmqtasks.records import as_dict
from zmqtasks.wire.bulk import parse_changes
from zmqtasks.wire.fields import flag, integer, label, malformed, seconds, text
from zmqtasks.wire.headers import pack_map, parse_map
from zmqtasks.wire.values import member

MOST_ITEMS = 64
_KINDS = {kind.value: kind for kind in OutcomeKind}


def _bytes(value: object, name: str) -> bytes:
    if type(value) is not bytes:
        malformed(name, "bytes", value)
    return value


def _duration(value: object, name: str) -> float | None:
    return None if value is None else seconds(value, name)


def _kind(value: object, name: str) -> OutcomeKind:
    return member(value, name, _KINDS, int)


def _plain(value: object, name: str) -> object:
    if value is not None and type(value) not in (bool, int, float, bytes):
        malformed(name, "a number, a boolean, bytes or nil", value)
    return value


def _positive(value: object, name: str) -> int:
    return integer(value, name, 1)


_FIELDS: dict[str, tuple[type, dict[str, Callable[[Any, str], object]]]] = {
    "acquire": (
        Acquire,
        {"name": label, "token": integer, "most": _positive, "ttl": _duration, "timeout": _duration},
    ),
    "release": (Release, {"name": label, "token": integer}),
    "extend": (Extend, {"name": label, "token": integer, "ttl": _duration}),
    "inspect": (Inspect, {"name": label, "token": integer}),
    "admit": (Admit, {"name": label, "most": _positive, "per_s": seconds, "timeout": _duration}),
    "set": (SetKey, {"name": label, "body": _bytes}),
    "get": (GetKey, {"name": label}),
    "delete": (DeleteKey, {"name": label}),
    "spawn": (
        Spawn,
        {
            "function": _bytes,
            "name": text,
            "options": parse_changes,
            "body": _bytes,
            "count": _positive,
            "awaited": flag,
            "trace_id": text,
        },
    ),
    "disregard": (Disregard, {"number": integer}),
    "told": (Told, {"value": _plain}),
    "refused": (Refused, {"error": text, "text": text}),
    "ended": (Ended, {"start": integer, "stop": integer, "kind": _kind, "body": _bytes, "first": integer}),
}
_WORDS: dict[type, str] = {kind: word for word, (kind, _) in _FIELDS.items()}
ANSWERS = (Told, Refused, Ended)


def pack_ask(value: Ask | Answer) -> bytes:
    """Return the body of an errand.

    Raises:
        TypeError: a value msgpack has no type for.
        OverflowError: an integer beyond 64 bits.
    """
    return pack_map({"t": _WORDS[type(value)], **as_dict(value)})


def unpack_ask(body: Buffer) -> Ask:
    """Return what is asked.

    Raises:
        RemoteProtocolError: it is malformed, or an answer; the text names the field.
    """
    value = _unpack(body)
    if isinstance(value, ANSWERS):
        malformed("t", "something that is asked", value)
    return cast("Ask", value)


def unpack_answer(body: Buffer) -> Answer:
    """Return what is answered.

    Raises:
        RemoteProtocolError: it is malformed, or no answer.
    """
    value = _unpack(body)
    if not isinstance(value, ANSWERS):
        malformed("t", "an answer", value)
    return value


def _unpack(body: Buffer) -> object:
    fields = parse_map(body, "errand", MOST_ITEMS)
    word = text(fields.get("t"), "t")
    if word not in _FIELDS:
        malformed("t", f"one of {', '.join(_FIELDS)}", word)
    kind, checks = _FIELDS[word]
    return kind(**{name: check(fields.get(name), f"{word}.{name}") for name, check in checks.items()})
