"""Maps as msgpack: how the header of a frame and the record of a failure are packed and parsed.

Owns the packer and its settings. Knows nothing of what the maps mean. Called by `codec` and `failure`.
"""

from __future__ import annotations

import threading
from typing import Any, NoReturn

import msgpack

from zmqtasks.errors import RemoteProtocolError
from zmqtasks.wire.fields import mapping

LEAST_ITEMS = 64
"""Arrays and maps up to this long are always taken: records and headers are shorter, whatever the limit for lists."""


class _PackerOfThread(threading.local):
    """A Packer costs 1 us to make, and one Packer must not serve two threads at once."""

    def __init__(self) -> None:
        self.packer = msgpack.Packer(buf_size=4096)


_mine = _PackerOfThread()


def pack_map(values: dict[str, Any]) -> bytes:
    """Return `values` as msgpack.

    Raises:
        TypeError: a value msgpack has no type for.
        ValueError: text that is not Unicode, or nesting too deep.
        OverflowError: an integer beyond 64 bits.
    """
    packed: bytes = _mine.packer.pack(values)
    return packed


def parse_map(data: bytes | memoryview, name: str, most_items: int) -> dict[str, Any]:
    """Return the map that `data` holds; arrays come as lists.

    Args:
        data: exactly one msgpack map with string keys.
        name: what it is, for the message.
        most_items: longest array or map within; below 64 it counts as 64.

    Raises:
        RemoteProtocolError: it is anything else, has a key twice, or is larger than allowed.
    """
    # An array is allocated before its entries are read: it cannot have more entries than bytes follow.
    most_items = min(max(most_items, LEAST_ITEMS), len(data))
    try:
        parsed = msgpack.unpackb(
            data,
            max_array_len=most_items,
            max_map_len=most_items,
            object_pairs_hook=_unique,
            ext_hook=_no_extension,
        )
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        # ValueError is the root of msgpack's own errors and of UnicodeDecodeError.
        raise RemoteProtocolError(f"{name}: expected one msgpack map, got {len(data)} bytes: {error}") from error
    return mapping(parsed, name)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _no_extension(code: int, data: bytes) -> NoReturn:
    raise ValueError(f"extension type {code} of {len(data)} bytes has no meaning here")
