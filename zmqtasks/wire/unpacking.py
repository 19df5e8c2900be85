"""Bodies into arguments and results.

Owns the checks of what a peer sent as a body. What cannot be unpickled is one item, never its neighbours. Called by
workers (arguments), clients and stores (results) as `payload.unpack`.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import Any

from zmqtasks.errors import RemoteProtocolError
from zmqtasks.options import Limits
from zmqtasks.records import Value, field
from zmqtasks.wire.bodies import DEFAULT_LIMITS, END_BYTES, HEAD_BYTES, Form, Head, Layout, caused, head_of
from zmqtasks.wire.compression import decompress
from zmqtasks.wire.serializers import HARM, loaders, serializer_of, told


class Unpacked(Value):
    """Values of a body, counted from the first that was asked for; None where `errors` has the position."""

    form: Form
    values: Sequence[Any]
    errors: dict[int, Exception] = field(default_factory=dict)


def count_of(body: bytes | memoryview) -> int:
    """Return how many items a body holds, without opening it.

    Raises:
        RemoteProtocolError: the body is malformed.
    """
    return head_of(body).items


def unpack(
    body: bytes | memoryview,
    *,
    first: int = 0,
    last: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    serializer: str | None = None,
) -> Unpacked:
    """Return the items [first, last) of a body; what cannot be unpickled is None, with its error beside it.

    Args:
        body: what `pack` made.
        first: the first item wanted, counted from 0.
        last: one past the last, or None for all there are.
        limits: how much it may take, uncompressed.
        serializer: what the job uses; a body of another kind is refused. In safe mode pass "msgpack": then no pickle
            is ever opened. None takes either.

    Raises:
        RemoteProtocolError: the body is malformed, too large, of another serializer, or has fewer items.
    """
    head = head_of(body)
    last = head.items if last is None else last
    if not 0 <= first <= last <= head.items:
        raise RemoteProtocolError(f"body: expected items {first} to {last}, got {head.items}")
    if serializer is not None and head.serializer is not serializer_of(serializer):
        raise RemoteProtocolError(f"body: expected {serializer} data, got {head.serializer.name.lower()}")
    if head.raw_bytes > limits.message_bytes:
        raise RemoteProtocolError(f"body: expected at most {limits.message_bytes} bytes, got {head.raw_bytes}")
    raw = memoryview(decompress(memoryview(body)[HEAD_BYTES:], head.compressor, head.raw_bytes))
    if head.layout is Layout.BULK:
        return Unpacked(head.form, _open_bulk(raw, head)[first:last])
    return _open_each(raw, head, first, last)


def _open_bulk(raw: memoryview, head: Head) -> Sequence[Any]:
    try:
        values = loaders[head.serializer](raw)
        # The length of a range can exceed what len() returns.
        right = type(values) in (list, range) and len(values) == head.items
    except HARM as error:
        # No code of a user takes part in plain values: what fails here was not made by `pack`.
        raise RemoteProtocolError(f"body: corrupt {head.serializer.name.lower()} data: {told(error)}") from error
    if not right:
        raise RemoteProtocolError(f"body: expected a list of {head.items} items, got a {type(values).__name__}")
    opened: Sequence[Any] = values
    return opened


def _open_each(raw: memoryview, head: Head, first: int, last: int) -> Unpacked:
    table = head.items * END_BYTES
    if table > len(raw):
        raise RemoteProtocolError(f"body: expected a table of {head.items} items, got {len(raw)} bytes")
    ends = array("I")
    ends.frombytes(raw[:table])
    if sys.byteorder == "little":
        ends.byteswap()
    data = raw[table:]
    if (ends[-1] if ends else 0) != len(data):
        raise RemoteProtocolError(f"body: the table of items does not end where the {len(data)} bytes of data do")
    values: list[Any] = []
    errors: dict[int, Exception] = {}
    load = loaders[head.serializer]
    start = ends[first - 1] if first else 0
    for position, end in enumerate(ends[first:last]):
        if not start <= end <= len(data):
            raise RemoteProtocolError(f"body: item {first + position} is said to be at [{start}, {end}) of {len(data)}")
        try:
            values.append(load(data[start:end]))
        except HARM as error:
            values.append(None)
            errors[position] = caused(f"cannot be decoded from {head.serializer.name.lower()}", error)
        start = end
    return Unpacked(head.form, values, errors)
