"""What of an exception can travel: its texts, the plain parts of our own errors, a pickle of the others.

Owns how an exception is taken apart and put together. Nothing the exception does when it is touched gets out of here.
Called by `failure`, which owns the layout of the body.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, cast

from zmqtasks import errors
from zmqtasks.errors import RemoteError, WorkerCrashed, ZmqtasksError
from zmqtasks.wire.fields import array, mapping, record, text
from zmqtasks.wire.headers import pack_map
from zmqtasks.wire.serializers import dump_pickle, load_pickle

MOST_NAME_CHARS = 1024
MOST_MESSAGE_CHARS = 1024 * 1024
MOST_TRACEBACK_CHARS = 64 * 1024
MOST_PICKLE_BYTES = 8 * 1024 * 1024
"""A larger exception arrives as `RemoteError`: failures are kept in memory and in stores as they are."""

_OURS = {name: cls for name, cls in vars(errors).items() if isinstance(cls, type) and issubclass(cls, ZmqtasksError)}


# --- texts


def type_name_of(error: BaseException) -> str:
    """Return the name of its class as the interpreter prints it: with the module, but for builtins and `__main__`."""
    cls = type(error)
    name = cls.__qualname__ if cls.__module__ in ("builtins", "__main__") else f"{cls.__module__}.{cls.__qualname__}"
    return _bounded(name, MOST_NAME_CHARS)


def message_of(error: BaseException) -> str:
    """Return what `str()` gives, at most 1 Mi characters of it."""
    try:
        return _bounded(str(error), MOST_MESSAGE_CHARS)
    except BaseException as second:  # a __str__ may raise anything, and the task is over: there is nothing to stop
        return f"(its __str__ raised {type(second).__name__})"


def traceback_of(error: BaseException, our_modules: tuple[str, ...]) -> str:
    """Return the traceback with those of causes and contexts, from the user's first frame, at most 64 Ki characters.

    Empty where there is nothing to tell: an error that was never raised.
    """
    trace, cause, context = (_plainly(error, name) for name in ("__traceback__", "__cause__", "__context__"))
    if trace is None and cause is None and context is None:
        return ""
    while trace is not None and _is_ours(trace, our_modules):
        trace = trace.tb_next
    try:
        lines = traceback.TracebackException(type(error), error, trace).format()
        return _bounded("".join(lines), MOST_TRACEBACK_CHARS)
    except BaseException as second:  # as in message_of; where it was raised is the best there is
        places = f"Traceback (most recent call last):\n{''.join(traceback.format_tb(trace))}"
        ending = f"{type_name_of(error)}: {message_of(error)}"
        reason = f"(the rest of its traceback cannot be formatted: {type(second).__name__})"
        return _bounded(f"{places}{ending}\n{reason}", MOST_TRACEBACK_CHARS)


def _plainly(error: BaseException, name: str) -> Any:
    """Return an attribute as the interpreter has it, past a `__getattribute__` of the class."""
    return BaseException.__dict__[name].__get__(error)


def _is_ours(trace: TracebackType, our_modules: tuple[str, ...]) -> bool:
    names = trace.tb_frame.f_globals
    # A module run by `python -m` is called __main__, but its spec knows its name.
    module = str(getattr(names.get("__spec__"), "name", None) or names.get("__name__"))
    return any(module == ours or module.startswith(f"{ours}.") for ours in our_modules)


def _bounded(words: str, most: int) -> str:
    """Return text without lone surrogates, and without its middle where it is longer than `most` characters."""
    if len(words) > most:
        words = f"{words[: most // 2]}\n... {len(words) - most} characters left out ...\n{words[-(most // 2) :]}"
    return words.encode("utf-8", "backslashreplace").decode()


# --- our own errors, as plain data


def without_exit(error: BaseException, about: Mapping[str, Any]) -> BaseException:
    """Return a `WorkerCrashed` for a `SystemExit`, which would end whoever it is raised in; else the error itself.

    Args:
        error: what a task raised.
        about: further attributes of the `WorkerCrashed`.

    Source: the documentation of `sys.exit`: None is success, any object that is no integer counts as 1.
    """
    if not issubclass(type(error), SystemExit):  # isinstance() asks the error for its class, and it may lie
        return error
    code = getattr(error, "code", None)
    if code is None or isinstance(code, int):
        return WorkerCrashed(f"the task called sys.exit({int(code or 0)})", exit_code=int(code or 0), **about)
    shown = repr(_bounded(code, MOST_NAME_CHARS)) if isinstance(code, str) else f"<{type(code).__name__}>"
    return WorkerCrashed(f"the task called sys.exit({shown})", exit_code=1, **about)


def own_parts(error: BaseException) -> list[Any] | None:
    """Return [class, args, attributes] of an error of zmqtasks; None for others, and where a part is not plain data."""
    cls = type(error)
    if _OURS.get(cls.__name__) is not cls:
        return None
    attributes = {name: _cleaned(value) for name, value in vars(error).items()}
    parts = [cls.__name__, [_cleaned(value) for value in error.args], attributes]
    try:
        pack_map({"o": parts})
    except (TypeError, ValueError, OverflowError):
        return None
    return parts


def _cleaned(value: object) -> object:
    return _bounded(value, MOST_MESSAGE_CHARS) if isinstance(value, str) else value


def rebuild_own(parts: object) -> Exception | None:
    """Return the error of `own_parts`; None for a class that this version does not have, or other arguments.

    Raises:
        RemoteProtocolError: the parts are malformed.
    """
    name, args, attributes = record(parts, "failure.o", 3)
    cls = _OURS.get(text(name, "failure.o.class"))
    values = {text(key, "failure.o.attribute"): value for key, value in mapping(attributes, "failure.o").items()}
    if cls is None:
        return None
    try:
        error = cls(*array(args, "failure.o.args"))
    except TypeError:
        return None
    vars(error).update(values)
    return error


# --- any other exception, pickled


def pickled(error: BaseException) -> bytes | None:
    """Return a pickle that gives an exception here; None where none does, or where it is too large.

    Of a group with a member that cannot travel, the others do, with a `RemoteError` in its place.
    """
    data = _survivor(error)
    if data is None and issubclass(type(error), ExceptionGroup):
        data = _survivor_of_the_rest(error)
    return data


def _survivor_of_the_rest(group: BaseException) -> bytes | None:
    try:
        return _survivor(_group_of_survivors(cast("ExceptionGroup[Exception]", group)))
    except BaseException:  # as in message_of
        return None


def _survivor(error: BaseException) -> bytes | None:
    """Pickle, plainly or past `__init__`, whatever comes out of it alive."""
    if not issubclass(type(error), Exception):
        return None
    plainly = (_Bare(error),) if _loses_slots(type(error)) else (error, _Bare(error))
    for candidate in plainly:
        try:
            data = dump_pickle(candidate)
            if len(data) <= MOST_PICKLE_BYTES and isinstance(load_pickle(data), Exception):
                return data
        except BaseException:  # as in message_of: __reduce__ and __init__ may raise anything
            continue
    return None


def _loses_slots(cls: type[BaseException]) -> bool:
    """Tell whether the pickle of such an exception would leave out its slots: it holds `args` and `__dict__`."""
    own_way = cls.__reduce__ is not BaseException.__reduce__ or cls.__reduce_ex__ is not object.__reduce_ex__
    return not own_way and any(_slots_of(cls))


def _slots_of(cls: type[BaseException]) -> Iterator[str]:
    for base in cls.__mro__:
        slots = base.__dict__.get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots


class _Bare:
    """An exception to be pickled without its `__init__`, which often takes other arguments than it keeps in `args`."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        error = self.error
        slots = {name: getattr(error, name) for name in _slots_of(type(error)) if hasattr(error, name)}
        return _revive, (type(error), error.args, vars(error), slots)


def _revive(
    cls: type[Exception], args: tuple[Any, ...], attributes: dict[str, Any], slots: dict[str, Any] | None = None
) -> Exception:
    error = cls.__new__(cls, *args)
    BaseException.__setattr__(error, "args", args)  # past a __setattr__ that refuses, as a frozen dataclass has it
    vars(error).update(attributes)
    for name, value in (slots or {}).items():
        object.__setattr__(error, name, value)
    return error


def _group_of_survivors(group: ExceptionGroup[Exception]) -> ExceptionGroup[Exception]:
    return ExceptionGroup(group.message, [_survivor_of_group(member) for member in group.exceptions])


def _survivor_of_group(member: Exception) -> Exception:
    if _survivor(member) is not None:
        return member
    if isinstance(member, ExceptionGroup):
        return _group_of_survivors(member)
    return RemoteError(message_of(member), type_name=type_name_of(member), traceback=traceback_of(member, ()))
