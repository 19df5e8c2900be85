"""Bodies into arguments and results.

Owns the checks of what a peer sent as a body. What cannot be unpickled is one item, never its neighbours. Called by
workers (arguments), clients and stores (results) as `payload.unpack`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zmqtasks.errors import RemoteProtocolError
from zmqtasks.messages import Body, Lent
from zmqtasks.options import Limits
from zmqtasks.records import Value, field
from zmqtasks.wire import apart
from zmqtasks.wire.bodies import DEFAULT_LIMITS, END_BYTES, HEAD_BYTES, Form, Head, Layout, caused, head_of
from zmqtasks.wire.compression import Compressor, decompress
from zmqtasks.wire.serializers import HARM, Serializer, load_pickle, loaders, serializer_of, told


class Unpacked(Value):
    """Values of a body, counted from the first that was asked for; None where `errors` has the position."""

    form: Form
    values: Sequence[Any]
    errors: dict[int, Exception] = field(default_factory=dict)


def count_of(body: Body) -> int:
    """Return how many items a body holds, without opening it.

    Raises:
        RemoteProtocolError: the body is malformed.
    """
    return _head_of(body).items


def unpack(
    body: Body,
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
    head = _head_of(body)
    last = head.items if last is None else last
    if not 0 <= first <= last <= head.items:
        raise RemoteProtocolError(f"body: expected items {first} to {last}, got {head.items}")
    if serializer is not None and head.serializer is not serializer_of(serializer):
        raise RemoteProtocolError(f"body: expected {serializer} data, got {head.serializer.name.lower()}")
    if head.raw_bytes > limits.message_bytes:
        raise RemoteProtocolError(f"body: expected at most {limits.message_bytes} bytes, got {head.raw_bytes}")
    if isinstance(body, bytes | bytearray | memoryview):
        return _open(memoryview(body), head, first, last)
    if head.layout is Layout.APART and head.compressor is Compressor.NONE:
        return _open_apart(_InLoan(body), head, first, last)
    with body.at_hand() as view:
        return _open(view, head, first, last)


def _open(body: memoryview, head: Head, first: int, last: int) -> Unpacked:
    raw = memoryview(decompress(body[HEAD_BYTES:], head.compressor, head.raw_bytes))
    if head.layout is Layout.BULK:
        return Unpacked(head.form, _open_bulk(raw, head)[first:last])
    if head.layout is Layout.APART:
        return _open_apart(apart.InMemory(raw), head, first, last)
    return _open_each(raw, head, first, last)


def _head_of(body: Body) -> Head:
    if isinstance(body, bytes | bytearray | memoryview):
        return head_of(body)
    return head_of(body.read(0, min(HEAD_BYTES, len(body))))


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
    ends = apart.numbers_of(raw[:table])
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


def _open_apart(data: apart.Readable, head: Head, first: int, last: int) -> Unpacked:
    if head.serializer is not Serializer.PICKLE:
        raise RemoteProtocolError("body: only pickles have buffers apart")
    values: list[Any] = []
    errors: dict[int, Exception] = {}
    for position, (pickled, buffers) in enumerate(apart.open_items(data, head.items, first, last)):
        try:
            values.append(load_pickle(pickled, buffers=buffers))
        except HARM as error:
            values.append(None)
            errors[position] = caused("cannot be decoded from pickle", error)
    return Unpacked(head.form, values, errors)


class _InLoan:
    """The data of a body that is lent."""

    def __init__(self, loan: Lent) -> None:
        self._loan = loan

    def __len__(self) -> int:
        return len(self._loan) - HEAD_BYTES

    def read(self, start: int, stop: int) -> bytes:
        return self._loan.read(HEAD_BYTES + start, HEAD_BYTES + stop)

    def buffer(self, start: int, stop: int) -> bytearray:
        own = bytearray(stop - start)
        self._loan.read_into(HEAD_BYTES + start, own)
        return own


def open_shared(body: Body) -> Any:
    """Return the only item of a body; its large buffers stay where they are, and are read-only.

    Raises:
        RemoteProtocolError: the body is malformed, or was lent and is gone.
        Exception: whatever the item raises while it is unpickled.
    """
    view = memoryview(body).toreadonly() if isinstance(body, bytes | bytearray | memoryview) else body.mapped()
    head = head_of(view)
    raw = view[HEAD_BYTES:]
    if head.layout is not Layout.APART:
        found = _open(view, head, 0, 1)
    else:
        found = _open_apart(apart.InMemory(raw, shared=True), head, 0, 1)
    if found.errors:
        raise found.errors[0]
    return found.values[0]
