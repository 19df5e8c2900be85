"""MODULE:FUNCTION: found here, before anything is started, so that a slip is told at once.

Owns the search path of the commands and the texts for what cannot be imported. Never calls the function. Called by
`run` and `ventilator`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from zmqtasks.cli.exits import Exit, Refusal, one_line
from zmqtasks.options import TaskOptions
from zmqtasks.records import Value

OF_THE_INPUT = ("delay", "not_before", "expires")
"""Options that say when the tasks of the input begin; what these submit begins when it is submitted."""


class Function(Value):
    """A function as it travels, its name for people, the options of its calls, and what tells it from a changed one.

    `defaults` are options of what its tasks submit themselves.
    """

    body: bytes
    name: str
    options: TaskOptions
    code: str = ""
    defaults: TaskOptions = TaskOptions()


def search_here(*folders: str) -> None:
    """Put the current folder in front of the module search path, as `python -m` does, and `folders` before it."""
    wanted = [*(os.path.abspath(folder) for folder in folders), os.getcwd()]
    sys.path[:] = [*wanted, *(entry for entry in sys.path if entry and entry not in wanted)]


def load(name: str, changes: dict[str, Any], folders: Sequence[str] = ()) -> Function:
    """Import a function and encode it.

    Args:
        name: "module:function", or "module:Class" of a task class.
        folders: to look in before the current one.
        changes: fields of `TaskOptions`; they go before what `@task` says.

    Raises:
        Refusal: it cannot be imported (exit code 3), or cannot be a task with these options (2).
    """
    from zmqtasks.errors import SerializationError
    from zmqtasks.tasks import options_for
    from zmqtasks.wire import payload
    from zmqtasks.wire.fingerprint import fingerprint

    search_here(*folders)
    function = _resolve(name, payload.resolve)
    try:
        options = options_for(function, changes, TaskOptions())
        defaults = TaskOptions().replace(**{key: value for key, value in changes.items() if key not in OF_THE_INPUT})
        body = payload.pack_function(function, options.serializer)
    except (ValueError, TypeError, SerializationError) as error:
        raise Refusal(Exit.USAGE, str(error)) from error
    return Function(body, payload.function_name(function), options, fingerprint(function), defaults)


def _resolve(name: str, resolve: Callable[[str], Callable[..., Any]]) -> Callable[..., Any]:
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what a module prints is no result
            return resolve(name)
    except Exception as error:  # a module may raise anything while it is imported
        module = name.partition(":")[0]
        raise Refusal(Exit.IMPORT, f"cannot import {name}: {_reason(error, module)}") from error


def _reason(error: Exception, module: str) -> str:
    """Say what went wrong, where, and what may help."""
    text = one_line(str(error)) or "no reason given"
    if where := _where(error):
        return f"{type(error).__name__}: {text} ({where})"
    if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
        return f"{text}; looked in the current folder and among what {sys.executable} has installed"
    return text


def _where(error: Exception) -> str:
    """Return "file:line" in the user's code, or nothing where it had no part in it."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    from zmqtasks.wire import functions

    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if f.filename not in (__file__, functions.__file__) and "importlib" not in f.filename]
    return f"{theirs[-1].filename}:{theirs[-1].lineno}" if theirs else ""
