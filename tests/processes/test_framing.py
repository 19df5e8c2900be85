"""Frames out of a byte stream, however it is cut, and the two ends that use them."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.waiting import wait_until_async
from zmqtasks.errors import LocalProtocolError, RemoteProtocolError
from zmqtasks.options import MIB, Limits
from zmqtasks.processes.channel import Channel
from zmqtasks.processes.framing import (
    MOST_BYTES,
    MOST_FDS,
    FrameKind,
    FrameReader,
    Passed,
    SupervisorGone,
    WorkerEnd,
    frame_head,
    inner_limits,
)
from zmqtasks.wire.lending import Pool
from zmqtasks.wire.loans import borrowed

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@given(bodies=st.lists(st.binary(max_size=200), max_size=8), cuts=st.lists(st.integers(1, 300), min_size=1))
def test_frames_survive_any_cut(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(frame_head(FrameKind.RESULTS, body) + body for body in bodies)
    reader, seen = FrameReader(200), []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for turn in range(len(stream)):
            piece, stream = stream[: cuts[turn % len(cuts)]], stream[cuts[turn % len(cuts)] :]
            if not piece:
                break
            theirs.sendall(piece)
            seen += reader.receive(ours) or []
        theirs.close()
        while (frames := reader.receive(ours)) is not None:
            seen += frames
    assert [(kind, bytes(body)) for kind, body in seen] == [(FrameKind.RESULTS, body) for body in bodies]


def test_a_torn_tail_is_dropped(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(frame_head(FrameKind.READY, b"") + frame_head(FrameKind.RESULTS, b"whole")[:3])
    theirs.close()
    reader = FrameReader(100)
    assert reader.receive(ours) == [(FrameKind.READY, b"")]
    assert reader.receive(ours) is None


@pytest.mark.parametrize("head", [struct.pack(">IB", 101, 5), struct.pack(">IB", 1, 77)], ids=["too large", "no kind"])
def test_what_is_no_frame_is_refused(pair: Pair, head: bytes) -> None:
    ours, theirs = pair
    theirs.sendall(head)
    with pytest.raises(RemoteProtocolError, match="not a frame"):
        FrameReader(100).receive(ours)


def test_limits_inside_a_node_fit_the_length() -> None:
    assert inner_limits(Limits()).message_bytes > Limits().message_bytes
    assert inner_limits(Limits(message_bytes=2**32)).message_bytes == MOST_BYTES


def test_a_body_beyond_the_length_is_a_defect() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 2**32

    with pytest.raises(LocalProtocolError, match="32 bits"):
        frame_head(FrameKind.TASKS, Huge())


def test_the_worker_end_notices_that_it_is_alone(pair: Pair) -> None:
    ours, theirs = pair
    end = WorkerEnd(theirs)
    ours.close()
    with pytest.raises(SupervisorGone):
        end.receive()
    with pytest.raises(SupervisorGone):
        end.send(FrameKind.READY)


class Ends:
    """A channel on a loop, and the worker's end of it."""

    def __init__(self, most_bytes: int = 200 * MIB) -> None:
        self.loop = asyncio.new_event_loop()
        ours, theirs = socket.socketpair()
        self.theirs = theirs
        self.worker = WorkerEnd(theirs)
        self.frames: list[tuple[FrameKind, bytes]] = []
        self.ended: list[RemoteProtocolError | None] = []
        self.channel = Channel(self.loop, ours, most_bytes=most_bytes, on_frame=self.take, on_ended=self.ended.append)
        self.channel.open()

    def take(self, kind: FrameKind, body: object) -> None:
        self.frames.append((kind, bytes(body)))  # type: ignore[call-overload]

    def turn(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0))

    def close(self) -> None:
        self.channel.close()
        self.theirs.close()
        self.loop.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.close()


def test_sending_never_waits(ends: Ends) -> None:
    body = b"x" * (20 * MIB)
    for _ in range(5):
        ends.channel.send(FrameKind.TASKS, body)
    assert ends.channel.backlog_bytes > 95 * MIB
    received: list[int] = []
    reader = threading.Thread(target=lambda: received.extend(len(ends.worker.receive()[1]) for _ in range(5)))
    reader.start()
    ends.loop.run_until_complete(wait_until_async(lambda: not reader.is_alive()))
    assert received == [len(body)] * 5
    assert ends.channel.backlog_bytes == 0


def test_large_and_small_frames_arrive_in_order(ends: Ends) -> None:
    bodies = [b"a", b"b" * (60 * MIB), b"", b"c" * 70_000]
    writer = threading.Thread(target=lambda: [ends.worker.send(FrameKind.RESULTS, body) for body in bodies])
    writer.start()
    ends.loop.run_until_complete(wait_until_async(lambda: len(ends.frames) == 4))
    writer.join()
    assert [body for _, body in ends.frames] == bodies


def test_the_end_is_told_once_and_after_the_last_frame(ends: Ends) -> None:
    ends.worker.send(FrameKind.READY)
    ends.theirs.close()
    ends.loop.run_until_complete(wait_until_async(lambda: ends.ended))
    ends.turn()
    assert ends.frames == [(FrameKind.READY, b"")]
    assert ends.ended == [None]
    ends.channel.send(FrameKind.STOP)  # dropped
    assert ends.channel.backlog_bytes == 0


def test_a_reset_counts_as_the_end(ends: Ends) -> None:
    ends.channel.send(FrameKind.TASKS, b"never read")
    ends.worker.send(FrameKind.READY)
    ends.theirs.close()
    ends.loop.run_until_complete(wait_until_async(lambda: ends.ended))
    assert ends.frames == [(FrameKind.READY, b"")]


def test_sending_to_the_dead_harms_nothing(ends: Ends) -> None:
    ends.worker.send(FrameKind.READY)
    ends.theirs.close()
    ends.channel.send(FrameKind.TASKS, b"lost")
    assert ends.channel.backlog_bytes == 0
    ends.loop.run_until_complete(wait_until_async(lambda: ends.ended))
    assert ends.frames == [(FrameKind.READY, b"")]


def test_draining_takes_what_is_there_and_closes(ends: Ends) -> None:
    ends.worker.send(FrameKind.READY)
    ends.worker.send(FrameKind.RESULTS, b"r" * 1000)
    ends.channel.drain()  # the other end is still open: a descendant may hold it
    assert [kind for kind, _ in ends.frames] == [FrameKind.READY, FrameKind.RESULTS]
    assert ends.ended == []


def test_what_is_no_frame_ends_it_with_the_error(ends: Ends) -> None:
    ends.theirs.sendall(b"\xff" * 64)
    ends.loop.run_until_complete(wait_until_async(lambda: ends.ended))
    assert isinstance(ends.ended[0], RemoteProtocolError)


def test_a_handler_may_close(ends: Ends) -> None:
    ends.channel._on_frame = lambda *_: ends.channel.close()
    ends.worker.send(FrameKind.READY)
    ends.worker.send(FrameKind.READY)
    ends.loop.run_until_complete(wait_until_async(lambda: not ends.channel._open))
    assert ends.ended == []


def test_descriptors_of_loans_go_with_their_frames(pair: Pair) -> None:
    ours, theirs = pair
    pool, passed = Pool(), Passed()
    loan = pool.write([b"body"])
    assert loan is not None
    assert passed.lend(loan) == (0, 0, loan.token)
    end, reader = WorkerEnd(theirs), FrameReader(100)
    end.send(FrameKind.RESULTS, b"one", passed.fds)
    end.send(FrameKind.RESULTS, b"two", passed.fds)
    assert reader.receive(ours) == [(FrameKind.RESULTS, b"one")]
    assert borrowed(reader.take_fd(), 4, loan.token).read() == b"body"
    with pytest.raises(RemoteProtocolError, match="no descriptor"):
        reader.take_fd()
    reader.receive(ours)
    reader.close()  # with the second, which nobody asked for
    passed.fds *= MOST_FDS
    assert passed.lend(loan) is None
    del loan
    pool.close()


def test_a_channel_sends_descriptors_between_other_frames(pair: Pair) -> None:
    pool = Pool()
    loan = pool.write([b"body"])
    assert loan is not None
    ours, theirs = pair
    large = bytes(4 * MIB)

    async def send() -> None:
        channel = Channel(
            asyncio.get_running_loop(),
            ours,
            most_bytes=100,
            on_frame=lambda kind, body: None,
            on_ended=lambda error: None,
        )
        for place in range(3):
            channel.send(FrameKind.TASKS, large)
            channel.send(FrameKind.TASKS, bytes([place]), [loan.fd])
        await wait_until_async(lambda: channel.backlog_bytes == 0, lambda: str(channel.backlog_bytes))
        channel.close()

    sender = threading.Thread(target=asyncio.run, args=(send(),))
    sender.start()
    end = WorkerEnd(theirs)
    for place in range(3):
        assert end.receive() == (FrameKind.TASKS, large)
        assert bytes(end.receive()[1]) == bytes([place])
        assert end.borrow(0, 0, loan.token, 4).read() == b"body"
    sender.join()
    pool.close()
