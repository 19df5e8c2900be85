"""What a client, or a view of it with other options, says of its calls.

Owns the changed options, and which job a function has with them. Imports nothing: the node of a program starts before
the rest is imported. Made by `client.py` and `aio.py`, filled by `registry.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from zmqtasks.embedded.submitted import SubmittedJob


class View:
    """What a client, or a view of it with other options, says of its calls.

    Args:
        changes: fields of `TaskOptions`.
    """

    __slots__ = ("changes", "known")

    def __init__(self, changes: dict[str, Any]) -> None:
        self.changes = changes
        self.known: dict[int, Known] = {}
        """Functions that were submitted before, by their id: to ask for an equal one would call code of the user."""


class Known(NamedTuple):
    """A function, kept alive so that its id stays its own; what it was marked with; and its job."""

    function: Callable[..., Any]
    mark: object
    job: SubmittedJob
