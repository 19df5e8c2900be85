"""What a program says of its client: of the node that is started for it, and of all its calls.

Owns which word is about what, and the checks that both clients share. Starts nothing. Called by `client.py` and
`aio.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from zmqtasks.embedded.finding import NodeSource
from zmqtasks.options import NodeOptions, TaskOptions
from zmqtasks.records import field_names

_OF_TASKS = set(field_names(TaskOptions))
_OF_NODES = set(field_names(NodeOptions)) - _OF_TASKS


def split(
    addresses: Sequence[object], functions: Sequence[object], workers: int | None, settings: dict[str, Any]
) -> tuple[NodeOptions, TaskOptions]:
    """Return the options of a node that is started here, and those of all calls.

    Args:
        addresses: of nodes that run already; then none is started, and nothing may be said of it.
        functions: initializer and finalizer, or None for each.
        workers: of the node; None for one a core.
        settings: fields of both; what both have, `timeout` and `max_memory`, is said of the calls.

    Raises:
        TypeError: no such setting; the message lists those there are.
        ValueError: something was said of a node together with addresses, or a value is out of range.
    """
    if unknown := sorted(settings.keys() - _OF_TASKS - _OF_NODES):
        known = f"of calls {', '.join(sorted(_OF_TASKS))}; of the node {', '.join(sorted(_OF_NODES))}"
        raise TypeError(f"no such setting: {', '.join(unknown)}; there are {known}")
    of_node = {name: value for name, value in settings.items() if name in _OF_NODES}
    of_node |= {} if workers is None else {"workers": workers}
    if "preload" in of_node:
        of_node["preload"] = tuple(of_node["preload"])
    names = [name for name, function in zip(("initializer", "finalizer"), functions, strict=True) if function]
    if addresses and (of_node or names):
        raise ValueError(
            f"{', '.join([*of_node, *names])}: for a node that is started here only; nodes at addresses have their own"
        )
    of_calls = {name: value for name, value in settings.items() if name in _OF_TASKS}
    return NodeOptions(**of_node), TaskOptions(**of_calls)


def told_apart(addresses: Sequence[str | NodeSource]) -> tuple[tuple[str, ...], NodeSource | None]:
    """Return the addresses of nodes, and what knows of others.

    Raises:
        ValueError: two know of nodes; one client hears of one.
    """
    endpoints = tuple([address for address in addresses if isinstance(address, str)])
    sources = [address for address in addresses if not isinstance(address, str)]
    if len(sources) > 1:
        raise ValueError(f"a client uses one cluster, not {len(sources)}; put the hosts into one file")
    return endpoints, sources[0] if sources else None


def encoded(function: Callable[..., object] | None, args: tuple[Any, ...] = ()) -> bytes:
    """Return a function without arguments as it travels, or nothing for None.

    Raises:
        SerializationError: it cannot travel.
    """
    if function is None:
        return b""
    from zmqtasks.wire import payload  # much, and only who has an initializer needs it so early

    return payload.pack_function(functools.partial(function, *args) if args else function)
