"""Frames that nobody sound would send: valid ones changed at random, repeatably, and some built to cost much.

Owns how they are made. Called by `test_mutations.py` and by the scenario `frames` of the chaos programs.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import msgpack

from tests.wire.samples import SAMPLES
from zmqtasks.errors import RemoteProtocolError
from zmqtasks.messages import Hello, Message, SessionId
from zmqtasks.options import Limits
from zmqtasks.records import replace
from zmqtasks.wire import codec
from zmqtasks.wire.loans import borrow_by_name

LENGTHS = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
NUMBERS = (-(2**63), -1, 0, 1, 255, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
ODD: tuple[Any, ...] = (None, True, 0.5, float("nan"), float("inf"), "", "x" * 300, b"", b"\xff", [], {}, [[[[]]]])
BOMBS = (
    b"\xdd\xff\xff\xff\xff",  # an array of 2**32 - 1 entries
    b"\xdf\xff\xff\xff\xff",  # a map of as many
    b"\xc6\xff\xff\xff\xff",  # 4 GiB of bytes
    b"\xdb\xff\xff\xff\xff",  # a string of as many
    b"\x91" * 2_000,  # nested
    b"\x81\xa1t" * 600,
    b"\x81\xa1t\xc9\xff\xff\xff\xff\x01",  # an extension
    b"\xdc\x10\x00" * 300,  # arrays of 4,096, each in the first place of another
)


class Frames:
    """Malformed frames without end, the same ones for the same seed.

    Args:
        seed: of all choices.
        sessions: that sound frames are said to belong to; those of nobody if empty.
    """

    def __init__(self, seed: int, sessions: tuple[SessionId, ...] = ()) -> None:
        self._chance = random.Random(seed)
        self._sessions = sessions
        # A HELLO in order would open the session that the other frames are of: that is no useless frame.
        apart = SessionId(7, 7)
        sound = [replace(m, session=apart) if isinstance(m, Hello) else m for m in SAMPLES.values()]
        self._sound = [codec.encode(message) for message in sound]
        self._ways: tuple[Callable[[bytes], bytes], ...] = (
            self._flipped,
            self._cut,
            self._spliced,
            self._lengthened,
            self._field_changed,
            self._counted_wrong,
            self._bombed,
            self._noise,
            self._foreign,
        )

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield self._chance.choice(self._ways)(self._chance.choice(self._sound))

    def _flipped(self, frame: bytes) -> bytes:
        changed = bytearray(frame)
        for _ in range(self._chance.randint(1, 8)):
            changed[self._chance.randrange(len(changed))] ^= 1 << self._chance.randrange(8)
        return bytes(changed)

    def _cut(self, frame: bytes) -> bytes:
        return frame[: self._chance.randrange(len(frame))]

    def _spliced(self, frame: bytes) -> bytes:
        other = self._chance.choice(self._sound)
        return frame[: self._chance.randrange(len(frame))] + other[self._chance.randrange(len(other)) :]

    def _lengthened(self, frame: bytes) -> bytes:
        length = self._chance.choice((*LENGTHS, len(frame) - 4, len(frame) - 3, self._chance.randrange(2 * len(frame))))
        return struct.pack(">I", length) + frame[4:]

    def _field_changed(self, frame: bytes) -> bytes:
        return self._with_value(frame, self._chance.choice((*ODD, *NUMBERS)))

    def _counted_wrong(self, frame: bytes) -> bytes:
        return self._with_value(frame, self._chance.choice(NUMBERS))

    def _with_value(self, frame: bytes, value: Any) -> bytes:
        """Put a value in some place of the header."""
        end = 4 + int.from_bytes(frame[:4], "big")
        header = msgpack.unpackb(frame[4:end])
        places = list(_places(header))
        container, key = self._chance.choice(places)
        container[key] = value
        try:
            packed = msgpack.packb(header)
        except (OverflowError, ValueError):
            return self._flipped(frame)
        return struct.pack(">I", len(packed)) + packed + frame[end:]

    def _bombed(self, frame: bytes) -> bytes:
        bomb = self._chance.choice(BOMBS)
        place = self._chance.randrange(4, len(frame))
        header = frame[4:place] + bomb if self._chance.random() < 0.5 else bomb
        return struct.pack(">I", len(header)) + header

    def _noise(self, frame: bytes) -> bytes:
        return self._chance.randbytes(self._chance.randrange(2 * len(frame)))

    def _foreign(self, frame: bytes) -> bytes:
        """Return a frame without a fault, of a session that is not there."""
        message: Any = codec.decode(frame, Limits())
        drawn = SessionId(self._chance.getrandbits(62), self._chance.randrange(1, 1000))
        number = self._chance.choice(self._sessions) if self._sessions else drawn
        return codec.encode(replace(message, session=number))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each place within a value: its container, and its key there."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def decoded(frame: bytes, limits: Limits) -> Message | None:
    """Decode a frame as an inbox does; None where it is malformed.

    Raises:
        Exception: anything but `RemoteProtocolError`, which no frame may lead to.
    """
    try:
        return codec.decode(frame, limits, borrow_by_name)
    except RemoteProtocolError:
        return None
