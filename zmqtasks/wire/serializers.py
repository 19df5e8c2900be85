"""Single values as bytes and back: pickle with cloudpickle behind it, and msgpack as the safe mode.

Owns what can travel in each mode. Knows nothing of bodies. Called by `payload`, `functions` and `failure`.

**pickle** calls code of whoever wrote the bytes. **msgpack** never does: it takes exactly None, bool, int of 64 bits,
float, str, bytes, list, dict, tuple and range, and never changes one type silently into another, but for bytearray and
memoryview, which arrive as bytes.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple

import msgpack

from zmqtasks.errors import SerializationError

PICKLE_PROTOCOL = 5
"""Understood by every Python we run on; a newer default must not appear on the wire by itself."""
LARGE_BYTES = 64 * 1024
"""A pickler writes longer strings out as they are. Source: FRAME_SIZE_TARGET in CPython's _pickle.c."""
APART_BYTES = 32 * 1024
"""Smaller buffers stay in the pickle."""
_STRINGS = frozenset({bytes, bytearray, str})
_CONTAINERS = frozenset({tuple, list, dict})
_SEARCHED = _STRINGS | _CONTAINERS
_LOOKED_AT = 16
"""A container of more is not searched for large strings: that would cost as much as pickling it."""
HARM = (Exception, SystemExit)
"""What code that runs while a value is pickled or unpickled may raise at us.

Not KeyboardInterrupt, and not the soft timeout of a worker: those concern the program, not the value.
"""


def told(error: BaseException) -> str:
    """Return an error as "Type: message", also where its own `__str__` fails."""
    try:
        return f"{type(error).__name__}: {error}"
    except HARM:
        return type(error).__name__


class Serializer(IntEnum):
    """How the values of a body are encoded; the number is on the wire."""

    PICKLE = 0
    MSGPACK = 1


@cache  # what raises is not kept
def serializer_of(name: str) -> Serializer:
    """Return the serializer of that name.

    Raises:
        ValueError: there is none.
    """
    try:
        return Serializer[name.upper()]
    except KeyError:
        raise ValueError(f"serializer must be pickle or msgpack, not {name!r}") from None


def dump_pickle(value: object) -> bytes:
    """Return `value` pickled: by value whatever belongs to `__main__`, which is another program in the worker.

    Plain pickle comes first, being ten times faster. It refers to what is in `__main__` by name, and so writes
    that name: where the bytes hold it, or where pickle refuses, cloudpickle takes over.

    Raises:
        Exception: anything the value's own `__reduce__` raises.
    """
    try:
        data = pickle.dumps(value, PICKLE_PROTOCOL)
    except Exception:
        # What cloudpickle cannot do either, it explains with an exception of its own.
        return _dump_by_value(value)
    return _dump_by_value(value) if b"__main__" in data else data


class Beside:
    """What is left out of a pickle, because it is large and can be copied from where it is."""

    __slots__ = ("buffers",)

    def __init__(self) -> None:
        self.buffers: list[memoryview] = []

    def take(self, buffer: pickle.PickleBuffer) -> bool:
        """Take a buffer, or tell that it is to stay in the pickle."""
        try:
            raw = buffer.raw()
        except BufferError:  # it does not lie in one piece
            return True
        if len(raw) < APART_BYTES:
            return True
        self.buffers.append(raw)
        return False


def dump_apart(value: object, beside: Beside) -> bytes | list[bytes]:
    """Return `value` pickled, without its large buffers; in parts where it has large strings, which are not copied.

    Raises:
        Exception: anything the value's own `__reduce__` raises.
    """
    try:
        if type(value) in _SEARCHED and _holds_large(value):
            parts = dump_parts(value, beside.take)
            # What is large is a string, and names nothing.
            by_name = any(b"__main__" in part for part in parts if len(part) < LARGE_BYTES)
            if not by_name:
                return parts
        else:
            data = pickle.dumps(value, PICKLE_PROTOCOL, buffer_callback=beside.take)
            if b"__main__" not in data:
                return data
    except Exception:
        # What cloudpickle cannot do either, it explains with an exception of its own.
        return _dump_by_value(value, beside)
    return _dump_by_value(value, beside)


def _dump_by_value(value: object, beside: Beside | None = None) -> bytes:
    import cloudpickle  # 22 ms, and most programs never need it

    if beside is None:
        whole: bytes = cloudpickle.dumps(value, PICKLE_PROTOCOL)
        return whole
    beside.buffers.clear()
    try:
        data: bytes = cloudpickle.dumps(value, PICKLE_PROTOCOL, buffer_callback=beside.take)
    except BaseException:
        beside.buffers.clear()
        raise
    return data


def dump_parts(value: object, take: Callable[[pickle.PickleBuffer], object] | None = None) -> list[bytes]:
    """Return `value` pickled, in parts: each large string that is in it is one, and not copied.

    Args:
        value: anything.
        take: as pickle's `buffer_callback`.
    """
    stream = _Parts()
    pickle.Pickler(stream, PICKLE_PROTOCOL, buffer_callback=take).dump(value)
    return stream.parts


class _Parts:
    """What a pickler writes to."""

    __slots__ = ("parts", "write")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.write = self.parts.append


def _holds_large(value: Any, depth: int = 2) -> bool:
    """Tell whether a value, or what is in it, is a large string: pickled in one piece it would be copied."""
    kind = type(value)
    if kind in _STRINGS:
        return len(value) >= LARGE_BYTES
    if kind not in _CONTAINERS or not depth or len(value) > _LOOKED_AT:
        return False
    return any(_holds_large(part, depth - 1) for part in (value.values() if kind is dict else value))


def dump_plain(values: object, serializer: Serializer) -> bytes:
    """Return a sequence of plain values: no class can be in it, and so nothing of `__main__`.

    Raises:
        SerializationError: msgpack cannot carry one of them.
    """
    return pickle.dumps(values, PICKLE_PROTOCOL) if serializer is Serializer.PICKLE else dump_msgpack(values)


load_pickle: Callable[..., Any] = pickle.loads


# --- msgpack: an array that starts with a mark is not a list


class _Mark(NamedTuple):
    code: int


_TUPLE, _RANGE = 1, 2
_MARKS = {_TUPLE: _Mark(_TUPLE), _RANGE: _Mark(_RANGE)}
_REMEDY = (
    "it takes None, bool, int of 64 bits, float, str, bytes, list, tuple, range and dict, and no subclass of them; "
    'convert the value, or use serializer="pickle"'
)


def _marked(value: object) -> list[object]:
    if type(value) is tuple:
        return [msgpack.ExtType(_TUPLE, b""), *value]
    if type(value) is range:
        return [msgpack.ExtType(_RANGE, b""), value.start, value.stop, value.step]
    if type(value) is int:  # msgpack asks here for what it has no room for, as well
        raise OverflowError(f"the integer has {value.bit_length()} bits")
    raise TypeError(f"there is no msgpack type for {type(value).__module__}.{type(value).__qualname__}")


class _PackerOfThread(threading.local):
    """A Packer costs 1 us to make, and one Packer must not serve two threads at once."""

    def __init__(self) -> None:
        self.packer = msgpack.Packer(strict_types=True, default=_marked)


_mine = _PackerOfThread()


def dump_msgpack(value: object) -> bytes:
    """Return plain data as msgpack.

    Raises:
        SerializationError: a type that has no equal there, an integer beyond 64 bits, nesting beyond 500 levels.
    """
    try:
        data: bytes = _mine.packer.pack(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise SerializationError(f"msgpack cannot carry this {type(value).__name__}: {error}; {_REMEDY}") from error
    return data


def load_msgpack(data: bytes | memoryview) -> Any:
    """Return the plain data.

    Raises:
        SerializationError: it is not exactly one msgpack value, or holds an extension that is not ours.
    """
    try:
        return msgpack.unpackb(data, strict_map_key=False, list_hook=_unmarked, ext_hook=_mark)
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise SerializationError(f"expected one msgpack value, got {len(data)} bytes: {error}") from error


def _mark(code: int, data: bytes) -> _Mark:
    if code not in _MARKS or data:
        raise ValueError(f"extension type {code} of {len(data)} bytes is not one of ours")
    return _MARKS[code]


def _unmarked(values: list[Any]) -> list[Any] | tuple[Any, ...] | range:
    if not values or type(values[0]) is not _Mark:
        return values
    return tuple(values[1:]) if values[0].code == _TUPLE else range(*values[1:])


loaders: dict[Serializer, Callable[[bytes | memoryview], Any]] = {
    Serializer.PICKLE: load_pickle,
    Serializer.MSGPACK: load_msgpack,
}
