"""The layout APART: items whose large buffers lie beside their pickles, so that they are copied once a hop.

Owns that layout, both ways. Called by `packing` and `unpacking`.

    items x u32: where each pickle ends | items x u32: how many buffers the items have, up to and with each
    buffers x u64: their lengths | the pickles | the buffers, each at a multiple of 64 bytes from the start of the body
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Protocol

from zmqtasks.errors import RemoteProtocolError
from zmqtasks.wire.bodies import END_BYTES, HEAD_BYTES

_ALIGNMENT = 64
_LENGTH_BYTES = 8


class Readable(Protocol):
    """The data of a body, wherever it lies."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> bytes | memoryview:
        """Return a part."""

    def buffer(self, start: int, stop: int) -> bytearray | memoryview:
        """Return a part as the memory that the opened item is going to use."""


class InMemory:
    """Data that is here already.

    Args:
        data: all of it.
        shared: whether opened items use it where it is, and do not copy.
    """

    def __init__(self, data: memoryview, *, shared: bool = False) -> None:
        self._data = data
        self._shared = shared

    def __len__(self) -> int:
        return len(self._data)

    def read(self, start: int, stop: int) -> memoryview:
        """Return a part."""
        return self._data[start:stop]

    def buffer(self, start: int, stop: int) -> bytearray | memoryview:
        """Return a part as the memory that the opened item is going to use."""
        part = self._data[start:stop]
        return part if self._shared else bytearray(part)


def _padding(position: int) -> bytes:
    return bytes(-(HEAD_BYTES + position) % _ALIGNMENT)


def table(numbers: Sequence[int], kind: str = "I") -> bytes:
    """Return numbers of 32 bits, big endian; of 64 bits where `kind` is "Q"."""
    numbers_there = array(kind, numbers)
    if sys.byteorder == "little":
        numbers_there.byteswap()
    return numbers_there.tobytes()


def numbers_of(data: bytes | memoryview, kind: str = "I") -> array[int]:
    """Return what `table` made."""
    numbers = array(kind)
    numbers.frombytes(data)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def weight(buffers: Sequence[memoryview]) -> int:
    """Return how many bytes the buffers of an item take at most, with what says where they are."""
    return END_BYTES + sum(len(buffer) + _LENGTH_BYTES + _ALIGNMENT for buffer in buffers)


def lay_out(
    ends: Sequence[int], pickles: Sequence[bytes | memoryview], counts: Sequence[int], buffers: Sequence[memoryview]
) -> list[bytes | memoryview]:
    """Return the data of a body in parts.

    Args:
        ends: of each item, where its pickle ends.
        pickles: of all items, in any parts.
        counts: of each item, how many buffers there are up to and with its own.
        buffers: of all items.
    """
    lengths = table([len(buffer) for buffer in buffers], "Q")
    parts: list[bytes | memoryview] = [table(ends), table(counts), lengths, *pickles]
    position = sum(map(len, parts))
    for buffer in buffers:
        padding = _padding(position)
        parts += [padding, buffer]
        position += len(padding) + len(buffer)
    return parts


def open_items(
    data: Readable, items: int, first: int, last: int
) -> Iterator[tuple[bytes | memoryview, list[bytearray | memoryview]]]:
    """Yield the pickle and the buffers of the items [first, last).

    Raises:
        RemoteProtocolError: the tables do not fit the data.
    """
    tables = 2 * items * END_BYTES
    _expect(tables <= len(data), data, "two tables of items")
    both = numbers_of(data.read(0, tables))
    ends, counts = both[:items], both[items:]
    number = counts[-1] if items else 0
    pickles_at = tables + number * _LENGTH_BYTES
    _expect(pickles_at <= len(data) and not _descend(ends) and not _descend(counts), data, "a table of buffers")
    lengths = numbers_of(data.read(tables, pickles_at), "Q")
    places = list(_places(pickles_at + (ends[-1] if items else 0), lengths))
    _expect((places[-1][1] if places else pickles_at + (ends[-1] if items else 0)) == len(data), data, "all buffers")
    for item in range(first, last):
        start, buffer = (ends[item - 1], counts[item - 1]) if item else (0, 0)
        taken = [data.buffer(begin, end) for begin, end in places[buffer : counts[item]]]
        yield data.read(pickles_at + start, pickles_at + ends[item]), taken


def _places(position: int, lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    for length in lengths:
        begin = position + len(_padding(position))
        position = begin + length
        yield begin, position


def _descend(numbers: Sequence[int]) -> bool:
    return any(later < earlier for earlier, later in pairwise(numbers))


def _expect(holds: bool, data: Readable, what: str) -> None:
    if not holds:
        raise RemoteProtocolError(f"body: expected {what} of buffers apart, got {len(data)} bytes")
