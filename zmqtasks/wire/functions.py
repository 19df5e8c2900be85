"""Functions as bodies: by name where the worker can import them, by value otherwise.

Owns the layout of a function body, and the texts for a name that leads nowhere. Never calls a function. Called by
clients, workers and the commands.

    u8 kind | data
        0 NAME    "module:qualified.name" in UTF-8
        1 VALUE   the function pickled; never in safe mode
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from enum import IntEnum
from types import ModuleType
from typing import Any

from zmqtasks.errors import RemoteProtocolError, SerializationError
from zmqtasks.wire.serializers import HARM, Serializer, dump_pickle, load_pickle, serializer_of, told

TASK_MARK = "__zmqtasks_task__"
"""Attribute that `@task` sets; safe mode calls nothing that lacks it."""

import_module: Callable[[str], ModuleType] = importlib.import_module
"""How the module of a function is found; where workers are forked, `processes/code_memory.py` knows a shorter way."""
_MISSING = object()
_MOST_MODULE_BYTES = 1000
"""Of a name for `module_of`; a longer one is nobody's."""


class Kind(IntEnum):
    """How a function travels; the number is on the wire."""

    NAME = 0
    VALUE = 1


def pack_function(function: Callable[..., Any], serializer: str = "pickle") -> bytes:
    """Return the body of a function.

    By name travels what is importable and is the same object there. By value travels the rest: lambdas, closures,
    partials, bound methods, and whatever is defined in `__main__`, which in a worker is another program.

    Raises:
        SerializationError: it cannot be pickled; or in safe mode, it is not importable, or is not a `@task`.
        ValueError: no such serializer.
    """
    name = _importable_name(function)
    if serializer_of(serializer) is Serializer.MSGPACK:
        if name is None:
            raise SerializationError(
                f"{function_name(function)} has no name a worker could import it by, and msgpack sends functions "
                'by name only; define it at the top level of a module, or use serializer="pickle"'
            )
        _check_marked(function, name)
    if name is not None:
        return bytes([Kind.NAME]) + name.encode()
    try:
        return bytes([Kind.VALUE]) + dump_pickle(function)
    except HARM as error:
        raise SerializationError(f"cannot pickle {function_name(function)}: {told(error)}") from error


def pack_name(name: str) -> bytes:
    """Return the body of the function "module:qualified.name", which is not imported here."""
    return bytes([Kind.NAME]) + name.encode()


def unpack_function(body: bytes | memoryview, serializer: str = "pickle") -> Callable[..., Any]:
    """Return the function, importing its module where it travelled by name.

    Args:
        body: what `pack_function` made.
        serializer: that of the job; "msgpack" opens no pickle, and returns nothing that is not a `@task`.

    Raises:
        RemoteProtocolError: the body is malformed, or by value in safe mode.
        ImportError: its module cannot be imported; a note says what was imported, and from where.
        AttributeError: the module has no such function.
        TypeError: what has that name cannot be called.
        SerializationError: it cannot be unpickled; or in safe mode, it is not a `@task`.
        Exception: whatever the module raises while it is imported, with the same note.
    """
    safe = serializer_of(serializer) is Serializer.MSGPACK
    kind, data = bytes(body[:1]), body[1:]
    if travels_by_name(body):
        name = _name_in(data)
        function = resolve(name)
        if safe:
            _check_marked(function, name)
        return function
    if kind != bytes([Kind.VALUE]) or safe:
        expected = "a name" if safe else "a name or a value"
        raise RemoteProtocolError(f"function: expected {expected}, got kind {kind.hex() or 'nothing'}")
    return _load_function(data)


def travels_by_name(body: bytes | memoryview) -> bool:
    """Tell whether a function body holds a name: it then stays right, whatever becomes of the function's globals."""
    return bytes(body[:1]) == bytes([Kind.NAME])


def has_code(body: bytes | memoryview) -> bool:
    """Tell whether a function body holds code, which only the same minor version of Python can read."""
    return not travels_by_name(body) and b"cloudpickle" in bytes(body)


def module_of(body: bytes | memoryview) -> str:
    """Return the module a function is imported from; nothing where it travels by value, or names none."""
    if not travels_by_name(body) or len(body) > _MOST_MODULE_BYTES:
        return ""
    module, colon, _ = bytes(body[1:]).decode("utf-8", "replace").partition(":")
    return module if colon and module.replace(".", "").isidentifier() else ""


def resolve(name: str) -> Callable[..., Any]:
    """Return what "package.module:function" or "module:Class.method" names, importing the module.

    Raises:
        ImportError: the text has not that form, or the module cannot be imported.
        AttributeError: the module has no such function.
        TypeError: what has that name cannot be called.
        Exception: whatever the module raises while it is imported.
    """
    module_name, colon, path = name.partition(":")
    if not module_name or not colon or not path or module_name.startswith(".") or not name.isprintable():
        raise ImportError(f"{name!r} does not name a function: write MODULE:FUNCTION, such as package.module:function")
    found: Any = _import(module_name, name)
    for part in path.split("."):
        found = getattr(found, part, _MISSING)
        if found is _MISSING:
            raise AttributeError(f"module {module_name!r} has no function {path!r}")
    if not callable(found):
        raise TypeError(f"{name!r} is of type {type(found).__name__}, which cannot be called")
    function: Callable[..., Any] = found
    return function


def function_name(function: Callable[..., Any]) -> str:
    """Return a name for people: "module.function", that of what a partial holds, or the name of a class."""
    while hasattr(function, "func") and not hasattr(function, "__qualname__"):
        function = function.func
    named = function if isinstance(getattr(function, "__qualname__", None), str) else type(function)
    module = getattr(named, "__module__", None)
    return named.__qualname__ if module in (None, "builtins") else f"{module}.{named.__qualname__}"


def _importable_name(function: object) -> str | None:
    """Return "module:qualified.name" where exactly this object is found there, else None."""
    module_name, path = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not isinstance(module_name, str) or not isinstance(path, str) or module_name == "__main__":
        return None
    found: object = sys.modules.get(module_name, _MISSING)
    for part in path.split("."):
        found = getattr(found, part, _MISSING)
    name = f"{module_name}:{path}"
    return name if found is function and name.isprintable() else None


def _import(module_name: str, name: str) -> object:
    if not module_name.replace(".", "_").replace("-", "_").isidentifier():
        # Not left to the import system: with such names its finders may raise anything.
        raise ModuleNotFoundError(f"{module_name!r} is not the name of a module; in {name!r}", name=module_name)
    try:
        return import_module(module_name)
    except SystemExit as error:
        raise ImportError(f"module {module_name!r} called sys.exit() while it was imported") from error
    except Exception as error:
        error.add_note(f"while importing module {module_name!r} for {name!r}; sys.path is {sys.path}")
        raise


def _name_in(data: bytes | memoryview) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(f"function: expected a name in UTF-8: {error}") from error


def _load_function(data: bytes | memoryview) -> Callable[..., Any]:
    try:
        function = load_pickle(data)
    except ImportError as error:
        error.add_note(f"while unpickling a function; sys.path is {sys.path}")
        raise
    except HARM as error:
        raise SerializationError(f"the function cannot be unpickled: {told(error)}") from error
    if not callable(function):
        raise RemoteProtocolError(f"function: expected something to call, got a {type(function).__name__}")
    loaded: Callable[..., Any] = function
    return loaded


def _check_marked(function: Callable[..., Any], name: str) -> None:
    if getattr(function, TASK_MARK, None) is None:
        raise SerializationError(f"function {name!r} is not a @task, and msgpack calls no other; decorate it")
