"""The layout of a body: what packing writes and unpacking reads.

Owns the header of a body and the numbers in it. Called by `packing` and `unpacking`.

    16 bytes: serializer u8 | compressor u8 | layout u8 | form u8 | items u32 | raw size u64, big endian
    data, compressed or not:
        BULK    the sequence as one value: fast, for plain values, none of which can fail
        EACH    items x u32: where each item ends, counted from the end of this table | the items one by one
        APART   as EACH, and large buffers of the items lie beside them: see `apart.py`
"""

from __future__ import annotations

import struct
from enum import IntEnum
from functools import cache
from typing import NamedTuple

from zmqtasks.errors import RemoteProtocolError, SerializationError
from zmqtasks.options import Limits
from zmqtasks.wire.compression import Compressor
from zmqtasks.wire.serializers import Serializer, told

DEFAULT_LIMITS = Limits()
MOST_COUNT = 2**32 - 1
"""Most items of one body, and most bytes of an EACH body: both are u32."""
END_BYTES = 4
"""Size of one entry of the table of EACH."""

_HEAD = struct.Struct(">BBBBIQ")
HEAD_BYTES = _HEAD.size
"""Size of the header of a body."""


class Form(IntEnum):
    """What an item is to the function; the number is on the wire."""

    ONE = 0
    """The only argument, or a result."""
    MANY = 1
    """A tuple of arguments."""
    CALL = 2
    """A pair: a tuple of arguments and a dict of keyword arguments."""


class Layout(IntEnum):
    """How the items lie in the data; the number is on the wire."""

    BULK = 0
    EACH = 1
    APART = 2


class Head(NamedTuple):
    """The header of a body."""

    serializer: Serializer
    compressor: Compressor
    layout: Layout
    form: Form
    items: int
    raw_bytes: int

    def packed(self) -> bytes:
        """Return the 16 bytes."""
        return _HEAD.pack(*self)


def head_of(body: bytes | memoryview) -> Head:
    """Return the header of a body.

    Raises:
        RemoteProtocolError: the body is too short, or a number has no meaning.
    """
    if len(body) < HEAD_BYTES:
        raise RemoteProtocolError(f"body: expected at least {HEAD_BYTES} bytes, got {len(body)}")
    *numbers, items, raw_bytes = _HEAD.unpack_from(body)
    return Head(*_kinds_of(*numbers), items, raw_bytes)


@cache  # few combinations have a meaning, and what has none is not kept
def _kinds_of(serializer: int, compressor: int, layout: int, form: int) -> tuple[Serializer, Compressor, Layout, Form]:
    try:
        return Serializer(serializer), Compressor(compressor), Layout(layout), Form(form)
    except ValueError as error:
        raise RemoteProtocolError(f"body: {error}") from error


def caused(what: str, error: BaseException) -> SerializationError:
    """Return the error for a value, with what went wrong as its cause."""
    failure = SerializationError(f"{what}: {told(error)}")
    failure.__cause__ = error
    return failure
