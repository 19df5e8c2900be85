"""An inbox under a flood of what is useless: it costs little, takes no memory, and others are heard."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median

import pytest
import zmq

from tests.waiting import wait_until_async
from tests.wire.mutations import Frames
from tests.wire.samples import SAMPLES
from zmqtasks.machines.patience import BURST
from zmqtasks.messages import Message, Query
from zmqtasks.options import MIB
from zmqtasks.processes.usage import rss_bytes
from zmqtasks.transport.local import MOST_UNPROVEN
from zmqtasks.transport.network import ZmqNetwork
from zmqtasks.wire import codec

FLOOD = 4_000


class Place:
    """An inbox for this host and for others, which wants nothing but what a `Query` asks."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.network = ZmqNetwork(self.loop, "a" * 16, "here", bind=("tcp://127.0.0.1:0",), folder=folder)
        self.heard: list[Message] = []
        self.network.listen(self._hear)
        self.path = str(folder / ("a" * 16))
        self.tcp = next(e for e in self.network.address.endpoints if e.startswith("tcp"))
        local = self.network._local
        assert local is not None
        assert local._intake is not None
        self.local = local
        self.intake = local._intake
        self.context = zmq.Context()

    def _hear(self, message: Message, sender: object) -> bool:
        if isinstance(message, Query):
            self.heard.append(message)
        return isinstance(message, Query)

    def until_heard(self, number: int) -> None:
        self.loop.run_until_complete(
            wait_until_async(lambda: len(self.heard) >= number, lambda: (len(self.heard), self.intake), 30.0)
        )

    @property
    def useless(self) -> int:
        return self.intake.malformed + self.intake.strays

    def until(self, condition: Callable[[], object]) -> None:
        self.loop.run_until_complete(wait_until_async(condition, lambda: self.intake, 30.0))

    def until_ended(self, sock: socket.socket) -> None:
        """Wait until the other side has closed."""
        sock.setblocking(False)

        def ended() -> bool:
            try:
                return sock.recv(1) == b""
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True

        self.loop.run_until_complete(wait_until_async(ended))

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.path)
        return sock

    def push(self) -> zmq.Socket[bytes]:
        pushing = self.context.socket(zmq.PUSH)
        pushing.linger = 0
        pushing.connect(self.tcp)
        return pushing

    def close(self) -> None:
        self.context.destroy(linger=0)
        self.network.close()
        self.loop.close()


@pytest.fixture
def place(temporary: Path) -> Iterator[Place]:
    place = Place(temporary)
    yield place
    place.close()


def framed(frame: bytes) -> bytes:
    return len(frame).to_bytes(8, "big") + frame


USEFUL = codec.encode(SAMPLES["query"])
USELESS = [frame for frame in islice(Frames(3), FLOOD) if b"query" not in frame]


def test_who_floods_over_a_unix_socket_is_slowed_and_others_are_heard(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with place.connect() as hostile, place.connect() as sound:
        hostile.setblocking(False)
        assert hostile.send(b"".join(map(framed, USELESS[:1_000]))) > 10_000
        sound.sendall(framed(USEFUL) * 100)
        place.until_heard(100)
        # Within 10 s no more than this: the burst, and one for each pause.
        assert place.intake.malformed + place.intake.strays <= BURST + 200 + 100
    assert len(caplog.records) <= 3


def test_who_floods_over_tcp_is_slowed_and_others_are_heard(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    assert place.network._door is not None
    inbox = place.network._door.inbox
    assert inbox is not None
    with place.push() as hostile, place.push() as sound:
        for frame in USELESS:
            hostile.send(frame)
        for _ in range(100):
            sound.send(USEFUL)
        place.until_heard(100)
        taken = inbox._intake.malformed + inbox._intake.strays
        assert taken < len(USELESS), "all of the flood was read before others were heard"
    assert len(caplog.records) <= 4


def test_beside_a_flood_over_tcp_whoever_sends_next_is_heard_next(place: Place) -> None:
    assert place.network._door is not None
    inbox = place.network._door.inbox
    assert inbox is not None
    taken = []
    with place.push() as hostile, place.push() as sound:
        for frame in USELESS:
            hostile.send(frame)
        for number in range(1, 10):
            seen = max(BURST, place.useless)
            place.until(lambda seen=seen: place.useless > seen + 5)  # nor has the sound connection anything left
            before = place.useless
            sound.send(USEFUL)
            select.select([inbox._descriptor], [], [], 1.0)  # it has come; we have read nothing meanwhile
            place.until_heard(number)
            taken.append(place.useless - before)
    # ZeroMQ would look at this connection at each 100th frame of the other.
    assert median(taken) <= 40, taken  # some of them while we wait for the next look


def test_while_an_inbox_pauses_what_comes_does_not_wake_it(place: Place) -> None:
    assert place.network._door is not None
    inbox = place.network._door.inbox
    assert inbox is not None
    with place.push() as hostile:
        for frame in USELESS[: BURST + 200]:
            hostile.send(frame)
        place.until(lambda: inbox._pausing)
        assert not place.loop.remove_reader(inbox._descriptor)
        # And goes on afterwards.
        with place.push() as sound:
            sound.send(USEFUL)
            place.until_heard(1)
            place.until(lambda: not inbox._pausing)
            sound.send(USEFUL)
            place.until_heard(2)


def test_the_parts_of_a_message_of_several_frames_are_dropped_one_by_one(place: Place) -> None:
    assert place.network._door is not None
    inbox = place.network._door.inbox
    assert inbox is not None
    with place.push() as hostile:
        hostile.send_multipart([USEFUL] * 20)
        hostile.send(USEFUL)
        place.until_heard(1)
    assert inbox._intake.malformed == 20
    assert len(place.heard) == 1


def test_the_claim_of_a_large_frame_takes_no_memory(place: Place) -> None:
    before = rss_bytes(os.getpid())
    claims = [place.connect() for _ in range(8)]
    for claim in claims:
        claim.sendall((256 * MIB).to_bytes(8, "big") + bytes(100_000))
    with place.connect() as sound:
        sound.sendall(framed(USEFUL))
        place.until_heard(1)
    for claim in claims:
        claim.close()
    assert rss_bytes(os.getpid()) - before < 100 * MIB


def test_a_large_frame_comes_whole(place: Place) -> None:
    frame = codec.encode(Query(SAMPLES["query"].session, ("j" * 255,) * 12_000))
    with place.connect() as sound:
        sound.setblocking(False)
        rest = memoryview(framed(frame))
        while rest:
            try:
                rest = rest[sound.send(rest) :]
            except BlockingIOError:
                place.loop.run_until_complete(asyncio.sleep(0))
        place.until_heard(1)
    assert codec.encode(place.heard[0]) == frame


def test_of_silent_connections_the_oldest_is_closed(place: Place) -> None:
    with place.connect() as sound, place.connect() as oldest:
        sound.sendall(framed(USEFUL))
        place.until_heard(1)
        silent = []
        for _ in range(MOST_UNPROVEN + 10):
            silent.append(place.connect())
            place.loop.run_until_complete(asyncio.sleep(0))
        place.until_ended(oldest)
        sound.sendall(framed(USEFUL))
        place.until_heard(2)
        assert len(place.local._connections) <= MOST_UNPROVEN + 1
        for one in silent:
            one.close()


def test_a_frame_above_the_limit_ends_its_connection(place: Place) -> None:
    with place.connect() as hostile:
        hostile.sendall((2**63).to_bytes(8, "big") + b"x" * 100)
        place.until_ended(hostile)
    assert place.intake.malformed == 1
