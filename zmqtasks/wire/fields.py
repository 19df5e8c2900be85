"""Checks of single fields that came from a peer: exact type, range, length.

Owns the wording of what is malformed. Every function returns the value it was given, or raises `RemoteProtocolError`
naming the field, what was expected and what came. Called by the codec, and by those who open bodies.
"""

from __future__ import annotations

import math
import reprlib
from typing import Any, NoReturn

from zmqtasks.errors import RemoteProtocolError

MOST_INTEGER = 2**63 - 1
"""Largest integer on the wire: a signed 64-bit one, which SQLite can store."""
MOST_NAME_CHARS = 255
"""Longest id, host or endpoint."""

_shown = reprlib.Repr()
_shown.maxlevel, _shown.maxstring, _shown.maxother = 2, 60, 60


def malformed(name: str, expected: str, value: object) -> NoReturn:
    """Raise the error for one field.

    Raises:
        RemoteProtocolError: always.
    """
    raise RemoteProtocolError(f"{name}: expected {expected}, got {type(value).__name__} {_shown.repr(value)}")


def integer(value: object, name: str, low: int = 0, high: int = MOST_INTEGER) -> int:
    """Return an int from `low` to `high`; a bool is none."""
    if type(value) is not int or not low <= value <= high:
        malformed(name, f"an integer from {low} to {high}", value)
    return value


def seconds(value: object, name: str) -> float:
    """Return a duration: finite and not negative."""
    if (type(value) is not float and type(value) is not int) or not 0 <= value < math.inf:
        malformed(name, "a finite number of seconds, 0 or more", value)
    return value


def finite(value: object, name: str) -> float:
    """Return a number that is finite."""
    if (type(value) is not float and type(value) is not int) or not -math.inf < value < math.inf:
        malformed(name, "a finite number", value)
    return value


def flag(value: object, name: str) -> bool:
    """Return a bool."""
    if type(value) is not bool:
        malformed(name, "a boolean", value)
    return value


def text(value: object, name: str) -> str:
    """Return a string of any length."""
    if type(value) is not str:
        malformed(name, "a string", value)
    return value


def label(value: object, name: str) -> str:
    """Return a string of 1 to 255 characters: an id, a host, an endpoint."""
    if type(value) is not str or not 0 < len(value) <= MOST_NAME_CHARS:
        malformed(name, f"a string of 1 to {MOST_NAME_CHARS} characters", value)
    return value


def array(value: object, name: str) -> list[Any]:
    """Return a list."""
    if type(value) is not list:
        malformed(name, "an array", value)
    return value


def record(value: object, name: str, length: int) -> list[Any]:
    """Return the first `length` entries of a list: a newer peer may send more."""
    if type(value) is not list or len(value) < length:
        malformed(name, f"an array of at least {length} entries", value)
    return value if len(value) == length else value[:length]


def mapping(value: object, name: str) -> dict[str, Any]:
    """Return a dict; that no key is there twice was seen to when it was parsed."""
    if type(value) is not dict:
        malformed(name, "a map", value)
    return value
