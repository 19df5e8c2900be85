"""The functions that do as they are told, the same for every peer; those that misbehave are in `bodies.py`.

Owns nothing but what `keep` keeps in a worker; imports nothing that takes time in a worker. Those that
`zmqtasks bench` runs as well are its own.
"""

from __future__ import annotations

from typing import Any

from zmqtasks.observe.chores import burn as burn
from zmqtasks.observe.chores import nothing as nothing
from zmqtasks.observe.chores import same as same

_kept: Any = None


def keep(value: Any) -> None:
    """Keep a value in this process, for `with_kept`."""
    global _kept
    _kept = value


def with_kept(function: Any, argument: Any) -> Any:
    """Call a function with what this process keeps."""
    return function(_kept, argument)


def first_of(big: Any) -> int:
    """Look at a large argument."""
    return int(big[0])


def add_first(big: Any, value: int) -> int:
    """Look at a large argument, and take a small one."""
    return value + int(big[0])
