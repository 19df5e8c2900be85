"""Which failures are worth another run, as text: `TaskOptions.retry_on` as it travels.

Owns its form. Exception types and functions travel as functions do: by name where a worker can import them, by value
otherwise. What only a ventilator hears of, that a limit of time or memory was passed, is decided where the text is
made. Called by clients and commands, and by the workers, which judge exceptions.

    kinds ";" where *("," where)       kinds  names of `OutcomeKind` that are worth another run, with "," between
                                       where  "module:qualified.name", or "=" and a pickle in base64
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Sequence
from typing import Any

from zmqtasks.errors import MemoryLimitExceeded, TaskTimeout
from zmqtasks.messages import OutcomeKind
from zmqtasks.wire.functions import Kind, pack_function, pack_name, resolve

logger = logging.getLogger(__name__)

Judge = Callable[[BaseException], bool]
Open = Callable[[bytes], Callable[..., Any]]
_LIMITS = {OutcomeKind.TIMEOUT: TaskTimeout, OutcomeKind.OUT_OF_MEMORY: MemoryLimitExceeded}


def pack_retry_on(retry_on: Any, serializer: str = "pickle") -> str:
    """Return the text for exception types, a function of an exception, or names of both; text it leaves as it is.

    Raises:
        SerializationError: it cannot travel.
    """
    if isinstance(retry_on, str):
        if ";" in retry_on:
            return retry_on
        retry_on = tuple(retry_on.split(","))
    parts = [resolve(part) if isinstance(part, str) else part for part in _as_tuple(retry_on)]
    judge = _judge_of(parts)
    kinds = [kind.name for kind, error in _LIMITS.items() if judge(error())]
    return ",".join(kinds) + ";" + ",".join(_pack(part, serializer) for part in parts)


def unpack_retry_on(text: str, open_function: Open, may_import: Callable[[str], bool] = lambda module: True) -> Judge:
    """Return what tells whether an exception is worth another run.

    Args:
        text: what `pack_retry_on` made.
        open_function: opens the body of a function, or refuses to.
        may_import: tells whether a module may be imported to look for an exception type.

    Raises:
        ImportError: a module cannot be imported; and whatever else `open_function` raises.
    """
    return _judge_of([_unpack(part, open_function, may_import) for part in text.partition(";")[2].split(",")])


def _as_tuple(retry_on: Any) -> tuple[Any, ...]:
    return retry_on if isinstance(retry_on, tuple) else (retry_on,)


def _pack(part: Any, serializer: str) -> str:
    body = pack_function(part, "pickle" if _is_exception_type(part) else serializer)
    return body[1:].decode() if body[0] == Kind.NAME else "=" + base64.b64encode(body[1:]).decode()


def _unpack(part: str, open_function: Open, may_import: Callable[[str], bool]) -> Any:
    if part.startswith("="):
        return open_function(bytes([Kind.VALUE]) + base64.b64decode(part[1:]))
    if may_import(part.partition(":")[0]):
        found = resolve(part)
        if _is_exception_type(found):
            return found
    return open_function(pack_name(part))


def _judge_of(parts: Sequence[Any]) -> Judge:
    types = tuple(part for part in parts if _is_exception_type(part))
    functions = [part for part in parts if not _is_exception_type(part)]

    def judge(error: BaseException) -> bool:
        if isinstance(error, types):
            return True
        try:
            return any(function(error) for function in functions)
        except Exception:
            logger.exception("retry_on raised, and counts as no")
            return False

    return judge


def _is_exception_type(part: object) -> bool:
    return isinstance(part, type) and issubclass(part, BaseException)
