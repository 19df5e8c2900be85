"""What tells a function from another, and from itself after a change: the same in each process of one Python.

Owns what counts: name, code, defaults and what it has enclosed, also of functions among those. What it calls by name
does not count, nor where in its file it stands. Never calls a function. Called by who keeps a journal.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

_PLAIN = (int, float, complex, str, bytes, bool, type(None), type(Ellipsis))
DEEPEST = 8
"""Functions within functions beyond this count by their names alone."""


def fingerprint(function: Callable[..., Any]) -> str:
    """Return a short text that is the same for the same function."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (f"{sys.version_info[:2]}", *_parts(function, DEEPEST)):
        digest.update(part.encode("utf-8", "backslashreplace") + b"\0")
    return digest.hexdigest()


def _parts(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, MethodType):
        yield type(value.__self__).__qualname__
        yield from _parts(value.__func__, depth)
    elif isinstance(value, partial):
        for part in (value.func, *value.args, *(item for pair in sorted(value.keywords.items()) for item in pair)):
            yield from _parts(part, depth - 1)
    elif isinstance(value, FunctionType):
        yield from _function(value, depth)
    elif isinstance(value, CodeType):
        yield from _code(value, depth)
    elif isinstance(value, tuple | list):
        yield f"{type(value).__name__} {len(value)}"
        for item in value:
            yield from _parts(item, depth)
    elif isinstance(value, frozenset):
        yield " ".join(sorted(map(repr, value)))
    elif isinstance(value, _PLAIN):
        yield repr(value)
    else:  # anything else may have an address in its text
        named = value if hasattr(value, "__qualname__") else type(value)
        yield f"{getattr(named, '__module__', '')}.{getattr(named, '__qualname__', '')}"


def _function(function: FunctionType, depth: int) -> Iterator[str]:
    yield f"{function.__module__}.{function.__qualname__}"
    if depth <= 0:
        return
    yield from _code(function.__code__, depth)
    for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()):
        yield from _parts(value, depth - 1)
    for cell in function.__closure__ or ():
        yield from _enclosed(cell, depth)


def _enclosed(cell: CellType, depth: int) -> Iterator[str]:
    try:
        value = cell.cell_contents
    except ValueError:  # not set yet
        return
    yield from _parts(value, depth - 1)


def _code(code: CodeType, depth: int) -> Iterator[str]:
    yield code.co_code.hex()
    yield " ".join((*code.co_names, *code.co_varnames, *code.co_freevars))
    for constant in code.co_consts:
        yield from _parts(constant, depth)
