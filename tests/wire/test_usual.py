"""Usual messages in one look, beside the way on which each field is looked at."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import islice
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire import mutations, strategies
from tests.wire.samples import JOB, NODE, SESSION
from zmqtasks.messages import Chunk, Message, Outcome, OutcomeKind, Results, Stamp, Tasks
from zmqtasks.options import Limits
from zmqtasks.records import replace
from zmqtasks.wire import bulk, codec, usual
from zmqtasks.wire.headers import pack_map, parse_map
from zmqtasks.wire.values import Bodies

LIMITS = Limits()
CHUNK = Chunk(JOB, 1, 40, 60, 40, b"twenty arguments", stamp=Stamp(1_795_000_000.25))
TASKS = Tasks(SESSION, 42, chunks=(CHUNK,))
RESULTS = Results(SESSION, 9, (Outcome(JOB, 1, NODE.peer, 40, 59, OutcomeKind.OK, 0.125, b"nineteen values"),))
LONG_WAY: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], Message]]] = {
    "tasks": (bulk.encode_tasks, bulk.decode_tasks),
    "results": (bulk.encode_results, bulk.decode_results),
}
one_chunk = st.builds(
    lambda s, n, chunk: Tasks(s, n, (), (chunk,)), *(strategies.sessions, strategies.integers), strategies.chunks
)
one_outcome = st.builds(
    lambda s, n, outcome: Results(s, n, (outcome,)), strategies.sessions, strategies.integers, strategies.outcomes
)


def split(frame: bytes) -> tuple[memoryview, memoryview]:
    end = 4 + int.from_bytes(frame[:4], "big")
    return memoryview(frame)[4:end], memoryview(frame)[end:]


def long_way(frame: bytes) -> Message:
    head, rest = split(frame)
    header = parse_map(head, "header", LIMITS.items)
    bodies = Bodies(rest)
    message = LONG_WAY[header["t"]][1](header, bodies)
    bodies.finish()
    return message


def sent_the_long_way(message: Tasks | Results) -> bytes:
    encode = LONG_WAY["tasks" if isinstance(message, Tasks) else "results"][0]
    header, bodies = encode(message)
    packed = pack_map(header)
    return struct.pack(">I", len(packed)) + packed + b"".join(bodies)


@given(one_chunk | one_outcome)
def test_the_short_way_gives_what_the_long_way_gives(message: Tasks | Results) -> None:
    frame = codec.encode(message)
    assert usual.encoded(message) is not None
    assert frame == sent_the_long_way(message)
    assert usual.decoded(*split(frame)) == long_way(frame) == message


@given(strategies.messages)
def test_what_is_not_usual_is_left_to_others(message: Message) -> None:
    if isinstance(message, Tasks):
        alone = len(message.chunks) == 1 and not (message.jobs or message.ended)
    else:
        alone = isinstance(message, Results) and len(message.outcomes) == 1
    assert (usual.encoded(message) is not None) == alone
    assert (usual.decoded(*split(codec.encode(message))) is not None) == alone


@pytest.mark.parametrize("changes", [{"runs": 1}, {"stamp": Stamp(0.0, "trace")}, {"needs": ("a:1",)}])
def test_a_chunk_of_which_more_is_told_is_not_usual(changes: dict[str, Any]) -> None:
    message = Tasks(SESSION, 42, chunks=(replace(CHUNK, **changes),))
    frame = codec.encode(message)
    assert usual.encoded(message) is usual.decoded(*split(frame)) is None
    assert long_way(frame) == message


@pytest.mark.parametrize("message", [TASKS, RESULTS])
def test_what_is_changed_in_any_place_is_the_same_on_both_ways(message: Tasks | Results) -> None:
    frame = codec.encode(message)
    end = 4 + int.from_bytes(frame[:4], "big")
    taken = 0
    odd = (*mutations.ODD, *mutations.NUMBERS, [1], 2, 41, "2", 15, 16)
    for place in range(len(list(mutations._places(msgpack.unpackb(frame[4:end]))))):
        for value in odd:
            header = msgpack.unpackb(frame[4:end])
            container, key = list(mutations._places(header))[place]
            container[key] = value
            packed = msgpack.packb(header)
            changed = struct.pack(">I", len(packed)) + packed + frame[end:]
            found = usual.decoded(*split(changed))
            if found is not None:
                taken += 1
                assert found == long_way(changed)
    assert taken > 20


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_taken_would_be_taken_on_the_long_way(seed: int) -> None:
    frames = mutations.Frames(seed)
    frames._sound = [codec.encode(TASKS), codec.encode(RESULTS)]
    taken = 0
    for frame in islice(frames, 3_000):
        if len(frame) >= 4 and 4 + int.from_bytes(frame[:4], "big") <= len(frame):
            found = usual.decoded(*split(frame))
            if found is not None:
                taken += 1
                assert found == long_way(frame)
    assert taken > 50


@pytest.mark.parametrize(
    "message", [replace(TASKS, seq=2**64), replace(RESULTS, seq=-(2**64)), replace(TASKS, seq="\ud800")]
)
def test_what_cannot_be_written_is_left_to_who_knows_the_words(message: Tasks | Results) -> None:
    assert usual.encoded(message) is None


@pytest.mark.parametrize("head", [b"\x86\xa1t\xa5tasks", b"\x84\xa1t\xa7results"])
@pytest.mark.parametrize("key", [b"\xa1j", b"\xa1c", b"\xa1e", b"\xa1o", b"\xa1s"])
@pytest.mark.parametrize("bomb", mutations.BOMBS)
def test_a_length_that_is_only_claimed_takes_no_memory(head: bytes, key: bytes, bomb: bytes) -> None:
    assert usual.decoded(memoryview(head + key + bomb), memoryview(b"")) is None


def test_a_key_that_is_there_twice_is_refused() -> None:
    head, rest = split(codec.encode(TASKS))
    twice = bytes(head).replace(b"\xa1e", b"\xa1j")
    assert usual.decoded(memoryview(twice), rest) is None
