"""What a node lets its tasks call: anything, or registered functions of some modules, with or without pickle.

Owns these rules and the texts of refusals. A refusal comes before anything of a task is imported or opened. Called by
`execution.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from zmqtasks.errors import NotAuthorised
from zmqtasks.wire import payload
from zmqtasks.wire.functions import TASK_MARK

_HARMLESS = frozenset({"builtins", "zmqtasks.errors"})
"""Modules whose exception types any job may name."""


class Allowed(NamedTuple):
    """The rules of one node."""

    only: tuple[str, ...] = ()
    """Modules, and packages with all that is in them; none for any function."""
    pickle: bool = True

    def open(self, packed: bytes | memoryview, serializer: str) -> Callable[..., Any]:
        """Return the function of a job.

        Raises:
            NotAuthorised: this node does not call it.
            Exception: as `payload.unpack_function`.
        """
        if not self.pickle and serializer != "msgpack":
            raise NotAuthorised(
                'this node opens no pickle (--no-pickle); use serializer="msgpack" and functions marked with @task'
            )
        if not self.only:
            return payload.unpack_function(packed, serializer)
        self._check(payload.module_of(packed), "a function that travels by value")
        function = payload.unpack_function(packed, serializer)
        name = payload.function_name(function)
        # A module also has what it has imported from others.
        self._check(str(getattr(function, "__module__", "")), name)
        if getattr(function, TASK_MARK, None) is None:
            raise NotAuthorised(f"this node calls registered functions only (--only), and {name} is not a @task")
        return function

    def open_judge(self, retry_on: str, serializer: str) -> Callable[[BaseException], bool]:
        """Return what tells whether an exception of a job is worth another run; exceptions of Python may be named.

        Raises:
            NotAuthorised: this node does not call it.
            Exception: as `payload.unpack_retry_on`.
        """
        return payload.unpack_retry_on(retry_on, lambda body: self.open(body, serializer), self._may_import)

    def _may_import(self, module: str) -> bool:
        return not self.only or module in _HARMLESS or self._lies_within(module)

    def _lies_within(self, module: str) -> bool:
        return any(module == allowed or module.startswith(f"{allowed}.") for allowed in self.only)

    def _check(self, module: str, name: str) -> None:
        if not self._lies_within(module):
            what = f"not {name}" if name and not module else f"not of {module}"
            raise NotAuthorised(f"this node calls functions of {', '.join(self.only)} only (--only), {what}")
