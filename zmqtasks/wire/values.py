"""Values that several messages hold: sessions, addresses, ranges, limits, and the bodies behind a header.

Owns how each looks in a header. The functions take what msgpack made of a part of a header, and return the value or
raise `RemoteProtocolError`. Called by `control` and `bulk`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from zmqtasks.errors import RemoteProtocolError
from zmqtasks.messages import Address, Body, JobId, SessionId
from zmqtasks.options import Limits
from zmqtasks.wire.fields import MOST_INTEGER, array, integer, label, malformed, record, seconds
from zmqtasks.wire.loans import Loan

Header = dict[str, Any]
"""The header of a frame, as packed or as parsed."""
Parts = tuple[Header, list[Body]]
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
    if type(epoch) is int and type(number) is int and 0 <= epoch <= MOST_INTEGER and 0 <= number <= MOST_INTEGER:
        return SessionId(epoch, number)
    return SessionId(integer(epoch, "session.epoch"), integer(number, "session.number"))


def address(value: object) -> Address:
    """Return an address: [peer, host, [endpoint, ...]]."""
    peer, host, endpoints = record(value, "address", 3)
    places = tuple(label(place, "address.endpoint") for place in array(endpoints, "address.endpoints"))
    if not places:
        malformed("address.endpoints", "one endpoint at least", endpoints)
    return Address(label(peer, "address.peer"), label(host, "address.host"), places)


def limits_of(value: object) -> Limits:
    """Return limits: [message bytes, header bytes, items]."""
    return Limits(*(integer(entry, "limits", 1) for entry in record(value, "l (limits)", 3)))


def pack_limits(limits: Limits) -> tuple[int, int, int]:
    """Return what `limits_of` reads."""
    return limits.message_bytes, limits.header_bytes, limits.items


def amounts(value: object, name: str) -> tuple[tuple[str, float], ...]:
    """Return amounts by name: [[name, number], ...]."""
    pairs = (record(entry, name, 2) for entry in array(value, name))
    return tuple((label(what, name), seconds(amount, name)) for what, amount in pairs)


def span(start: object, stop: object, name: str) -> tuple[int, int]:
    """Return the bounds of a range that is not empty."""
    first = integer(start, f"{name}.start")
    return first, integer(stop, f"{name}.stop", first + 1)


def job_ids(value: object, name: str) -> tuple[JobId, ...]:
    """Return the ids of jobs."""
    return tuple(label(entry, name) for entry in array(value, name))


Reference = tuple[int, int, int]
"""What a loan is found by: process, descriptor, token."""
Borrow = Callable[[int, int, int, int], Loan]
"""Returns the loan of a reference, given its size as well."""


class Bodies:
    """What follows the header, handed out in order.

    Args:
        view: the bodies that are in the frame.
        lent: those that are not, by their place among all.
        borrow: how these are found.
        most_bytes: largest of these.
    """

    __slots__ = ("_at", "_borrow", "_lent", "_most_bytes", "_place", "_view")

    def __init__(
        self,
        view: memoryview,
        lent: dict[int, Reference] | None = None,
        borrow: Borrow | None = None,
        most_bytes: int = 0,
    ) -> None:
        self._view = view
        self._at = self._place = 0
        self._lent = lent
        self._borrow = borrow
        self._most_bytes = most_bytes

    def take(self, size: object, name: str) -> Any:
        """Return the next `size` bytes, which the header gave under `name`."""
        if self._lent:
            self._place += 1
            if reference := self._lent.pop(self._place - 1, None):
                assert self._borrow is not None
                return self._borrow(*reference, integer(size, name, 0, self._most_bytes))
        start = self._at
        self._at = start + integer(size, name, 0, len(self._view) - start)
        return self._view[start : self._at]

    def finish(self) -> None:
        """Check that nothing is left over."""
        if self._at != len(self._view):
            raise RemoteProtocolError(f"bodies: expected {self._at} bytes by the header, got {len(self._view)}")
        if self._lent:
            raise RemoteProtocolError(f"x (lent): there is no body at {sorted(self._lent)}")


def lent_bodies(header: Header) -> dict[int, Reference]:
    """Return the bodies of a frame that are lent, by their place among all: [[place, pid, descriptor, token], ...]."""
    lent: dict[int, Reference] = {}
    for entry in array(header["x"], "x (lent)"):
        place, pid, fd, token = (integer(number, "lent") for number in record(entry, "lent", 4))
        lent[place] = pid, fd, token
    return lent
