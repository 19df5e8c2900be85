"""Large buffers beside their pickles: whatever holds them, they arrive as memory of their own."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmqtasks.errors import RemoteProtocolError
from zmqtasks.options import KIB, MIB
from zmqtasks.wire import codec, loans, payload
from zmqtasks.wire.bodies import HEAD_BYTES, Layout, head_of
from zmqtasks.wire.lending import LEND_BYTES, Pool
from zmqtasks.wire.loans import Loan
from zmqtasks.wire.payload import Form

HEAD = HEAD_BYTES


class Plane:
    """What holds a buffer, as an array does; `note` stays in the pickle."""

    def __init__(self, data: Any, note: object = None) -> None:
        self.data = data
        self.note = note

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Plane, (pickle.PickleBuffer(self.data), self.note)


def body_of(items: list[Any], **how: Any) -> Any:
    (run,) = payload.pack(items, **how)
    assert run.error is None
    return run.body


@pytest.mark.parametrize("lend", [False, True])
def test_large_buffers_arrive_and_can_be_written_to(lend: bool) -> None:
    pool = Pool() if lend and loans.AVAILABLE else None
    data = [bytearray(bytes([n]) * (100 * KIB + n)) for n in range(5)]
    body = body_of([Plane(part, n) for n, part in enumerate(data)], pool=pool)
    assert isinstance(body, Loan) == (pool is not None)
    found = payload.unpack(body, first=1, last=4).values
    assert [(bytes(memoryview(plane.data)), plane.note) for plane in found] == [
        (bytes(data[n]), n) for n in range(1, 4)
    ]
    memoryview(found[0].data)[0] = 255
    assert payload.unpack(body).values[1].data[0] == 1
    if pool:
        del body
        pool.close()


def test_the_layout_says_where_the_buffers_are() -> None:
    whole = body_of([Plane(bytearray(b"x" * 40_000)), "no buffer"])
    head = head_of(whole)
    assert (head.layout, head.items) == (Layout.APART, 2)
    assert whole.index(b"x" * 40_000) % 64 == 0
    assert payload.count_of(whole) == 2
    assert payload.unpack(whole).values[1] == "no buffer"


def test_small_buffers_and_those_in_pieces_stay_in_the_pickle() -> None:
    assert head_of(body_of([Plane(bytearray(100))])).layout is Layout.EACH
    striped = memoryview(bytearray(200_000)).cast("B", (400, 500))
    assert head_of(body_of([Plane(striped)])).layout is Layout.APART


def test_compressed_and_by_value_as_well() -> None:
    class Local(Plane):
        def __reduce_ex__(self, protocol: Any) -> Any:
            return (lambda data: bytes(data)), (pickle.PickleBuffer(self.data),)

    data = b"ab" * 50_000
    assert payload.unpack(body_of([Plane(bytearray(data))], compression="zlib")).values[0].data == data
    body = body_of([Local(bytearray(data))])
    assert payload.unpack(body).values == [data]


@pytest.mark.skipif(not loans.AVAILABLE, reason="memory files are of Linux")
@given(st.integers(0, 3), st.sampled_from([bytes, bytearray, str]))
def test_large_strings_are_lent_wherever_they_are(place: int, kind: Any) -> None:
    large = "é" * LEND_BYTES if kind is str else kind(b"x" * LEND_BYTES)
    item = [large, (large, 1), {"a": large}, [1, "__main__", (large,)]][place]
    pool = Pool()
    body = body_of([item], pool=pool)
    assert isinstance(body, Loan)
    assert payload.unpack(body).values == [item]
    del body
    pool.close()


def test_a_single_large_plain_item_is_one_body_and_may_be_too_big() -> None:
    assert payload.unpack(body_of([b"x" * 3 * MIB], cut_bytes=MIB)).values == [b"x" * 3 * MIB]
    (run,) = payload.pack([Plane(bytearray(MIB))], most_bytes=MIB)
    assert "largest message" in str(run.error)
    runs = payload.pack([Plane(bytearray(600 * KIB)), 1, Plane(bytearray(600 * KIB))], cut_bytes=MIB)
    assert [(run.start, run.stop) for run in runs] == [(0, 2), (2, 3)]


def test_tables_that_do_not_fit_are_malformed() -> None:
    whole = body_of([Plane(bytearray(40_000), "note"), 5])
    table = HEAD
    for at, value in ((table, b"\xff" * 4), (table + 8, b"\x00\x00\xff\xff"), (table + 16, b"\x00" * 8)):
        broken = bytearray(whole)
        broken[at : at + len(value)] = value
        with pytest.raises(RemoteProtocolError, match="buffers"):
            payload.unpack(bytes(broken))
    safe = bytearray(whole)
    safe[0] = 1
    with pytest.raises(RemoteProtocolError, match="only pickles"):
        payload.unpack(bytes(safe))


def test_an_item_that_cannot_be_opened_harms_only_itself() -> None:
    whole = bytearray(body_of([Plane(bytearray(40_000)), "good"]))
    start = whole.index(b"\x80\x05")
    whole[start] = 0
    found = payload.unpack(bytes(whole))
    assert found.values[1] == "good"
    assert list(found.errors) == [0]


@pytest.mark.skipif(not loans.AVAILABLE, reason="memory files are of Linux")
def test_a_lent_body_is_named_in_the_frame_or_copied_into_it() -> None:
    from tests.wire.samples import JOB, SESSION
    from zmqtasks.messages import Chunk, Tasks
    from zmqtasks.options import Limits

    pool = Pool()
    body = body_of([b"x" * LEND_BYTES], form=Form.ONE, pool=pool)
    assert isinstance(body, Loan)
    message = Tasks(SESSION, 1, (), (Chunk(JOB, 1, 0, 1, 0, b"small"), Chunk(JOB, 2, 1, 2, 1, body)))
    copied = codec.decode(codec.encode(message), Limits())
    assert isinstance(copied, Tasks)
    assert [bytes(memoryview(chunk.body)) for chunk in copied.chunks] == [b"small", body.read()]  # type: ignore[arg-type]

    import os

    frame = codec.encode(message, lend=lambda loan: (os.getpid(), loan.fd, loan.token))
    assert len(frame) < 1_000
    named = codec.decode(frame, Limits(), loans.borrow_by_name)
    assert isinstance(named, Tasks)
    assert payload.unpack(named.chunks[1].body).values == [b"x" * LEND_BYTES]
    with pytest.raises(RemoteProtocolError, match="nobody was told"):
        codec.decode(frame, Limits())
    with pytest.raises(RemoteProtocolError, match=r"chunk\.body length"):
        codec.decode(frame, Limits(message_bytes=1_000), loans.borrow_by_name)
    outside = codec.encode(message, lend=lambda loan: None)
    assert len(outside) > LEND_BYTES
    del body, message, named
    pool.close()
