"""The `@task` decorator: options that travel with a function.

Owns no state. Needs no mesh: a decorated function is called here as before. Read by `embedded`
(options) and by `wire` (in safe mode only marked functions may be called).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from zmqtasks.options import TaskOptions
from zmqtasks.wire.functions import TASK_MARK
from zmqtasks.wire.retrying import pack_retry_on

F = TypeVar("F", bound=Callable[..., Any])


@overload
def task(function: F, /) -> F: ...
@overload
def task(**options: Any) -> Callable[[F], F]: ...
def task(function: Any = None, /, **options: Any) -> Any:
    """Mark a function as a task, with options that hold wherever it is submitted.

        @zmqtasks.task(timeout=30, retries=3)
        def convert(path): ...

    `convert(path)` still calls it here. What `client.options(...)` says goes before what stands here.

    Args:
        function: where the decorator is used without options.
        options: fields of `TaskOptions`.

    Raises:
        TypeError: no such option, or not a function.
        ValueError: a value out of range.
    """
    TaskOptions().replace(**options)

    def mark(target: F) -> F:
        if not callable(target):
            raise TypeError(f"@task marks functions, not {type(target).__name__}")
        if _is_task_class(target):
            raise TypeError(f"{target.__qualname__} is a task class: its options stand in its config")
        setattr(target, TASK_MARK, options)
        return target

    return mark if function is None else mark(function)


def options_for(function: Callable[..., Any], changes: dict[str, Any], defaults: TaskOptions) -> TaskOptions:
    """Return the options of calls of a function: what is nearest to the call goes before.

    Args:
        function: it, or a task class, with the options that it was marked with.
        changes: fields that the call changes.
        defaults: what holds where neither says otherwise.

    Raises:
        TypeError: no such option.
        ValueError: a value out of range.
        SerializationError: `retry_on` cannot travel.
    """
    marked = options_of(function)
    options = defaults.replace(**{**marked, **changes}) if marked or changes else defaults
    if options.retry_on is None:
        return options
    return options.replace(retry_on=pack_retry_on(options.retry_on, options.serializer))


def options_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the options a function was marked with, or {}."""
    marked: Any = getattr(function, TASK_MARK, None)
    if _is_task_class(function):  # which may find it out anew
        marked = marked()
    return marked if isinstance(marked, dict) else {}


def _is_task_class(function: object) -> bool:
    return isinstance(function, type) and callable(getattr(function, TASK_MARK, None))
