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
        trace_id: of its calls.
        submit_timeout: how long `submit` waits for room, in seconds; None for as long as it takes.
    """

    __slots__ = ("changes", "known", "submit_timeout", "trace_id")

    def __init__(self, changes: dict[str, Any], trace_id: str = "", submit_timeout: float | None = None) -> None:
        self.changes = changes
        self.trace_id = trace_id
        self.submit_timeout = submit_timeout
        self.known: dict[int, Known] = {}
        """Functions that were submitted before, by their id: to ask for an equal one would call code of the user."""

    def changed(self, changes: dict[str, Any], trace_id: str | None, submit_timeout: float | None = None) -> View:
        """Return what is said where this is changed by `changes`, and by the others unless they are None.

        Raises:
            TypeError: no such option.
            ValueError: a value out of range.
        """
        from zmqtasks.options import TaskOptions

        merged = {**self.changes, **changes}
        checked = TaskOptions().replace(**merged)
        merged = {name: getattr(checked, name) for name in merged}  # `not_before` is a moment from now on
        patience_s = self.submit_timeout if submit_timeout is None else submit_timeout
        return View(merged, self.trace_id if trace_id is None else trace_id, patience_s)


class Known(NamedTuple):
    """A function, kept alive so that its id stays its own; what it was marked with; and its job."""

    function: Callable[..., Any]
    mark: object
    job: SubmittedJob
