"""Values that several messages hold: sessions, addresses, ranges, limits, and the bodies behind a header.

Owns how each looks in a header. The functions take what msgpack made of a part of a header, and return the value or
raise `RemoteProtocolError`. Called by `control` and `bulk`.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeVar

from zmqtasks.errors import RemoteProtocolError
from zmqtasks.messages import Address, Buffer, JobId, SessionId
from zmqtasks.options import Limits
from zmqtasks.wire.fields import array, integer, label, malformed, record

Header = dict[str, Any]
"""The header of a frame, as packed or as parsed."""
Parts = tuple[Header, list[Buffer]]
"""What a message becomes: its header, and the bodies in the order the header has their lengths."""

_Member = TypeVar("_Member", bound=Enum)


def member(value: object, name: str, members: dict[Any, _Member], kind: type) -> _Member:
    """Return the member of an enumeration for a value of exactly the type `kind`."""
    # The exact type first: True and 1.0 are equal to 1 as keys, a list is no key at all.
    found = members.get(value) if type(value) is kind else None
    if found is None:
        malformed(name, f"one of {', '.join(map(str, members))}", value)
    return found


def session(header: Header) -> SessionId:
    """Return the session a header names under "s"."""
    epoch, number = record(header.get("s"), "s (session)", 2)
    return SessionId(integer(epoch, "session.epoch"), integer(number, "session.number"))


def address(value: object) -> Address:
    """Return an address: [peer, host, [endpoint, ...]]."""
    peer, host, endpoints = record(value, "address", 3)
    places = tuple(label(place, "address.endpoint") for place in array(endpoints, "address.endpoints"))
    return Address(label(peer, "address.peer"), label(host, "address.host"), places)


def limits_of(value: object) -> Limits:
    """Return limits: [message bytes, header bytes, items]."""
    return Limits(*(integer(entry, "limits", 1) for entry in record(value, "l (limits)", 3)))


def pack_limits(limits: Limits) -> tuple[int, int, int]:
    """Return what `limits_of` reads."""
    return limits.message_bytes, limits.header_bytes, limits.items


def span(start: object, stop: object, name: str) -> tuple[int, int]:
    """Return the bounds of a range that is not empty."""
    first = integer(start, f"{name}.start")
    return first, integer(stop, f"{name}.stop", first + 1)


def job_ids(value: object, name: str) -> tuple[JobId, ...]:
    """Return the ids of jobs."""
    return tuple(label(entry, name) for entry in array(value, name))


class Bodies:
    """What follows the header, handed out in order."""

    __slots__ = ("_at", "_view")

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0

    def take(self, size: object, name: str) -> memoryview:
        """Return the next `size` bytes, which the header gave under `name`."""
        start = self._at
        self._at = start + integer(size, name, 0, len(self._view) - start)
        return self._view[start : self._at]

    def finish(self) -> None:
        """Check that nothing is left over."""
        if self._at != len(self._view):
            raise RemoteProtocolError(f"bodies: expected {self._at} bytes by the header, got {len(self._view)}")
