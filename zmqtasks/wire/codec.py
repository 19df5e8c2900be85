"""Messages to frames and back: the bytes of the protocol (docs/design/protocol.md).

A frame is `u32 header length, big endian | header, a msgpack map | bodies, back to back`. The header says what the
message is (`control`, `bulk`, `tending`), and how long each body is. Bodies are opaque here: encoding copies each
once, decoding slices a memoryview.
Whatever a peer sends, decoding gives a valid message or raises `RemoteProtocolError`. It never opens a body, never
logs and never touches a socket. Called by the shells that own a socket or a channel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from zmqtasks.errors import LocalProtocolError, RemoteProtocolError
from zmqtasks.messages import (
    Body,
    Buffer,
    Cancel,
    Errands,
    Hello,
    Message,
    Output,
    Query,
    Results,
    Status,
    Stored,
    Tasks,
    Tend,
    Tended,
)
from zmqtasks.options import Limits
from zmqtasks.wire import bulk, control, tending
from zmqtasks.wire.fields import integer, malformed, text
from zmqtasks.wire.headers import LEAST_ITEMS, pack_map, parse_map
from zmqtasks.wire.loans import Loan, in_memory
from zmqtasks.wire.usual import decoded, encoded
from zmqtasks.wire.values import Bodies, Borrow, Header, Parts, Reference, lent_bodies

LENGTH_BYTES = 4
"""Size of the header length in front of each frame."""


Lend = Callable[[Loan], Reference | None]
"""Returns how the receiver finds a loan; None where it cannot, and the body is copied into the frame."""


def encode(message: Message, limits: Limits | None = None, lend: Lend | None = None) -> bytes:
    """Return the frame of a message.

    Args:
        message: any kind.
        limits: what the receiver takes, in bytes and entries; None checks nothing.
        lend: how the receiver finds bodies that are loans; None where it finds none.

    Raises:
        LocalProtocolError: the message exceeds `limits`, or holds a value the wire has no room for.
    """
    if limits is None and (usual := encoded(message)) is not None:
        head, body = usual
        return b"".join((len(head).to_bytes(LENGTH_BYTES, "big"), head, body))
    header, given = _ENCODERS[type(message)](message)
    bodies = cast("list[Buffer]", given)
    if any(type(body) is Loan for body in given):
        bodies, header["x"] = _lend(given, lend)
    try:
        packed = pack_map(header)
    except (TypeError, ValueError, OverflowError) as error:
        raise LocalProtocolError(f"{type(message).__name__} cannot be encoded: {error}") from error
    if limits is not None:
        _check_outgoing(header, LENGTH_BYTES + len(packed) + sum(map(len, bodies)), len(packed), limits)
    return b"".join((len(packed).to_bytes(LENGTH_BYTES, "big"), packed, *bodies))


def _lend(given: Sequence[Body], lend: Lend | None) -> tuple[list[Buffer], list[tuple[int, ...]]]:
    """Return the bodies that go into the frame, and how those that are lent are found."""
    bodies: list[Buffer] = []
    lent: list[tuple[int, ...]] = []
    for place, body in enumerate(given):
        reference = lend(body) if lend and isinstance(body, Loan) else None
        if reference is None:
            bodies.append(in_memory(body))
        else:
            lent.append((place, *reference))
    return bodies, lent


def decode(frame: bytes | bytearray | memoryview, limits: Limits, borrow: Borrow | None = None) -> Message:
    """Return the message of a frame; its bodies are memoryviews into the frame.

    Args:
        frame: all bytes of one message.
        limits: what is taken, in bytes and entries; checked before anything is allocated.
        borrow: how lent bodies are found; None takes none.

    Raises:
        RemoteProtocolError: the frame is malformed or too large; the text names the field.
        LoanLost: a lent body is not there any more: the frame is as good as lost.
    """
    view, size = memoryview(frame), len(frame)
    if size > limits.message_bytes:
        raise RemoteProtocolError(f"frame: expected at most {limits.message_bytes} bytes, got {size}")
    if size < LENGTH_BYTES:
        raise RemoteProtocolError(f"frame: expected at least {LENGTH_BYTES} bytes, got {size}")
    end = LENGTH_BYTES + int.from_bytes(view[:LENGTH_BYTES], "big")
    if end > size or end - LENGTH_BYTES > limits.header_bytes:
        integer(end - LENGTH_BYTES, "header length", 0, min(limits.header_bytes, size - LENGTH_BYTES))
    if (usual := decoded(view[LENGTH_BYTES:end], view[end:])) is not None:
        return usual
    header = parse_map(view[LENGTH_BYTES:end], "header", limits.items)
    decoder = _DECODERS.get(text(header.get("t"), "t"))
    if decoder is None:
        malformed("t", f"one of {', '.join(_DECODERS)}", header["t"])
    lent = lent_bodies(header) if "x" in header else None
    if lent and borrow is None:
        raise RemoteProtocolError("x (lent): nobody was told that anything can be lent here")
    bodies = Bodies(view[end:], lent, borrow, limits.message_bytes)
    message = decoder(header, bodies)
    bodies.finish()
    return message


def _check_outgoing(header: Header, frame_bytes: int, header_bytes: int, limits: Limits) -> None:
    items = max((len(value) for value in header.values() if isinstance(value, list)), default=0)
    for what, size, most in (
        ("message_bytes", frame_bytes, limits.message_bytes),
        ("header_bytes", header_bytes, limits.header_bytes),
        ("items", items, max(limits.items, LEAST_ITEMS)),
    ):
        if size > most:
            raise LocalProtocolError(f"{header['t']} message: the other side takes {what} up to {most}, this is {size}")


_ENCODERS: dict[type, Callable[[Any], Parts]] = {
    Hello: control.encode_hello,
    Status: control.encode_status,
    Tasks: bulk.encode_tasks,
    Results: bulk.encode_results,
    Stored: bulk.encode_stored,
    Cancel: control.encode_cancel,
    Query: control.encode_query,
    Output: control.encode_output,
    Errands: control.encode_errands,
    Tend: tending.encode_tend,
    Tended: tending.encode_tended,
}
_DECODERS: dict[str, Callable[[Header, Bodies], Message]] = {
    "hello": control.decode_hello,
    "status": control.decode_status,
    "tasks": bulk.decode_tasks,
    "results": bulk.decode_results,
    "stored": bulk.decode_stored,
    "cancel": control.decode_cancel,
    "query": control.decode_query,
    "output": control.decode_output,
    "errands": control.decode_errands,
    "tend": tending.decode_tend,
    "tended": tending.decode_tended,
}
