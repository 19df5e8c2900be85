"""What tasks ask and are answered: bytes and back, and nothing else is taken."""

from __future__ import annotations

import msgpack
import pytest

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
from zmqtasks.errors import RemoteProtocolError
from zmqtasks.messages import OutcomeKind
from zmqtasks.wire.asking import pack_ask, unpack_answer, unpack_ask

ASKED: list[Ask] = [
    Acquire("lock l", 7, 3, 60.0, 1.5),
    Acquire("lock l", 7),
    Release("lock l", 7),
    Extend("lock l", 7, None),
    Inspect("lock l"),
    Admit("api", 10, 1.0, None),
    SetKey("k", b"value"),
    GetKey("k"),
    DeleteKey("k"),
    Spawn(b"function", "f", {"priority": -3, "delay": 1.5, "queue": "q", "where": (("zone", "a"),)}, b"body", 3, True),
    Disregard(9),
]
ANSWERED: list[Answer] = [
    *(Told(value) for value in (True, 3, 2.5, float("inf"), b"value", None)),
    Refused("ValueError", "why"),
    Ended(0, 3, OutcomeKind.CRASHED, b"failure", 2),
]


@pytest.mark.parametrize("ask", ASKED)
def test_what_is_asked_arrives(ask: Ask) -> None:
    assert unpack_ask(memoryview(pack_ask(ask))) == ask
    with pytest.raises(RemoteProtocolError, match="expected an answer"):
        unpack_answer(pack_ask(ask))


@pytest.mark.parametrize("answer", ANSWERED)
def test_what_is_answered_arrives(answer: Answer) -> None:
    assert unpack_answer(memoryview(pack_ask(answer))) == answer
    with pytest.raises(RemoteProtocolError, match="something that is asked"):
        unpack_ask(pack_ask(answer))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"t": "order"}, "t: expected one of acquire"),
        ({}, "t: expected a string"),
        ({"t": "get"}, "get.name: expected a string of 1 to 255"),
        ({"t": "get", "name": "n" * 256}, "get.name"),
        ({"t": "set", "name": "n", "body": "text"}, "set.body: expected bytes"),
        ({"t": "acquire", "name": "n", "token": 1, "most": 0}, "acquire.most: expected an integer from 1"),
        ({"t": "acquire", "name": "n", "token": 1, "most": 1, "ttl": -1.0}, "acquire.ttl"),
        ({"t": "told", "value": []}, "told.value: expected a number"),
        ({"t": "spawn", "function": b"", "name": "", "options": {"retries": -1}}, "spawn.options.retries"),
    ],
)
def test_what_is_malformed_is_named(given: dict[str, object], words: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        unpack_ask(msgpack.packb(given))
    assert words in str(caught.value)
