"""Failures as bodies: an exception with its traceback, from the worker to whoever waits for the task.

Owns the layout of the body. Packing never fails, whatever the exception does when it is touched; and what would end the
receiver, such as `SystemExit`, never arrives as such. Called by workers and nodes (which pack), and by clients and
stores (which unpack, or only describe).

A body is a msgpack map:

    n   name of the class
    m   message
    b   traceback as text, empty where there is none
    o   an error of zmqtasks itself: [class, args, attributes], plain data
    p   any other exception, pickled; only where that gave an exception again in the worker, and never in safe mode
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from zmqtasks.errors import RemoteError, RemoteProtocolError, RemoteTraceback
from zmqtasks.messages import Body
from zmqtasks.options import Limits
from zmqtasks.wire.exceptions import (
    message_of,
    own_parts,
    pickled,
    rebuild_own,
    traceback_of,
    type_name_of,
    without_exit,
)
from zmqtasks.wire.fields import malformed, text
from zmqtasks.wire.headers import pack_map, parse_map
from zmqtasks.wire.loans import in_memory
from zmqtasks.wire.serializers import HARM, Serializer, load_pickle, serializer_of, told

OUR_MODULES = ("zmqtasks.processes", "zmqtasks.wire")
"""Modules whose frames at the top of a traceback are ours, and tell the user nothing."""


class Description(NamedTuple):
    """A failure for people and tables."""

    type_name: str
    message: str
    traceback: str


def pack_failure(
    error: BaseException,
    *,
    serializer: str = "pickle",
    our_modules: tuple[str, ...] = OUR_MODULES,
    exit_known: Mapping[str, Any] = MappingProxyType({}),
) -> bytes:
    """Return the body of an exception; its traceback begins at the user's first frame.

    `SystemExit` becomes `WorkerCrashed` with its exit code.

    Args:
        error: what the task raised, or one of ours.
        serializer: that of the job; "msgpack" pickles nothing.
        our_modules: packages whose frames at the top are left out.
        exit_known: further attributes of the `WorkerCrashed` that a `SystemExit` becomes.

    Raises:
        ValueError: no such serializer.
    """
    safe = serializer_of(serializer) is Serializer.MSGPACK
    trace = traceback_of(error, our_modules)
    error = without_exit(error, exit_known)
    values: dict[str, Any] = {"n": type_name_of(error), "m": message_of(error), "b": trace}
    own = own_parts(error)
    if own is not None:
        values["o"] = own
    elif not safe and (data := pickled(error)) is not None:
        values["p"] = data
    return pack_map(values)


def unpack_failure(body: Body, limits: Limits, serializer: str | None = None) -> Exception:
    """Return the exception of a failure, with the remote traceback as its `__cause__` where there is one.

    What cannot be rebuilt here arrives as `RemoteError`, where need be with a note that says why.

    Args:
        body: what `pack_failure` made.
        limits: how large it may be.
        serializer: that of the job; in safe mode pass "msgpack": then no pickle is opened. None opens what there is.

    Raises:
        RemoteProtocolError: the body is malformed or too large.
    """
    values = _parsed(body, limits)
    about = _described(values)
    error: Exception | None = None
    if "o" in values:
        error = rebuild_own(values["o"])
    elif "p" in values and (serializer is None or serializer_of(serializer) is Serializer.PICKLE):
        error = _unpickled(values["p"], about)
    if error is None:
        error = _stand_in(about)
    if about.traceback:
        # Past a __setattr__ that refuses, as a frozen dataclass has it.
        BaseException.__setattr__(error, "__cause__", RemoteTraceback(about.traceback))
    return error


def describe_failure(body: Body, limits: Limits) -> Description:
    """Return class name, message and traceback of a failure as text; opens no pickle.

    Raises:
        RemoteProtocolError: the body is malformed or too large.
    """
    return _described(_parsed(body, limits))


def _parsed(body: Body, limits: Limits) -> dict[str, Any]:
    if len(body) > limits.message_bytes:
        raise RemoteProtocolError(f"failure: expected at most {limits.message_bytes} bytes, got {len(body)}")
    return parse_map(in_memory(body), "failure", limits.items)


def _described(values: dict[str, Any]) -> Description:
    return Description(*(text(values.get(key), f"failure.{key}") for key in "nmb"))


def _unpickled(data: object, about: Description) -> Exception:
    if type(data) is not bytes:
        malformed("failure.p", "bytes", data)
    try:
        error = load_pickle(data)
    except HARM as second:
        error = _stand_in(about)
        error.add_note(f"It stands for the exception itself, which cannot be unpickled here: {told(second)}")
    if isinstance(error, Exception):
        return error
    return _stand_in(about)


def _stand_in(about: Description) -> RemoteError:
    return RemoteError(about.message, type_name=about.type_name, traceback=about.traceback)
