"""Messages to frames and back; what is refused, and in which words."""

from __future__ import annotations

import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire import strategies
from tests.wire.samples import JOB, SAMPLES, SESSION
from zmqtasks.errors import LocalProtocolError, RemoteProtocolError
from zmqtasks.messages import Chunk, Message, Query, SessionId, Status, Tasks
from zmqtasks.options import AT_HOME, Limits, TaskOptions
from zmqtasks.records import field_names
from zmqtasks.wire import bulk, codec

LIMITS = Limits()
DELETED = object()
HUNDRED = Query(SESSION, (JOB,) * 100)


def frame_of(header: object, bodies: bytes = b"") -> bytes:
    packed = header if isinstance(header, bytes) else msgpack.packb(header)
    return struct.pack(">I", len(packed)) + packed + bodies


def changed(sample: str, path: tuple[Any, ...], value: object) -> bytes:
    """Return the frame of a sample with one part of its header replaced or deleted."""
    frame = codec.encode(SAMPLES[sample])
    end = 4 + int.from_bytes(frame[:4], "big")
    header = msgpack.unpackb(frame[4:end])
    place = header
    for step in path[:-1]:
        place = place[step]
    if value is DELETED:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return frame_of(header, frame[end:])


@given(strategies.messages)
def test_a_message_survives_the_round_trip(message: Message) -> None:
    assert codec.decode(codec.encode(message, LIMITS), LIMITS) == message


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_any_buffer_is_a_frame(make: Any) -> None:
    assert codec.decode(make(codec.encode(SAMPLES["tasks"])), LIMITS) == SAMPLES["tasks"]


def test_a_body_is_a_slice_of_the_frame_and_no_copy() -> None:
    frame = codec.encode(Tasks(SESSION, 1, chunks=(Chunk(JOB, 1, 0, 1, 0, b"body"),)))
    message = codec.decode(frame, LIMITS)
    assert isinstance(message, Tasks)
    body = message.chunks[0].body
    assert isinstance(body, memoryview)
    assert body.obj is frame


def test_a_body_that_was_received_is_sent_on_as_it_is() -> None:
    frame = codec.encode(SAMPLES["results"])
    assert codec.encode(codec.decode(frame, LIMITS)) == frame


def test_every_option_of_a_job_travels() -> None:
    assert set(bulk._OPTIONS) == set(field_names(TaskOptions)) - AT_HOME


def test_an_option_this_version_does_not_know_is_ignored() -> None:
    message = codec.decode(changed("tasks", ("j", 0, 3), {"colour": "red", "retries": 2}), LIMITS)
    assert isinstance(message, Tasks)
    assert message.jobs[0].options == TaskOptions(retries=2)


MALFORMED: list[tuple[str, tuple[Any, ...], object, str]] = [
    ("query", ("t",), DELETED, "t: expected a string, got NoneType None"),
    (
        "query",
        ("t",),
        "order",
        "t: expected one of hello, status, tasks, results, stored, cancel, query, output, errands, tend, tended, got",
    ),
    ("query", ("t",), ["query"], "t: expected a string, got list"),
    ("query", ("s",), DELETED, "s (session): expected an array of at least 2 entries, got NoneType None"),
    ("query", ("s",), [1], "s (session): expected an array of at least 2 entries, got list [1]"),
    ("query", ("s",), {"a": 1, "b": 2}, "s (session): expected an array"),
    ("query", ("s", 0), -1, "session.epoch: expected an integer from 0 to"),
    ("query", ("s", 0), 2**63, "session.epoch: expected an integer from 0 to"),
    ("query", ("s", 1), True, "session.number: expected an integer from 0 to 9223372036854775807, got bool True"),
    ("query", ("s", 1), 1.0, "session.number: expected an integer"),
    ("query", ("j",), None, "j (jobs): expected an array, got NoneType None"),
    ("query", ("j", 0), "", "j (jobs): expected a string of 1 to 255 characters, got str ''"),
    ("query", ("j", 0), "x" * 256, "j (jobs): expected a string of 1 to 255 characters, got str 'xxx"),
    ("query", ("j", 0), 5, "j (jobs): expected a string of 1 to 255 characters, got int 5"),
    ("cancel", ("k",), 1, "k (kill): expected a boolean, got int 1"),
    ("tend", ("n",), 0, "n (number): expected an integer from 1 to"),
    ("tend", ("d",), "burn", "d (care): expected one of length, purge, pause, resume, pull, got str 'burn'"),
    ("tended", ("l",), 10**6, "l (lines): expected an integer from 0 to"),
    ("cancel", ("r", 0), "abc", "range: expected an array of at least 3 entries, got str 'abc'"),
    ("cancel", ("r", 0, 2), 0, "range.stop: expected an integer from 1 to"),
    ("cancel", ("r", 1, 1), 30, "range.stop: expected an integer from 31 to 9223372036854775807, got int 30"),
    (
        "hello",
        ("r",),
        "broker",
        "r (role): expected one of ventilator, node, sink, observer, steward, got str 'broker'",
    ),
    ("hello", ("r",), ["node"], "r (role): expected one of"),
    ("hello", ("p",), [2, 1], "protocol.high: expected an integer from 2 to"),
    ("hello", ("a", 2), "tcp://x", "address.endpoints: expected an array"),
    ("hello", ("a", 2, 0), 7, "address.endpoint: expected a string of 1 to 255"),
    ("hello", ("l", 1), 0, "limits: expected an integer from 1 to"),
    ("hello", ("v",), [], "v (versions): expected a map, got list []"),
    ("hello", ("v", "python"), 3.11, "versions: expected a string, got float 3.11"),
    ("hello", ("v", ""), "1", "versions: expected a string of 1 to 255"),
    ("hello", ("e",), float("nan"), "e (lease): expected a finite number of seconds, 0 or more, got float nan"),
    ("hello", ("e",), float("inf"), "e (lease): expected a finite number of seconds"),
    ("hello", ("e",), -0.5, "e (lease): expected a finite number of seconds"),
    ("hello", ("e",), "30", "e (lease): expected a finite number of seconds"),
    ("status", ("st",), "asleep", "st (state): expected one of up, drain, bye, reject"),
    ("status", ("re",), b"SIGTERM", "re (reason): expected a string, got bytes"),
    ("status", ("g",), None, "g (gap): expected a boolean"),
    ("status", ("c",), -1, "c (cum): expected an integer"),
    ("status", ("i",), DELETED, "i (incarnation): expected an integer"),
    ("status", ("w", 1), -1, "window.bytes: expected an integer"),
    ("status", ("h",), {}, "h (have): expected an array"),
    ("status", ("h", 0, 4), 3, "have.phase: expected one of 0, 1, 2, got int 3"),
    ("status", ("h", 0, 4), True, "have.phase: expected one of 0, 1, 2, got bool True"),
    ("status", ("o", 5), "", "load: expected an integer"),
    ("tasks", ("n",), -1, "n (seq): expected an integer"),
    ("tasks", ("j", 0, 1), None, "job.name: expected a string"),
    ("tasks", ("j", 0, 3), [], "job.options: expected a map"),
    ("tasks", ("j", 0, 3), {"timeout": "2 s"}, "job.options.timeout: expected a finite number of seconds"),
    ("tasks", ("j", 0, 3), {"timeout": 0}, "job.options: timeout must be above 0 seconds"),
    ("tasks", ("j", 0, 3), {"max_memory": "2 GiB"}, "job.options.max_memory: expected an integer"),
    ("tasks", ("j", 0, 3), {"crash_limit": 0}, "job.options: crash_limit must be 1 or more"),
    ("tasks", ("j", 0, 3), {"serializer": "json"}, "job.options: serializer must be one of"),
    ("tasks", ("j", 0, 3), {"retry": 0}, "job.options.retry: expected a boolean"),
    ("tasks", ("c", 0, 4), 41, "chunk.origin: expected an integer from 0 to 40, got int 41"),
    ("tasks", ("c", 0, 5), 10**6, "chunk.body length: expected an integer from 0 to 16, got int 1000000"),
    ("tasks", ("c", 0, 5), -1, "chunk.body length: expected an integer"),
    ("tasks", ("c", 0, 5), 15, "bodies: expected 39 bytes by the header, got 40"),
    ("results", ("o", 0), [], "outcome: expected an array of at least 9 entries"),
    (
        "results",
        ("o", 0, 5),
        14,
        "outcome.kind: expected one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, got int 14",
    ),
    ("results", ("o", 0, 5), 1.0, "outcome.kind: expected one of"),
    ("results", ("o", 0, 6), None, "outcome.elapsed_s: expected a finite number of seconds"),
    ("results", ("o", 0, 2), b"node", "outcome.node: expected a string of 1 to 255"),
    ("stored", ("o", 0, 4), 40, "outcome.stop: expected an integer from 41 to"),
]


@pytest.mark.parametrize(("sample", "path", "value", "words"), MALFORMED)
def test_a_malformed_field_is_named(sample: str, path: tuple[Any, ...], value: object, words: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode(changed(sample, path, value), LIMITS)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (b"", "frame: expected at least 4 bytes, got 0"),
        (b"\0\0\0", "frame: expected at least 4 bytes, got 3"),
        (b"\0\0\0\2\x80", "header length: expected an integer from 0 to 1, got int 2"),
        (b"\xff\xff\xff\xff\x80", "header length: expected an integer from 0 to 1"),
        (frame_of(b""), "header: expected one msgpack map, got 0 bytes"),
        (frame_of(b"\x80\xc0"), "header: expected one msgpack map, got 2 bytes"),
        (frame_of([1]), "header: expected a map, got list [1]"),
        (frame_of(b"\xa2\xff\xfe"), "header: expected one msgpack map, got 3 bytes"),
        (frame_of(b"\x81\x90\x01"), "header: expected one msgpack map"),
        (frame_of(b"\x81\x01\x01"), "header: expected one msgpack map"),
        (frame_of(b"\x82\xa1t\xa5query\xa1t\xa5query"), "a key appears twice"),
        (frame_of({"t": msgpack.ExtType(5, b"data")}), "extension type 5 of 4 bytes has no meaning here"),
        (frame_of(b"\xd7\xff" + b"\xff" * 8), "header: expected one msgpack map"),
        (frame_of(b"\xdd\xff\xff\xff\xff"), "header: expected one msgpack map"),
        (frame_of(b"\x91" * 5_000), "header: expected one msgpack map, got 5000 bytes"),
        (frame_of(b"\xc1"), "header: expected one msgpack map"),
        (codec.encode(SAMPLES["query"]) + b"x", "bodies: expected 0 bytes by the header, got 1"),
    ],
)
def test_a_malformed_frame_is_refused(frame: bytes, words: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode(frame, LIMITS)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(message_bytes=100), "frame: expected at most 100 bytes, got"),
        (Limits(header_bytes=50), "header length: expected an integer from 0 to 50, got int"),
        (Limits(items=99), "100 exceeds max_array_len(99)"),
    ],
)
def test_limits_are_checked_first(limits: Limits, words: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode(codec.encode(HUNDRED), limits)
    assert words in str(caught.value)


@pytest.mark.parametrize("limits", [Limits(message_bytes=100), Limits(header_bytes=50), Limits(items=99)])
def test_the_sender_checks_the_limits_of_the_receiver(limits: Limits) -> None:
    with pytest.raises(LocalProtocolError, match="query message: the other side takes"):
        codec.encode(HUNDRED, limits)


def test_a_message_at_the_limit_passes_on_both_sides() -> None:
    frame = codec.encode(HUNDRED)
    limits = Limits(len(frame), len(frame) - 4, 100)
    assert codec.decode(codec.encode(HUNDRED, limits), limits) == HUNDRED


@pytest.mark.parametrize(
    "message",
    [
        Status(SESSION, SAMPLES["status"].address, 1, reason="\ud800"),  # type: ignore[union-attr]
        Query(SessionId(2**64, 0)),
        Query(SESSION, (object(),)),  # type: ignore[arg-type]
    ],
)
def test_what_the_wire_has_no_room_for_is_our_own_fault(message: Message) -> None:
    with pytest.raises(LocalProtocolError, match="cannot be encoded"):
        codec.encode(message)


# --- fuzz: any bytes give a message or RemoteProtocolError, nothing else


def decode_anything(frame: bytes) -> None:
    try:
        message = codec.decode(frame, Limits(message_bytes=1_000_000, header_bytes=100_000, items=1_000))
    except RemoteProtocolError:
        return
    assert codec.decode(codec.encode(message), LIMITS) == message


@given(st.binary(max_size=300))
def test_random_bytes(data: bytes) -> None:
    decode_anything(data)
    decode_anything(frame_of(data))


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5) | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(MALFORMED), json_like)
def test_any_value_in_any_place(place: tuple[str, tuple[Any, ...], object, str], value: object) -> None:
    sample, path, _, _ = place
    decode_anything(changed(sample, path, value))


@given(strategies.messages, st.data())
def test_mutated_frames(message: Message, data: st.DataObject) -> None:
    frame = bytearray(codec.encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(frame)))
        match data.draw(st.sampled_from(("flip", "cut", "insert", "splice", "length"))):
            case "flip" if at < len(frame):
                frame[at] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del frame[at:]
            case "insert":
                frame[at:at] = data.draw(st.binary(min_size=1, max_size=8))
            case "splice":
                frame[at:] = codec.encode(data.draw(strategies.messages))[at:]
            case "length":
                frame[:4] = struct.pack(">I", data.draw(st.integers(0, 2 * len(frame))))
    decode_anything(bytes(frame))
