"""Functions as they travel: encoded once where they are what they are, anew where their state may change.

Used by `registry.py`, from any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType
from typing import Any

from zmqtasks.wire import payload
from zmqtasks.wire.fingerprint import fingerprint

KNOWN_FUNCTIONS = 1024


class Functions:
    """The functions that a client was given.

    Args:
        fingerprints: whether a journal has to know them again in a later life.
    """

    def __init__(self, *, fingerprints: bool) -> None:
        self._bodies: dict[tuple[Any, str], tuple[bytes, str]] = {}
        self._fingerprints: dict[bytes, str] | None = {} if fingerprints else None

    def encode(self, function: Callable[..., Any], serializer: str) -> tuple[bytes, str]:
        """Return a function encoded, and its name.

        What travels by value is encoded at each call: it may refer to globals that have changed since the last.

        Raises:
            TypeError: it is not callable.
        """
        if not callable(function):
            raise TypeError(f"{function!r} is not callable")
        plain = _is_plain(function)
        if plain and (known := self._bodies.get((function, serializer))):
            return known
        packed = payload.pack_function(function, serializer), payload.function_name(function)
        if self._fingerprints is not None:
            self._fingerprints[packed[0]] = fingerprint(function)
        if plain and payload.travels_by_name(packed[0]) and len(self._bodies) < KNOWN_FUNCTIONS:
            self._bodies[function, serializer] = packed
        return packed

    def is_known(self, function: Callable[..., Any], serializer: str) -> bool:
        """Tell whether the function is encoded once and for all."""
        return _is_plain(function) and (function, serializer) in self._bodies

    def fingerprint(self, encoded: bytes) -> str:
        """Return by what a journal knows a function again; "" where there is no journal."""
        return self._fingerprints.get(encoded, "") if self._fingerprints else ""


def _is_plain(function: object) -> bool:
    """Tell whether a callable is what it is: no object whose state may change."""
    return isinstance(function, FunctionType | BuiltinFunctionType | type)
