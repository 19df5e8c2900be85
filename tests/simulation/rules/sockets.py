"""Rule 9 and the two connections, shown on real sockets; a simulated network only behaves as if they were so."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import zmq

from tests.simulation.rules.rule import Patch, Rule
from tests.testing.worlds import Listener, RealWorld
from tests.waiting import wait_until
from zmqtasks.messages import Cancel, Outcome, OutcomeKind, Range, Results, SessionId
from zmqtasks.options import KIB
from zmqtasks.transport import sockets
from zmqtasks.transport.outlet import Outlet
from zmqtasks.transport.push import PushLane
from zmqtasks.transport.whereabouts import Whereabouts
from zmqtasks.wire import codec

Socket = zmq.Socket
FRAME = bytes(64 * KIB)
BULK = 300
BEAT = bytes(64)
READERS = 4
"""A kernel that is told of the end of a connection may hand out what it has first, or drop it: one of them does."""
ENOUGH = 5_000
"""Frames: more than any high-water mark, and than the kernel takes."""


@contextmanager
def lane_to_a_reader(most: int | None = None) -> Iterator[tuple[PushLane, Any, zmq.Context[Any]]]:
    """Lend a lane, the bound socket at its other end that takes one message by itself, and the lane's context."""
    loop, own, other = asyncio.new_event_loop(), sockets.new_context(), zmq.Context()
    reader = other.socket(zmq.PULL)
    reader.rcvhwm = 1
    port = reader.bind_to_random_port("tcp://127.0.0.1")
    lane = PushLane(Whereabouts(loop, f"tcp://127.0.0.1:{port}"), own, None, most)
    try:
        wait_until(lambda: lane.offer(b"first"))
        yield lane, reader, own
    finally:
        other.destroy(linger=0)
        own.destroy(linger=0)
        loop.close()


def nothing_waits_for_a_peer_that_comes_later() -> None:
    """Heartbeats for a peer that is not there are out of date when it comes; the sender keeps the last few itself."""
    with tempfile.TemporaryDirectory() as folder:
        world = RealWorld(Path(folder), "ipc")
        try:
            source = world.join("a")
            wire = source.reach(world.address("b"))
            for number in range(100):
                wire.send_control(Cancel(SessionId(1, 1), (Range("job", number, number + 1),)))
            world.pass_time()
            target = Listener(world.join("b"))
            world.until(lambda: target.heard)
            world.until(lambda: any(isinstance(m, Cancel) and m.ranges[0].start == 99 for m in target.heard))
            assert len(target.heard) <= 16, f"{len(target.heard)} messages had waited"
            wire.close()
        finally:
            world.close()


def control_passes_by_bulk() -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = RealWorld(Path(folder), "ipc")
        try:
            target, source = Listener(world.join("b")), world.join("a")
            wire = source.reach(target.network.address)
            beat = Cancel(SessionId(1, 1), (Range("job", 0, 1),))
            wire.send_control(beat)
            world.until(lambda: target.heard)
            outcomes = (Outcome("job", 1, "a", 0, 1, OutcomeKind.OK, 0.0, FRAME),)
            for number in range(1, BULK + 1):
                wire.send_bulk(Results(SessionId(1, 1), number, outcomes))
            wire.send_control(beat)
            world.until(lambda: len(target.heard) == BULK + 2)
            place = max(place for place, message in enumerate(target.heard) if isinstance(message, Cancel))
            assert place <= BULK, f"a heartbeat waited behind {BULK} messages of bulk"
            wire.close()
        finally:
            world.close()


def a_send_never_blocks() -> None:
    with lane_to_a_reader() as (lane, _, _):
        lane._socket.sndtimeo = 1000
        waits: list[float] = []
        while len(waits) < 3:
            with suppress(zmq.Again):
                while True:
                    lane._socket.send(FRAME, zmq.NOBLOCK)
            began = time.monotonic()
            if not lane.offer(FRAME):
                waits.append(time.monotonic() - began)
        assert min(waits) < 0.9, f"a send waited {min(waits):.1f} s for a peer that does not read"


def a_peer_that_does_not_read_holds_nobody_up() -> None:
    with lane_to_a_reader() as (lane, reader, own):
        while lane.offer(FRAME):
            pass
        lane.close(0.0)
        ending = threading.Thread(target=own.term, daemon=True)
        ending.start()
        ending.join(1.5)
        held_up = ending.is_alive()
        reader.close(linger=0)
        ending.join()
        assert not held_up, "the end of a peer waited for another that does not read"


def a_goodbye_leaves_the_host() -> None:
    with lane_to_a_reader() as (lane, reader, own):
        sent = 1
        while lane.offer(FRAME):
            sent += 1
        lane.close(30.0)
        ending = threading.Thread(target=own.term, daemon=True)
        ending.start()
        reader.rcvtimeo = 1000
        read = 0
        with suppress(zmq.Again):
            while reader.recv():
                read += 1
        ending.join()
        assert read == sent, f"{sent} messages were sent before the end, and {read} arrived"


def a_slow_link_refuses_early() -> None:
    with lane_to_a_reader(most=8) as (lane, _, _):
        taken = 0
        while taken < ENOUGH and lane.offer(FRAME):
            taken += 1
        assert taken < ENOUGH, f"{taken} messages of {len(FRAME)} bytes were taken for a peer that reads none"


READER = """
import sys, zmq
from zmqtasks.options import Limits
from zmqtasks.transport import sockets
pull, (endpoint,) = sockets.bound_pull(sockets.new_context(), ("tcp://127.0.0.1:0",), Limits())
print(endpoint, flush=True)
count = 0
while pull.recv() != b"end":
    count += 1
print(count, flush=True)
"""


def a_link_that_is_silent_for_a_moment_loses_nothing() -> None:
    """Readers are stopped for 4 s, and the sender goes on, with what the kernel has room for."""
    children = [
        subprocess.Popen([sys.executable, "-c", READER], stdout=subprocess.PIPE, text=True) for _ in range(READERS)
    ]
    loop, context = asyncio.new_event_loop(), sockets.new_context()
    try:
        lanes = [PushLane(Whereabouts(loop, _line(child)), context, None, None) for child in children]
        for lane in lanes:
            wait_until(lambda lane=lane: lane.offer(BEAT))  # type: ignore[misc]
        for child in children:
            os.kill(child.pid, signal.SIGSTOP)
        sent, until = READERS, time.monotonic() + 4.0
        while time.monotonic() < until:
            sent += sum([lane.offer(BEAT) for lane in lanes])
            threading.Event().wait(0.005)
        for child in children:
            os.kill(child.pid, signal.SIGCONT)
        for lane in lanes:
            wait_until(lambda lane=lane: lane.offer(b"end"), timeout_s=10.0)  # type: ignore[misc]
        lost = sent - sum(int(_line(child)) for child in children)
        assert not lost, f"{lost} of {sent} messages were lost"
    finally:
        for child in children:
            child.kill()
            child.communicate()
        context.destroy(linger=0)
        loop.close()


def _line(child: subprocess.Popen[str]) -> str:
    assert child.stdout
    return child.stdout.readline().strip()


# How they are switched off


def _one_connection() -> tuple[Patch, ...]:
    def send_control(self: Any, message: Any) -> None:
        (self._bulk or self._control).send(codec.encode(message))

    return ((Outlet, "send_control", send_control),)


def _without(option: int) -> tuple[Patch, ...]:
    original = Socket.setsockopt

    def setsockopt(self: Any, name: int, value: Any) -> None:
        if name != option:
            original(self, name, value)

    return ((sockets.zmq.Socket, "setsockopt", setsockopt),)


def _blocking() -> tuple[Patch, ...]:
    def offer(self: Any, frame: bytes) -> bool:
        try:
            self._socket.send(frame)
        except zmq.Again:
            return False
        return True

    return ((PushLane, "offer", offer),)


def _closing_with(linger_s: float) -> tuple[Patch, ...]:
    original = PushLane.close

    def close(self: PushLane, linger: float) -> None:
        original(self, linger_s)

    return ((PushLane, "close", close),)


def _unmarked() -> tuple[Patch, ...]:
    original = sockets.push_socket
    from zmqtasks.transport import push

    def unbounded(context: Any, pair: Any = None, server: bytes | None = None, most: int = 0) -> Any:
        return original(context, pair, server, 0)

    return ((push, "push_socket", unbounded),)


def _tight_heartbeat() -> tuple[Patch, ...]:
    original = Socket.setsockopt
    tight = {zmq.HEARTBEAT_IVL: 500, zmq.HEARTBEAT_TIMEOUT: 1500}

    def setsockopt(self: Any, name: int, value: Any) -> None:
        original(self, name, tight.get(name, value))

    return ((sockets.zmq.Socket, "setsockopt", setsockopt),)


RULES = tuple(replace(rule, is_quick=False) for rule in (
    Rule("0a", "Control has a connection of its own", "Outlet sends it behind the bulk",
         _one_connection, control_passes_by_bulk),
    Rule("9a", "A socket takes messages only while its connection stands: IMMEDIATE", "It is not set",
         lambda: _without(zmq.IMMEDIATE), nothing_waits_for_a_peer_that_comes_later),
    Rule("9b", "No send waits: DONTWAIT", "PushLane sends without it", _blocking, a_send_never_blocks),
    Rule("9c", "What is closed without a word is gone at once: LINGER 0", "PushLane lingers for ever",
         lambda: _closing_with(-0.001), a_peer_that_does_not_read_holds_nobody_up),
    Rule("9d", "A goodbye has a bounded time to leave the host", "PushLane never lingers",
         lambda: _closing_with(0.0), a_goodbye_leaves_the_host),
    Rule("9e", "A socket takes a bounded number of messages: HWM", "It takes any number",
         _unmarked, a_slow_link_refuses_early),
    Rule("9f", "ZMTP heartbeats are long", "They are tight: 0.5 s, time-out 1.5 s",
         _tight_heartbeat, a_link_that_is_silent_for_a_moment_loses_nothing),
))  # fmt: skip
