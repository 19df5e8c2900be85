"""What a program can do about calls that wait: count them, hold them, drop them, take some back.

Owns the words; what they mean is done in the loop's thread, by the ventilator. Made by `Client.queue`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from zmqtasks.options import DEFAULT_QUEUE
from zmqtasks.wire.payload import Form, unpack_function

if TYPE_CHECKING:
    from zmqtasks.embedded.futures import TaskFuture
    from zmqtasks.embedded.registry import Registry
    from zmqtasks.embedded.submitted import SubmittedJob
    from zmqtasks.ventilator.shell import Ventilator


class PulledCall(NamedTuple):
    """A call that was taken out of a queue: whoever has it runs it, or ends its future in another way."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    future: TaskFuture

    def run(self) -> None:
        """Run it here, and end its future with what comes of it."""
        try:
            self.future.set_result(self.function(*self.args, **self.kwargs))
        except Exception as error:
            self.future.set_exception(error)


class _Pulled(NamedTuple):
    """A call that was taken out, as it was kept."""

    job: SubmittedJob
    future: TaskFuture
    form: Form
    item: Any

    def opened(self) -> PulledCall:
        """Return it as its function would be called."""
        function = unpack_function(self.job.function, self.job.serializer)
        if self.form is Form.CALL:
            args, kwargs = self.item
        else:
            args, kwargs = (self.item,) if self.form is Form.ONE else self.item, {}
        return PulledCall(function, args, kwargs, self.future)


class Queue:
    """The calls of one client that have the same `queue`; made by `Client.queue`.

    Only what waits in this program is in it: a node is handed no more than it needs for a moment.
    """

    def __init__(self, registry: Registry, name: str = DEFAULT_QUEUE) -> None:
        self._registry = registry
        self.name = name

    def length(self, *, delayed: bool = False) -> int:
        """Return how many calls wait to be sent; with `delayed`, also those whose time has not come."""
        return self._registry.tend(lambda ventilator: ventilator.queue_length(self.name, delayed=delayed))

    def purge(self) -> int:
        """Cancel all calls that have not begun, delayed ones too, and return how many waited here.

        Nodes are asked for what they have and have not begun: those calls are cancelled a moment later.
        """
        return self._registry.tend(lambda ventilator: ventilator.purge(self.name))

    def pause(self) -> None:
        """Send nothing of it from now on; calls may still be submitted, and what nodes have goes on."""
        self._registry.tend(lambda ventilator: ventilator.hold(self.name, held=True))

    def resume(self) -> None:
        """Go on after `pause`."""
        self._registry.tend(lambda ventilator: ventilator.hold(self.name, held=False))

    @property
    def is_paused(self) -> bool:
        """Whether nothing of it is sent."""
        return self._registry.tend(lambda ventilator: self.name in ventilator.held_queues())

    def pull(self, most: int = 1) -> list[PulledCall]:
        """Take up to `most` calls out that were submitted and never sent, the first in line first.

        Their futures are running from then on, and are the caller's to end: `call.run()` does, or `set_result`. Those
        of `map`, delayed ones, and those that a node had before stay where they are.

        Raises:
            ValueError: `most` is below 1.
        """
        if most < 1:
            raise ValueError(f"most must be 1 or more, not {most}")
        return [call.opened() for call in self._registry.tend(lambda ventilator: self._pull(ventilator, most))]

    def _pull(self, ventilator: Ventilator, most: int) -> list[_Pulled]:
        jobs = self._registry.submitted_jobs()
        pulled = ventilator.pull(self.name, most, jobs)
        found = [(jobs[job_id], jobs[job_id].pull(index), form, item) for job_id, index, form, item in pulled]
        return [_Pulled(job, future, form, item) for job, future, form, item in found if future is not None]

    def __repr__(self) -> str:
        return f"<Queue {self.name!r}>"
