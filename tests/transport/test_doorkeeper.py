"""Who is let in by a peer that has a key: nobody but who has it, and nobody at all where nobody can tell."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import zmq

from tests.mesh.chaos.hostile import malformed
from tests.mesh.strangers import connected_push
from tests.waiting import wait_until, wait_until_async
from zmqtasks.errors import BindError
from zmqtasks.messages import Address, Message, Query, SessionId
from zmqtasks.options import MIB, Limits
from zmqtasks.processes.usage import rss_bytes
from zmqtasks.transport.doorkeeper import ANSWERS_AT, Doorkeeper
from zmqtasks.transport.keyring import Keyring
from zmqtasks.transport.keys import KeyPair, new_pair
from zmqtasks.transport.network import ZmqNetwork
from zmqtasks.transport.push import PushLane
from zmqtasks.transport.refusals import Refusals
from zmqtasks.transport.sockets import bound_pull
from zmqtasks.transport.whereabouts import Whereabouts
from zmqtasks.wire import codec

MESH, OTHER = new_pair(), new_pair()
QUESTION = Query(SessionId(1, 1), ("0" * 16 + ":1",))
FRAME = codec.encode(QUESTION)


class House:
    """An inbox behind a key, and what came in."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.network = ZmqNetwork(self.loop, "a" * 16, "here", bind=("tcp://127.0.0.1:0",), keyring=Keyring(MESH))
        self.heard: list[Message] = []
        self.network.listen(lambda message, sender: self.heard.append(message))
        self.endpoint = self.network.address.endpoints[0]
        self.context = zmq.Context()

    def comes_in(self, pair: KeyPair | None, server: bytes | None = None, *, within_s: float = 0.3) -> bool:
        """Tell whether a message of somebody with these keys is heard."""
        before = len(self.heard)
        with connected_push(self.context, self.endpoint, pair, server) as socket:

            async def knock() -> bool:
                until = self.loop.time() + within_s
                while self.loop.time() < until:
                    try:
                        socket.send(FRAME, zmq.NOBLOCK)
                        break
                    except zmq.Again:
                        await asyncio.sleep(0.005)
                else:
                    return False
                await wait_until_async(lambda: len(self.heard) > before)
                return True

            return self.loop.run_until_complete(knock())

    def close(self) -> None:
        self.context.destroy(linger=0)
        self.network.close()
        self.loop.close()


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.close()


def test_who_has_the_key_comes_in_and_nobody_else(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert house.comes_in(MESH, within_s=5.0)
    for _ in range(2):
        assert not house.comes_in(None)
        assert not house.comes_in(OTHER)
        assert not house.comes_in(OTHER, MESH.public)
    assert house.comes_in(MESH, within_s=5.0)
    told = [message.partition(" (and ")[0] for message in caplog.messages]
    assert told.count(f"refused 127.0.0.1: its key {OTHER.public.hex()} is not known here") == 1
    assert sum(one.startswith("refused 127.0.0.1: it has the key of another mesh") for one in told) == 1
    assert len(told) == len(set(told))


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (OTHER, ("the key of this program is not known there",)),
        # Of a mismatch, whoever notices it second only sees the connection end.
        (None, ("one side has a key", "asks for a key that this program has not")),
    ],
)
def test_who_is_not_let_in_learns_why_and_tries_again(theirs: KeyPair | None, expected: tuple[str, ...]) -> None:
    """libzmq gives up after such a refusal; the other side may have learnt our key by then."""
    loop = asyncio.new_event_loop()
    told: list[tuple[str, bool]] = []
    stranger = ZmqNetwork(
        loop,
        "b" * 16,
        "there",
        keyring=Keyring(OTHER),
        on_refused=lambda endpoint, why, certain: told.append((why, certain)),
    )
    context = zmq.Context()
    keeper = Doorkeeper(context, Keyring(MESH), Refusals(loop.time))
    keeper.attend(loop)
    inbox, endpoints = bound_pull(context, ("tcp://127.0.0.1:0",), Limits(), theirs)
    wire = stranger.reach(Address("a" * 16, "here", endpoints))
    try:
        loop.run_until_complete(wait_until_async(lambda: len(told) >= 2, lambda: told))
        assert all(any(text in why for text in expected) for why, _ in told), told
        assert theirs is None or all(certain for _, certain in told), told
        if theirs is not None:
            keeper._keyring = Keyring(theirs)
            wire.send_control(QUESTION)
            loop.run_until_complete(wait_until_async(lambda: inbox.poll(0)))
    finally:
        wire.close()
        stranger.close()
        keeper.close()
        inbox.close()
        context.term()
        loop.close()


def test_a_refusal_that_comes_at_once_is_heard() -> None:
    """libzmq connects by itself: whoever is held up after `connect` may find that all is over."""
    loop = asyncio.new_event_loop()
    context = zmq.Context()
    keeper = Doorkeeper(context, Keyring(MESH), Refusals(loop.time))
    inbox, (endpoint,) = bound_pull(context, ("tcp://127.0.0.1:0",), Limits(), OTHER)
    ends = inbox.get_monitor_socket(zmq.Event.DISCONNECTED)

    class HeldUp(zmq.Socket[bytes]):
        def connect(self, addr: str) -> Any:
            connected = super().connect(addr)
            if addr == endpoint:  # and not the monitor's own
                wait_until(lambda: keeper.answer() or ends.poll(0))
            return connected

    knocking = zmq.Context()
    knocking._socket_class = HeldUp
    told: list[str] = []
    lane = PushLane(
        Whereabouts(loop, endpoint), knocking, None, None, Keyring(OTHER), lambda why, certain: told.append(why)
    )
    try:
        loop.run_until_complete(wait_until_async(lambda: told))
        assert told == ["the key of this program is not known there"]
    finally:
        lane.close(0.0)
        keeper.close()
        inbox.disable_monitor()
        ends.close()
        inbox.close()
        context.term()
        knocking.term()
        loop.close()


def test_strangers_at_the_door_keep_no_member_out(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """The short form of the scenario of that name in tests/mesh/chaos."""
    caplog.set_level(logging.WARNING)
    host, _, port = house.endpoint.removeprefix("tcp://").rpartition(":")
    where = (host, int(port))
    before = rss_bytes(os.getpid())
    with ExitStack() as silent:
        for _ in range(200):
            silent.enter_context(socket.create_connection(where))
        chance = random.Random(0)
        for _ in range(400):
            with contextlib.suppress(OSError), socket.create_connection(where) as sock:
                sock.sendall(malformed(chance))
            house.loop.run_until_complete(asyncio.sleep(0))
        assert house.comes_in(MESH, within_s=10.0)
        assert rss_bytes(os.getpid()) - before < 32 * MIB
    assert len(caplog.messages) <= 30


def test_where_nobody_answers_nobody_comes_in(house: House) -> None:
    assert house.network._door is not None
    assert house.network._door.doorkeeper is not None
    house.network._door.doorkeeper.close()
    assert not house.comes_in(MESH)
    assert not house.comes_in(OTHER, MESH.public)


def test_a_peer_does_not_start_where_strangers_are_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.new_event_loop()

    def start(endpoint: str = "tcp://127.0.0.1:0") -> None:
        ZmqNetwork(loop, "a" * 16, "here", bind=(endpoint,), keyring=Keyring(MESH)).close()

    for endpoint in ("tcp://127.0.0.1:0", "tcp://0.0.0.0:0", "tcp://[::1]:0", "tcp://[::]:0"):
        start(endpoint)
    with monkeypatch.context() as patch:
        patch.setattr(Doorkeeper, "_judge", lambda self, question: [*question[:4], b"200", b"OK", b"", b""])
        with pytest.raises(BindError, match="should have been refused, but it was let in"):
            start()
    with monkeypatch.context() as patch:
        patch.setattr("zmqtasks.transport.doorkeeper.ANSWERS_AT", "inproc://elsewhere")
        with pytest.raises(BindError, match="should have been refused, but nobody answered"):
            start()
    loop.close()


def test_a_question_that_is_none_is_answered_with_no(house: House) -> None:
    assert house.network._door is not None
    keeper = house.network._door.doorkeeper
    assert keeper is not None
    with keeper._context.socket(zmq.REQ) as asking:
        asking.connect(ANSWERS_AT)
        for mechanism in ([b"NULL"], [b"PLAIN", b"admin", b"secret"], [b"CURVE", MESH.public, b""]):
            asking.send_multipart([b"1.0", b"1", b"zmqtasks", b"127.0.0.1", b"", *mechanism])
            wait_until(lambda: keeper.answer() or asking.poll(1))
            assert asking.recv_multipart()[2] == b"400"
