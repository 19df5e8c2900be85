"""The object of a task class in this worker, and the order in which its methods are called.

    initialize → for each task: pre_task → run → post_task → its handler → ... → finalize

Owns what becomes of what they raise, and of what they ask for: an error of a hook or a handler is logged, never fatal.
`task_objects.py` makes one for each class; the loops of `loops.py` call it like a function.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from logging import ERROR, INFO, WARNING
from types import TracebackType
from typing import Any, NamedTuple

from zmqtasks import control
from zmqtasks.control import Parting, Task
from zmqtasks.errors import (
    ControlFlow,
    RequeueRequested,
    RespawnRequested,
    RetryRequested,
    StopRequested,
    TaskInterrupted,
)
from zmqtasks.processes.coroutines import as_function, is_coroutine_function
from zmqtasks.records import replace
from zmqtasks.task_class import Worker, config_of

Wishes = tuple[type[ControlFlow], ...]
PARTING: Wishes = (RespawnRequested, StopRequested)
AGAIN: Wishes = (RetryRequested, RequeueRequested)


class _Ending(NamedTuple):
    """How a run ended: with a value, or with what it raised."""

    value: Any = None
    error: BaseException | None = None


class Lifecycle:
    """Run the tasks of one class with one object.

    Args:
        cls: the task class.
        stop_node: called where `finalize` asks for the end of the node.

    Raises:
        BaseException: what the class's `generate_config`, `__init__` or `initialize` raises.
    """

    def __init__(self, cls: type[Worker[Any]], stop_node: Callable[[], None]) -> None:
        self._stop_node = stop_node
        self._pid = os.getpid()
        self._worker = worker = cls()
        self.config = worker.config = config_of(cls)
        self._run = as_function(worker.run)
        self.coroutine_function = self._run_awaiting if is_coroutine_function(worker.run) else None
        """For a worker that awaits several tasks at once."""
        self._has_pre = cls.pre_task is not Worker.pre_task
        self._has_post = cls.post_task is not Worker.post_task
        self._hears_success = cls.on_success is not Worker.on_success or self.config.log_events.success
        worker.initialize()
        atexit.register(self._finalize)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run one task with all that belongs to it.

        Raises:
            Parting: a handler asked for another worker, or for the end of the node.
            BaseException: what the task raised, or asks for.
        """
        task = self._task_of(args, kwargs)
        ending = self._before(task)
        if ending is None:
            try:
                ending = _Ending(self._run(task))
            except BaseException as error:
                ending = _Ending(error=error)
        return self._conclude(task, ending)

    async def _run_awaiting(self, *args: Any, **kwargs: Any) -> Any:
        """Do as a call, and let others go on while `run` awaits something."""
        task = self._task_of(args, kwargs)
        ending = self._before(task)
        if ending is None:
            try:
                ending = _Ending(await self._worker.run(task))
            except BaseException as error:
                ending = _Ending(error=_as_interruption(error))
        return self._conclude(task, ending)

    def _task_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        assert control.running is not None
        return replace(control.running.current_task() or Task(), args=args, kwargs=kwargs)

    def _before(self, task: Task) -> _Ending | None:
        """Call what comes before the run; return how the task has ended, where it asks for that already."""
        if not self._has_pre:
            return None
        wish = self._asked_by("pre_task", (*AGAIN, *PARTING, TaskInterrupted), task)
        if wish is not None:
            return _Ending(error=wish)
        _restart_clock()
        return None

    def _conclude(self, task: Task, ending: _Ending) -> Any:
        """Call what comes after the run; return the value of the task, or raise what it ends with."""
        hears = ending.error is not None or self._hears_success
        if (hears or self._has_post) and not isinstance(ending.error, TaskInterrupted):
            _restart_clock()  # after an interruption, all that follows is within its grace
        parting = None
        if self._has_post:
            parting = self._asked_by("post_task", PARTING, task, ending.error is None, ending.error)
        if hears:
            ending, asked = self._handle(task, ending)
            parting = parting or asked
        if parting is not None:
            raise Parting(ending.value, ending.error, stop=isinstance(parting, StopRequested))
        if ending.error is None:
            return ending.value
        try:
            raise ending.error
        finally:
            del ending  # its traceback holds this frame: what it refers to shall go with it

    # What becomes of a run

    def _handle(self, task: Task, ending: _Ending) -> tuple[_Ending, ControlFlow | None]:
        """Call the handlers of an ending; return what it has become, and whether they asked to part."""
        error = ending.error
        match error:
            case None:
                self._log("success", INFO, "task %s succeeded", task.id)
                return ending, self._asked_by("on_success", PARTING, task, ending.value)
            case RetryRequested():
                return ending, self._tell_whether_again(task, error)
            case RequeueRequested():
                self._log("requeue", INFO, "task %s asked to be handed back", task.id)
                return ending, self._asked_by("on_requeue", PARTING, task)
            case StopRequested():
                self._log("stop", INFO, "task %s stops its node", task.id)
                return ending, self._asked_by("on_stop", PARTING, task)
            case RespawnRequested():
                return ending, None
            case TaskInterrupted():
                self._log("timeout", ERROR, "task %s: %s", task.id, error)
                wish = self._asked_by("on_timeout", (*AGAIN, *PARTING), task)
            case _:
                self._log("failure", ERROR, "task %s failed", task.id, failure=error)
                wish = self._asked_by("on_failure", (*AGAIN, *PARTING), task, error)
        if isinstance(wish, AGAIN):
            return self._handle(task, _Ending(error=wish))
        return ending, self._tell_whether_again(task, error) or wish

    def _tell_whether_again(self, task: Task, error: BaseException) -> ControlFlow | None:
        """Tell the object whether a task that wants to, or has failed, is run again; return what it asks for."""
        assert control.running is not None
        again = control.running.runs_again(error)
        if again is None:
            return None
        if again:
            self._log("retry", INFO, "task %s will be run again", task.id)
            return self._asked_by("on_retry", PARTING, task)
        self._log("max_retries", ERROR, "task %s has used up its retries", task.id)
        return self._asked_by("on_max_retries", PARTING, task)

    # Calling what the user wrote

    def _asked_by(self, name: str, allowed: Wishes, *args: Any) -> ControlFlow | None:
        """Call a method; return what it asks for, where it may. All else that it raises is logged."""
        try:
            getattr(self._worker, name)(*args)
        except ControlFlow as wish:
            if isinstance(wish, allowed):
                return wish
            reason = wish if isinstance(wish, TaskInterrupted) else f"it may not ask for this: {type(wish).__name__}"
            self._worker.logger.error("%s was cut short: %s", name, reason)
        except BaseException as error:  # even sys.exit(): it must not change what becomes of the task
            self._worker.logger.error("%s raised", name, exc_info=_told(error))
        return None

    def starve(self, seconds: float) -> ControlFlow | None:
        """Tell the object that there was no task for so long; return what it asks for."""
        self._log("starvation", WARNING, "no task for %.1f s", seconds)
        return self._asked_by("on_starvation", PARTING, seconds)

    def _finalize(self) -> None:
        if os.getpid() == self._pid and isinstance(self._asked_by("finalize", PARTING), StopRequested):
            self._stop_node()

    def _log(self, event: str, level: int, text: str, *args: Any, failure: BaseException | None = None) -> None:
        if getattr(self.config.log_events, event):
            self._worker.logger.log(level, text, *args, exc_info=None if failure is None else _told(failure))


def _told(error: BaseException) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """Return an error for a log, whose stack begins with what the user wrote."""
    stack = error.__traceback__
    return type(error), error, stack and (stack.tb_next or stack)


def _as_interruption(error: BaseException) -> BaseException:
    """Return what a coroutine ended with; where it was cancelled because its time was up, the interruption."""
    assert control.running is not None
    why = control.running.why_cancelled()
    return TaskInterrupted(why).with_traceback(error.__traceback__) if why else error


def _restart_clock() -> None:
    assert control.running is not None
    control.running.restart_clock()
