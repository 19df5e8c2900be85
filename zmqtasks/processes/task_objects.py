"""The objects of task classes in this worker, and what they hear while it has nothing to do.

Owns one object for each class, from its first task until the process ends. A worker that runs functions only imports
nothing of it but this. `execution.py` calls it once a job, `worker.py` while it waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from zmqtasks.errors import ControlFlow
from zmqtasks.processes.coroutines import as_function
from zmqtasks.wire.functions import TASK_MARK

if TYPE_CHECKING:
    from zmqtasks.processes.lifecycle import Lifecycle

AGAIN_S = 1.0
"""How often an object hears that there is still no task."""


class TaskObjects:
    """What is called for tasks: functions as they are, and the object of each task class.

    Args:
        stop_node: called where the end of an object asks for that of its node.
    """

    def __init__(self, stop_node: Callable[[], None]) -> None:
        self._stop_node = stop_node
        self._objects: dict[type, Lifecycle] = {}
        self._making = threading.Lock()
        """Tasks of a worker that runs several at once share one object as well."""
        self.starving: list[Lifecycle] = []
        """Those that want to hear that there is no task."""
        self._fed_at = 0.0
        self._due: dict[Lifecycle, float] = {}
        """When they hear it next, in seconds since the last task."""

    def called_for(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return what is called for a task of this function, or of this class.

        Raises:
            BaseException: what a class raises while its object is made.
        """
        # Of a function or class that is merely decorated, the mark is a dict.
        if not isinstance(function, type) or not callable(getattr(function, TASK_MARK, None)):
            return as_function(function)
        with self._making:
            known = self._objects.get(function)
            if known is None:
                from zmqtasks.processes.lifecycle import Lifecycle

                known = self._objects[function] = Lifecycle(function, self._stop_node)
                if known.config.starvation is not None:
                    self.starving.append(known)
        return known

    def wait(self, has_come: Callable[[float], bool]) -> ControlFlow | None:
        """Wait for something to do, and tell those who want to hear that there is nothing.

        Args:
            has_come: waits so many seconds, and tells whether there is something.

        Returns:
            What one of them asks for; None where there is something to do.
        """
        self._feed()
        while not has_come(max(0.0, min(self._due.values()) - (monotonic() - self._fed_at))):
            if (wish := self.look(busy=False)) is not None:
                return wish
        return None

    def look(self, *, busy: bool) -> ControlFlow | None:
        """Tell those whose moment has come that there is no task, unless there is one; return what one asks for."""
        if busy or self._due.keys() != set(self.starving):
            self._feed()
        seconds = monotonic() - self._fed_at
        for known in [known for known, at in self._due.items() if at <= seconds]:
            self._due[known] = seconds + AGAIN_S
            if (wish := known.starve(seconds)) is not None:
                return wish
        return None

    def _feed(self) -> None:
        self._fed_at = monotonic()
        self._due = {known: known.config.starvation or AGAIN_S for known in self.starving}
