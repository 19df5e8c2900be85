"""A program that sends inboxes what is useless, as fast as they take it, until it is killed.

    python -m tests.mesh.chaos.hostile KIND SEED TARGET ...     KIND: pushes, connections, unix, claims, silent-NUMBER

It runs at a lower priority than those it attacks, who share its cores: what is measured is what it costs them, not that
it takes the processor. Every half second it prints how many frames it has sent.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import cycle, islice
from pathlib import Path

import zmq

from tests.wire.mutations import Frames

NICE = 10
STOCK = 20_000
"""Different frames that are sent again and again: to make one takes longer than to send it."""
SEND_BYTES = 16 * 1024
"""What the kernel keeps of what is not taken: little, so that an attack ends soon after it was stopped."""
TELL_S = 0.5
UNIX_CONNECTIONS = 8
"""To each target: an inbox slows each by itself."""
BLOCKED_S = 2.0
"""A Unix connection that takes nothing for so long is made anew."""
GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL" + bytes(16) + b"\x00" + bytes(31)
"""Of ZMTP 3.0; source: rfc.zeromq.org/spec/23."""
READY = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x04PUSH"

Step = Callable[[], int]
"""Sends something, without waiting; returns how many frames."""


def main(kind: str, seed: int, targets: list[str]) -> None:
    """Send until killed."""
    os.nice(NICE)
    with contextlib.suppress(OSError):  # where each session of processes is a group to the scheduler: see sched(7)
        Path("/proc/self/autogroup").write_text(str(NICE))
    ways = targets * (UNIX_CONNECTIONS if kind == "unix" else 1)
    if kind.startswith("silent-"):
        each = -(-int(kind.removeprefix("silent-")) // len(ways))
        steps = [silent(target, each) for target in ways]
    else:
        steps = [_KINDS[kind](target, seed + number) for number, target in enumerate(ways)]
    sent, told_at = 0, 0.0
    for step in cycle(steps):
        sent += step()
        if time.monotonic() - told_at > TELL_S:
            told_at = time.monotonic()
            print(sent, flush=True)


def pushes(target: str, seed: int) -> Step:
    """Push malformed and foreign frames over a sound connection, some in several parts."""
    pushing = zmq.Context.instance().socket(zmq.PUSH)
    pushing.sndbuf, pushing.sndhwm = SEND_BYTES, 100
    pushing.connect(target)
    frames, chance = _stock(seed), random.Random(seed)

    def step() -> int:
        for number in range(100):
            more = zmq.SNDMORE if chance.random() < 0.02 else 0
            try:
                pushing.send(next(frames), zmq.NOBLOCK | more)
            except zmq.Again:
                time.sleep(0.001)
                return number
            if more:
                pushing.send(b"")
        return 100

    return step


def connections(target: str, seed: int) -> Step:
    """Connect, say something that is no ZMTP, or stops being it, and leave."""
    host, _, port = target.removeprefix("tcp://").rpartition(":")
    chance = random.Random(seed)

    def step() -> int:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1.0) as sock:
            sock.sendall(malformed(chance))
        return 1

    return step


def silent(target: str, number: int) -> Step:
    """Connect and say nothing, to so many; one that is closed comes again. Only the first ones count."""
    host, _, port = target.removeprefix("tcp://").rpartition(":")
    coming: list[socket.socket] = []

    def step() -> int:
        if len(coming) < number:
            with contextlib.suppress(OSError):
                coming.append(socket.create_connection((host, int(port)), 5.0))
                coming[-1].setblocking(False)
                return 1
            return 0
        time.sleep(0.05)
        for place, sock in enumerate(coming):
            with contextlib.suppress(BlockingIOError):
                try:
                    if sock.recv(4096):  # its greeting
                        continue
                except ConnectionResetError:
                    pass
                sock.close()
                coming[place] = socket.create_connection((host, int(port)), 5.0)
                coming[place].setblocking(False)
        return 0

    return step


def claims(target: str, seed: int) -> Step:
    """Greet, begin a frame of 1 GiB or a message of many frames, and go on a little, over connections that stay."""
    host, _, port = target.removeprefix("tcp://").rpartition(":")
    chance = random.Random(seed)
    begun: list[socket.socket] = []

    def step() -> int:
        with contextlib.suppress(OSError):
            begun.append(socket.create_connection((host, int(port)), 5.0))
            begun[-1].setblocking(False)
            huge = b"\x02" + struct.pack(">Q", 1 << 30) + bytes(4096)
            part = b"\x03" + struct.pack(">Q", 65_536) + bytes(65_536)
            begun[-1].send(GREETING + READY + (huge if chance.random() < 0.5 else part))
        if len(begun) > 200:
            begun.pop(0).close()
        time.sleep(0.005)
        return 1

    return step


def malformed(chance: random.Random) -> bytes:
    changed = bytearray(GREETING + READY)
    match chance.randrange(5):
        case 0:
            return chance.randbytes(chance.randrange(1, 200))
        case 1:
            return bytes(changed[: chance.randrange(1, len(changed))])
        case 2:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
            return bytes(changed)
        case 3:  # a frame that claims more than there will ever be
            return bytes(changed) + b"\x02" + struct.pack(">Q", chance.choice((2**31, 2**40, 2**63, 2**64 - 1))) + b"x"
        case _:  # a command that is none
            return bytes(changed) + b"\x04\x05\x04JUNK" + chance.randbytes(50)


def unix(target: str, seed: int) -> Step:
    """Send frames over a Unix socket: malformed, foreign, cut short, and some that claim to be huge."""
    frames, chance = _stock(seed), random.Random(seed)
    sock, rest, moved_at = socket.socket(socket.AF_UNIX), memoryview(b""), 0.0

    def step() -> int:
        nonlocal sock, rest, moved_at
        sent = 0
        try:
            if time.monotonic() - moved_at > BLOCKED_S or chance.random() < 0.001:
                sock.close()
                sock, rest = socket.socket(socket.AF_UNIX), memoryview(b"")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
                sock.connect(target)
                sock.setblocking(False)
                moved_at = time.monotonic()
            for _ in range(20):
                if not rest:
                    huge = chance.random() < 0.001
                    frame = next(frames)
                    length = chance.choice((2**29, 2**40, 2**64 - 1)) if huge else len(frame)
                    rest = memoryview(struct.pack(">Q", length) + frame)
                    if huge:  # and then nothing more comes
                        sock.send(rest, socket.MSG_NOSIGNAL)
                        moved_at = 0.0
                        return sent
                rest = rest[sock.send(rest, socket.MSG_NOSIGNAL) :]
                moved_at = time.monotonic()
                sent += not rest
        except BlockingIOError:
            time.sleep(0.001)
        except OSError:  # we were cut off
            moved_at = 0.0
            time.sleep(0.001)
        return sent

    return step


@cache
def _all_frames() -> list[bytes]:
    return list(islice(Frames(0), STOCK))


def _stock(seed: int) -> Iterator[bytes]:
    start = random.Random(seed).randrange(STOCK)
    return cycle([*_all_frames()[start:], *_all_frames()[:start]])


_KINDS: dict[str, Callable[[str, int], Step]] = {
    "pushes": pushes,
    "connections": connections,
    "unix": unix,
    "claims": claims,
}

if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
