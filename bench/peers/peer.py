"""What a peer is to the harness: how it is opened, and how it runs work.

Owns the words between `harm.py`, the cases and the peers. A peer turns its own exceptions into an `Answer`, so that a
case checks all peers alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

WORKERS = 2
HUNG_S = 40.0
"""Who has not answered by then never will: the cases take seconds."""


class Hung(Exception):
    """A peer gave no answer."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done.

    Args:
        function: importable, of one argument.
        arguments: one a task; there may be several calls of `Run` for one `Work`.
        timeout: seconds a task may run, or None.
        fresh: whether each task gets a process of its own.
    """

    function: Callable[[int], Any]
    arguments: Sequence[int]
    timeout: float | None = None
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a task: a value, or a failure ("crash", "timeout" or "error") and what was told of it."""

    value: Any = None
    failure: str = ""
    told: str = ""
    error: BaseException | None = None


Run = Callable[[Work], list[Answer]]


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody who runs work.

    Args:
        name: in tables and records.
        packages: distributions whose versions go into the record; the standard library has none.
        open: makes workers ready for this work and ends them; gives what runs it.
        observations: further figures of the last run, asked for when it has ended.
    """

    name: str
    packages: tuple[str, ...]
    open: Callable[[Work], AbstractContextManager[Run]]
    observations: Callable[[], dict[str, float]] = dict
