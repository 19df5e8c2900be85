"""Bodies from a hostile peer: every malformed one is refused, and nothing else happens."""

from __future__ import annotations

import pickle
import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmqtasks.errors import RemoteProtocolError, SerializationError
from zmqtasks.options import Limits
from zmqtasks.wire import payload

PICKLE, MSGPACK = 0, 1
BULK, EACH = 0, 1


def body_of(
    data: bytes,
    *,
    serializer: int = PICKLE,
    compressor: int = 0,
    layout: int = BULK,
    form: int = 0,
    items: int = 1,
    raw_bytes: int | None = None,
) -> bytes:
    raw_bytes = len(data) if raw_bytes is None else raw_bytes
    return struct.pack(">BBBBIQ", serializer, compressor, layout, form, items, raw_bytes) + data


def table(*ends: int) -> bytes:
    return struct.pack(f">{len(ends)}I", *ends)


NONE = pickle.dumps(None, 5)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "body: expected at least 16 bytes, got 0"),
        (body_of(b"")[:-1], "body: expected at least 16 bytes, got 15"),
        (body_of(b"", serializer=2), "body: 2 is not a valid Serializer"),
        (body_of(b"", compressor=6), "body: 6 is not a valid Compressor"),
        (body_of(b"", layout=3), "body: 3 is not a valid Layout"),
        (body_of(b"", form=3), "body: 3 is not a valid Form"),
        (body_of(b"", raw_bytes=2**64 - 1), "body: expected at most 536870912 bytes, got 18446744073709551615"),
        (body_of(b"abc", raw_bytes=4), "body: expected 4 bytes of NONE data, got 3"),
        (body_of(b""), "body: corrupt pickle data: EOFError"),
        (body_of(b"", serializer=MSGPACK), "body: corrupt msgpack data: SerializationError"),
        (body_of(pickle.dumps([1, 2])), "body: expected a list of 1 items, got a list"),
        (body_of(pickle.dumps({1: 2})), "body: expected a list of 1 items, got a dict"),
        (body_of(pickle.dumps(range(2**70))), "body: corrupt pickle data: OverflowError"),
        (body_of(msgpack.packb("x"), serializer=MSGPACK), "body: expected a list of 1 items, got a str"),
        (body_of(table(1)[:3], layout=EACH), "body: expected a table of 1 items, got 3 bytes"),
        (body_of(b"", layout=EACH, items=2**32 - 1), "body: expected a table of 4294967295 items, got 0 bytes"),
        (body_of(table(9) + NONE, layout=EACH), f"does not end where the {len(NONE)} bytes of data do"),
        (body_of(b"x", layout=EACH, items=0), "does not end where the 1 bytes of data do"),
        (body_of(table(3, 1, 4) + b"1234", layout=EACH, items=3), "body: item 1 is said to be at [3, 1) of 4"),
        (body_of(table(9, 4) + b"1234", layout=EACH, items=2), "body: item 0 is said to be at [0, 9) of 4"),
    ],
)
def test_a_malformed_body_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        payload.unpack(body)
    assert words in str(caught.value)


@pytest.mark.parametrize(("first", "last"), [(0, 4), (-1, 2), (2, 1), (4, None)])
def test_items_that_are_not_there_are_refused(first: int, last: int | None) -> None:
    (run,) = payload.pack([1, 2, 3])
    with pytest.raises(RemoteProtocolError, match=r"body: expected items -?\d to \d, got 3"):
        payload.unpack(run.body or b"", first=first, last=last)


def test_the_declared_size_is_checked_before_anything_is_decompressed() -> None:
    (run,) = payload.pack(["x" * 100_000], compression="lz4")
    with pytest.raises(RemoteProtocolError, match="body: expected at most 1000 bytes, got 10"):
        payload.unpack(run.body or b"", limits=Limits(message_bytes=1_000))


def test_an_empty_table_is_an_empty_body() -> None:
    assert payload.unpack(body_of(b"", layout=EACH, items=0)).values == []


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (msgpack.packb(msgpack.ExtType(3, b"")), "extension type 3 of 0 bytes is not one of ours"),
        (msgpack.packb(msgpack.ExtType(1, b"x")), "extension type 1 of 1 bytes is not one of ours"),
        (msgpack.packb([msgpack.ExtType(2, b""), 1, 2, 0]), "range() arg 3 must not be zero"),
        (msgpack.packb([msgpack.ExtType(2, b""), "a", "b", "c"]), "cannot be interpreted as an integer"),
        (msgpack.packb([msgpack.ExtType(2, b"")]), "range expected at least 1 argument"),
        (b"\x81\x90\x01", "unhashable type"),
        (b"\x91" * 2_000, "msgpack"),
        (b"\xa1\xff", "utf-8"),
    ],
)
def test_a_malformed_item_of_msgpack_harms_only_itself(item: bytes, why: str) -> None:
    body = body_of(table(len(item), len(item) + 1) + item + b"\x07", serializer=MSGPACK, layout=EACH, items=2)
    unpacked = payload.unpack(body)
    assert unpacked.values == [None, 7]
    assert type(unpacked.errors[0]) is SerializationError
    assert why in str(unpacked.errors[0])


# --- fuzz: pickles themselves are left alone, for a changed one may do anything


def unpack_anything(body: bytes) -> None:
    try:
        unpacked = payload.unpack(body, limits=Limits(message_bytes=100_000))
    except RemoteProtocolError:
        return
    assert len(unpacked.values) == payload.count_of(body)
    assert all(type(error) is SerializationError for error in unpacked.errors.values())


small = st.integers(0, 6)


@given(small, small, small, small, st.integers(0, 2**32 - 1) | small, st.none() | st.integers(0, 2**64 - 1))
def test_any_header(
    serializer: int, compressor: int, layout: int, form: int, items: int, raw_bytes: int | None
) -> None:
    data = table(len(NONE)) + NONE
    unpack_anything(body_of(data, serializer=serializer, compressor=compressor, layout=layout, form=form, items=items))
    unpack_anything(body_of(data, compressor=compressor, layout=EACH, items=items, raw_bytes=raw_bytes))


@given(st.lists(st.integers(0, 40), max_size=6), st.integers(0, 8))
def test_any_table(ends: list[int], items: int) -> None:
    unpack_anything(body_of(table(*ends) + NONE * 3, layout=EACH, items=items))


@given(st.binary(max_size=200), st.sampled_from((BULK, EACH)), small)
def test_any_msgpack(data: bytes, layout: int, items: int) -> None:
    unpack_anything(body_of(data, serializer=MSGPACK, layout=layout, items=items))


@given(st.data())
def test_mutated_msgpack(data: st.DataObject) -> None:
    value: list[Any] = [[1, (2, "three")], {"four": (5.0, b"6")}, range(7)]
    body = bytearray(payload.pack(value, serializer="msgpack")[0].body or b"")
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(16, len(body) - 1))] = data.draw(st.integers(0, 255))
    unpack_anything(bytes(body))
