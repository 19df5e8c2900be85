"""Classes of tasks: an object in each worker that keeps a state, and is told of all that becomes of its tasks.

Owns the words that a user fills in, and what a class says of its tasks. Runs nothing: `processes/lifecycle.py` calls
the methods in their order, in a worker.

    class Resize(zmqtasks.Worker[bytes]):
        config = zmqtasks.WorkerConfig(retries=3, timeout=30)

        def initialize(self) -> None:
            self.library = load_library()

        def run(self, task: zmqtasks.Task) -> bytes:
            return self.library.resize(*task.args, **task.kwargs)

        def on_max_retries(self, task: zmqtasks.Task) -> None:
            self.logger.error("gave up %s", task.args)

    client.submit(Resize, "a.jpg", width=100)
    client.map(Resize, paths)

A class is submitted like a function, and travels like one.
"""

from __future__ import annotations

import functools
import logging
from typing import Any, ClassVar, Generic, TypeVar

from zmqtasks.control import Task
from zmqtasks.options import TaskOptions, parse_duration
from zmqtasks.records import Value, amend, field_names
from zmqtasks.wire.functions import TASK_MARK

R = TypeVar("R")
_COROUTINE = 0x80
"""Flag of the code of an `async def`. Source: Python docs, inspect.CO_COROUTINE."""

EVENTS = ("success", "failure", "timeout", "retry", "max_retries", "requeue", "starvation", "stop")
"""For each there is a handler, and a switch of its log."""


class LogEvents(Value):
    """Which events of its tasks an object of a task class logs, on its `logger`; handlers are called in any case.

    Failures and timeouts are logged as errors, so are used-up retries; starvation as a warning; the others as
    information, which workers show where their node has `log_level="INFO"`.
    """

    success: bool = False
    failure: bool = True
    timeout: bool = True
    retry: bool = True
    max_retries: bool = True
    requeue: bool = True
    starvation: bool = True
    stop: bool = True


class WorkerConfig(TaskOptions, kw_only=True):
    """How the tasks of a class are run: options of tasks, and what concerns its objects. `replace` gives a changed one.

    A class of its own may add fields: `class ResizeConfig(zmqtasks.WorkerConfig, kw_only=True): width: int = 100`.

    Args:
        grace: as in `TaskOptions`, and 10 s here, so that `on_timeout` is called before the worker is killed.
        starvation: seconds without a task after which `on_starvation` is called, and each further second; None never.
        log_events: what is logged.
    """

    grace: float | None = 10.0
    starvation: float | None = None
    log_events: LogEvents = LogEvents()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.starvation is not None:
            amend(self, "starvation", parse_duration(self.starvation))

    def of_tasks(self) -> dict[str, Any]:
        """Return the options of tasks that are not as usual."""
        usual = TaskOptions()
        said = {name: getattr(self, name) for name in field_names(TaskOptions)}
        return {name: value for name, value in said.items() if value != getattr(usual, name)}


class Worker(Generic[R]):
    """Base of task classes; see the module for an example.

    A worker process makes one object of a class, for its first task of it, and keeps it until the process ends. Only
    `run` has to be there. What `pre_task`, `post_task` or a handler raises is logged, and changes nothing.

    What may be asked for: all that a task may, in `pre_task` and `run`; another run by `zmqtasks.retry` or `requeue` in
    `on_failure` and `on_timeout`, in place of the failure; `respawn` and `stop_node` in each handler, `post_task` and
    `finalize`, where they change nothing about the task, which has ended.
    """

    config: WorkerConfig = WorkerConfig()
    """How its tasks are run."""
    logger: ClassVar[logging.Logger]
    """Named "module.Class"."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        setattr(cls, TASK_MARK, functools.partial(_options_of_tasks, cls))
        cls.logger = logging.getLogger(f"{cls.__module__}.{cls.__qualname__}")

    @classmethod
    def generate_config(cls) -> WorkerConfig:
        """Return the configuration: `config`, unless a class finds it out, from a file or a service, say.

        Asked once for each client, or view of it with other options, before its first call, and once in each worker
        for its object, where the result becomes `self.config`.
        """
        return cls.config

    def initialize(self) -> None:
        """Get ready for tasks. Where it raises, so do the tasks that wait; the next ones have a new object."""

    def pre_task(self, task: Task) -> None:
        """Do something before each `run`."""

    def run(self, task: Task) -> R:
        """Return the result of a task; `task.args` and `task.kwargs` are those of the call. May be an `async def`."""
        raise NotImplementedError

    def post_task(self, task: Task, success: bool, exception: BaseException | None) -> None:
        """Do something after each `run`, before the handler; `exception` is what it raised, wishes included."""

    def finalize(self) -> None:
        """Clean up, where the process ends in order; within the `end_timeout` of its node."""

    def on_success(self, task: Task, value: R) -> None:
        """Hear that `run` returned `value`."""

    def on_failure(self, task: Task, exception: BaseException) -> None:
        """Hear that `run` raised."""

    def on_timeout(self, task: Task) -> None:
        """Hear that the time of `run` was up, with `grace` seconds left; without `grace` nobody is told here."""

    def on_retry(self, task: Task) -> None:
        """Hear that the task will be run again, because it asked for it, or failed and has retries left."""

    def on_max_retries(self, task: Task) -> None:
        """Hear that the task will not be run again, because its retries are used up."""

    def on_requeue(self, task: Task) -> None:
        """Hear that the task asked to be handed back."""

    def on_starvation(self, seconds: float) -> None:
        """Hear that there was no task for so long; see `WorkerConfig.starvation`."""

    def on_stop(self, task: Task) -> None:
        """Hear that the task asked for the end of its node."""


def _options_of_tasks(cls: type[Worker[Any]]) -> dict[str, Any]:
    """Return the options of a class's tasks that are not as usual; `zmqtasks.tasks` asks for them.

    Raises:
        TypeError: the class lacks what each has.
    """
    if cls.run is Worker.run:
        raise TypeError(f"{cls.__qualname__} has no method run(self, task), which each task class needs")
    for name in dir(Worker):
        code = getattr(getattr(cls, name), "__code__", None)
        if name != "run" and code is not None and code.co_flags & _COROUTINE:
            raise TypeError(f"{cls.__qualname__}.{name} must not be an async def; only run may be one")
    return config_of(cls).of_tasks()


def config_of(cls: type[Worker[Any]]) -> WorkerConfig:
    """Return the configuration that a class has now.

    Raises:
        TypeError: it is something else.
    """
    config = cls.generate_config()
    if not isinstance(config, WorkerConfig):
        raise TypeError(
            f"{cls.__qualname__}.generate_config() must return a WorkerConfig, and returned {type(config).__name__}"
        )
    return config
