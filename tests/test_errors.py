"""The error tree: what its docstring draws is what there is, and each error survives pickling."""

from __future__ import annotations

import inspect
import pickle
import re
from concurrent.futures import BrokenExecutor

import pytest

from zmqtasks import errors
from zmqtasks.errors import ControlFlow, ZmqtasksError

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, ZmqtasksError) and value.__module__ == errors.__name__
]
SIGNALS = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, ControlFlow)]

FULL = [
    errors.WorkerCrashed("killed by SIGSEGV", signal=11, output="last words\n", stack="File a.py, line 1"),
    errors.WorkerCrashed("the task called sys.exit(3)", exit_code=3),
    errors.TaskTimeout("ran longer than 2 s", stack="File a.py, line 1"),
    errors.MemoryLimitExceeded("3 GiB", peak_bytes=3 * 2**30),
    errors.RemoteError("no", type_name="package.Odd", traceback="Traceback ..."),
]


def drawn_tree() -> dict[str, str]:
    """Return child -> parent as the module docstring draws it."""
    parents: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│├└─ ]*)([A-Z]\w+)", line)
        if match is None:
            continue
        depth = len(match[1]) // 4
        above[depth:] = [match[2]]
        if depth:
            parents[match[2]] = above[depth - 1]
    return parents


def test_docstring_draws_the_tree_there_is() -> None:
    drawn = [cls for cls in (*CLASSES, *SIGNALS) if cls not in (ZmqtasksError, ControlFlow)]
    actual = {cls.__name__: cls.__bases__[0].__name__ for cls in drawn}
    assert drawn_tree() == actual


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_class_survives_pickling(cls: type[ZmqtasksError]) -> None:
    twin = pickle.loads(pickle.dumps(cls("why")))
    assert type(twin) is cls
    assert twin.args == ("why",)
    assert str(twin) == str(cls("why"))


@pytest.mark.parametrize("error", FULL, ids=lambda error: type(error).__name__)
def test_pickling_keeps_what_was_given_by_keyword(error: ZmqtasksError) -> None:
    twin = pickle.loads(pickle.dumps(error))
    assert vars(twin) == vars(error)
    assert str(twin) == str(error)


def test_notes_survive_pickling() -> None:
    error = errors.TaskLost("gone")
    error.add_note("node 10.0.0.7")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["node 10.0.0.7"]


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.TaskTimeout, TimeoutError),
        (errors.MemoryLimitExceeded, MemoryError),
        (errors.NoNodes, BrokenExecutor),
    ],
)
def test_errors_are_also_what_the_standard_library_calls_them(
    cls: type[ZmqtasksError], builtin: type[Exception]
) -> None:
    assert issubclass(cls, builtin)


def test_task_errors_are_no_mesh_errors() -> None:
    assert not issubclass(errors.TaskError, errors.MeshError)
    assert not issubclass(errors.MeshError, errors.TaskError)


def test_worker_crashed_shows_the_last_output() -> None:
    assert str(FULL[0]) == "killed by SIGSEGV\nlast output:\nlast words\nstack:\nFile a.py, line 1"
    assert str(FULL[1]) == "the task called sys.exit(3)"


def test_overruns_show_what_is_known_of_them() -> None:
    late = errors.TaskTimeout("late", stack="File a.py, line 1\n", output="last words\n")
    assert str(late) == "late\nlast output:\nlast words\nstack:\nFile a.py, line 1"
    assert str(errors.MemoryLimitExceeded("much", output="last words\n")) == "much\nlast output:\nlast words"


def test_remote_error_names_the_class_of_the_original() -> None:
    assert str(FULL[4]) == "package.Odd: no"
    assert str(errors.RemoteError("no")) == "no"


def test_remote_traceback_shows_the_text() -> None:
    cause = pickle.loads(pickle.dumps(errors.RemoteTraceback("Traceback: here\n")))
    assert str(cause) == '\n"""\nTraceback: here\n"""'
