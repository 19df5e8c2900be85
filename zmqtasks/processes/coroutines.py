"""Coroutine functions as tasks: called like any other, and run to their end on the event loop of this worker.

Owns that loop, which is made for the first of them and kept: what they open on it (a session of HTTP, a pool of
connections) serves the next ones, too. Imports asyncio only then. `execution.py` calls it once a job, so that other
functions pay nothing.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zmqtasks.errors import TaskInterrupted

if TYPE_CHECKING:
    import asyncio

_COROUTINE = 0x80
"""Flag of the code of an `async def`. Source: Python docs, inspect.CO_COROUTINE; `inspect` itself is much to import."""


class _Here(threading.local):
    """A loop belongs to one thread; a worker may run tasks in several."""

    loop: asyncio.AbstractEventLoop | None = None


_here = _Here()


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Tell whether a call returns a coroutine: an `async def`, a partial or a method of one, an object so called."""
    while isinstance(function, functools.partial):
        function = function.func
    if not hasattr(function, "__code__") and not hasattr(function, "__func__"):
        function = type(function).__call__
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code is not None and bool(code.co_flags & _COROUTINE)


def as_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what is called for a task: the function itself, or what runs the coroutine that it returns."""
    if not is_coroutine_function(function):
        return function

    def run(*args: Any, **kwargs: Any) -> Any:
        return _run_to_end(function(*args, **kwargs))

    run.coroutine_function = function  # type: ignore[attr-defined]  # for a worker that awaits several at once
    return run


def _run_to_end(coroutine: Any) -> Any:
    """Return what a coroutine returns.

    Raises:
        TaskInterrupted: its time was up. Where it awaited something, it was cancelled, and ended by that.
    """
    import asyncio

    loop = _here.loop
    if loop is None:
        loop = _here.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    task = loop.create_task(coroutine)
    try:
        return loop.run_until_complete(task)
    except TaskInterrupted as interruption:
        if task.done():  # it was computing, and has seen the interruption itself
            raise
        task.cancel(str(interruption))
        try:
            return loop.run_until_complete(task)
        except asyncio.CancelledError as cancelled:
            raise interruption.with_traceback(cancelled.__traceback__) from None
