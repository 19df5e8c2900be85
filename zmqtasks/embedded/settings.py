"""What a program says of the node it starts for itself, as the words of the public clients give it.

Owns the checks that both clients share. Starts nothing. Called by `client.py` and `aio.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from zmqtasks.options import NodeOptions
from zmqtasks.wire import payload


def node_options(addresses: Sequence[str], functions: Sequence[object], **given: Any) -> NodeOptions:
    """Return the options of a node that is started here.

    Args:
        addresses: of nodes that run already; then none is started, and nothing may be said of it.
        functions: initializer and finalizer, or None for each.
        given: fields of `NodeOptions`; None for what was not said.

    Raises:
        ValueError: something was said together with addresses, or a value is out of range.
    """
    said = {name: value for name, value in given.items() if value is not None}
    names = [name for name, function in zip(("initializer", "finalizer"), functions, strict=True) if function]
    if addresses and (said or names):
        raise ValueError(
            f"{', '.join([*said, *names])}: for a node that is started here only; nodes at addresses have their own"
        )
    return NodeOptions(**said)


def encoded(function: Callable[..., object] | None, args: tuple[Any, ...] = ()) -> bytes:
    """Return a function without arguments as it travels, or nothing for None.

    Raises:
        SerializationError: it cannot travel.
    """
    if function is None:
        return b""
    return payload.pack_function(functools.partial(function, *args) if args else function)
