"""Records as rows: one a task, with the value as JSON where people can read it.

Owns what a row holds and how a value is shown. Knows no file and no thread; called by the writer, used by both formats.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import PurePath
from typing import Any, NamedTuple
from uuid import UUID

from zmqtasks.errors import RemoteProtocolError, ZmqtasksError
from zmqtasks.machines.collection import Record
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId, Outcome, OutcomeKind
from zmqtasks.options import Limits
from zmqtasks.wire import payload
from zmqtasks.wire.serializers import HARM, dump_pickle

NO_END = frozenset({OutcomeKind.RETURNED, OutcomeKind.RETRY})
"""The task is run again."""
STATUS: dict[OutcomeKind, str] = {kind: kind.name.lower() for kind in OutcomeKind if kind not in NO_END}
"""What the `status` of a row says."""

KIND = {status: kind for kind, status in STATUS.items()}

_PLAIN = frozenset({str, int, bool, type(None)})
_SHOWN_AS_TEXT = (date, Decimal, PurePath, UUID)


class Row(NamedTuple):
    """One task as it is stored; the columns of the table `results`, in their order."""

    job: JobId
    task: int
    status: str
    input: str | None
    value: str | None
    """JSON; None for a failure, and for a value that JSON cannot show."""
    pickle: bytes | None
    """The value itself, only where JSON does not give back the same."""
    error_type: str | None
    error: str | None
    traceback: str | None
    attempt: int
    node: str
    elapsed_s: float
    """Mean of the run of tasks this one came back with."""
    recorded_at: str
    """UTC, ISO 8601."""


class Opener(NamedTuple):
    """How bodies are opened: within which bounds, and "msgpack" where no pickle may ever be opened."""

    limits: Limits = Limits()
    serializer: str | None = None


class StoredJob(NamedTuple):
    """A job of which the store has heard; `total` is None where nobody told how many tasks it has."""

    id: JobId
    name: str = ""
    total: int | None = None


class Failed(NamedTuple):
    """A task that failed last; `input` is None where nobody told the store."""

    job: JobId
    task: int
    attempt: int
    input: str | None


class Recorded(NamedTuple):
    """What the store has of one job: tasks that are done, and of each failed one the attempt and the kind."""

    ok: RangeSet
    failed: dict[int, tuple[int, OutcomeKind]]


def rows(record: Record, inputs: Mapping[int, str], opener: Opener, recorded_at: str) -> Iterator[Row]:
    """Yield one row a task of `record`; a body that cannot be opened becomes the `error` of its rows."""
    make = _ok_rows if record.outcome.kind is OutcomeKind.OK else _failure_rows
    return make(record, inputs, opener, recorded_at)


def _ok_rows(record: Record, inputs: Mapping[int, str], opener: Opener, recorded_at: str) -> Iterator[Row]:
    outcome, start = record.outcome, record.start
    job, attempt, node = outcome.job, outcome.attempt, outcome.node
    mean_s = outcome.elapsed_s / (outcome.stop - outcome.start)
    values, errors = _open(record, opener)
    for task, value in enumerate(values, start):
        text, exact = show(value, opener.limits.message_bytes)
        pickled, error_type, error = None, None, None
        if task - start in errors:
            text, (error_type, error) = None, _told(errors[task - start])
        elif not exact:
            pickled, error_type, error = _pickled(value)
        yield Row(
            job, task, "ok", inputs.get(task), text, pickled, error_type, error, None,
            attempt, node, mean_s, recorded_at,
        )  # fmt: skip


def _failure_rows(record: Record, inputs: Mapping[int, str], opener: Opener, recorded_at: str) -> Iterator[Row]:
    outcome = record.outcome
    error_type, error, traceback = _describe(outcome, opener)
    status, mean_s = STATUS[outcome.kind], outcome.elapsed_s / (outcome.stop - outcome.start)
    for task in range(record.start, record.stop):
        yield Row(
            outcome.job, task, status, inputs.get(task), None, None, error_type, error, traceback,
            outcome.attempt, outcome.node, mean_s, recorded_at,
        )  # fmt: skip


def _describe(outcome: Outcome, opener: Opener) -> tuple[str, str, str]:
    """Return type, message and traceback of a failure, or why they cannot be had."""
    try:
        type_name, message, traceback = payload.describe_failure(outcome.body, opener.limits)
    except ZmqtasksError as error:
        return (*_told(error), "")
    return storable(type_name), storable(message), storable(traceback)


def _open(record: Record, opener: Opener) -> tuple[Sequence[Any], Mapping[int, Exception]]:
    """Return the values of a run of OK tasks, and why some of them cannot be had here."""
    outcome, count = record.outcome, record.stop - record.start
    first, last = record.start - outcome.start, record.stop - outcome.start
    try:
        if payload.count_of(outcome.body) != outcome.stop - outcome.start:
            raise RemoteProtocolError(f"results of {outcome.stop - outcome.start} tasks expected, got another number")
        opened = payload.unpack(
            outcome.body, first=first, last=last, limits=opener.limits, serializer=opener.serializer
        )
    except ZmqtasksError as error:
        return [None] * count, dict.fromkeys(range(count), error)
    return opened.values, opened.errors


def _pickled(value: object) -> tuple[bytes | None, str | None, str | None]:
    """Return the pickle of `value`, or the type and text of what hinders it."""
    try:
        return dump_pickle(value), None, None
    except HARM as error:
        return (None, *_told(error))


def _told(error: BaseException) -> tuple[str, str]:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return name, storable(str(error))


def storable(text: str) -> str:
    r"""Return `text` with what UTF-8 cannot carry (lone surrogates, as in odd file names) written as `\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode()


def show(value: object, most_chars: int) -> tuple[str | None, bool]:
    """Return `value` as JSON, or None where that cannot be; and whether the JSON gives back exactly the same.

    Tuples are shown as lists, dataclasses as objects, NaN and infinity as null, dates, paths, decimals and UUIDs as
    text, keys as text. Bytes, sets and other objects are not shown at all.
    """
    try:
        exact = _is_exact(value)
        text = json.dumps(value if exact else _shown(value))
    except (TypeError, ValueError, RecursionError):  # ValueError: an integer of more digits than Python will print
        return None, False
    return (text, exact) if len(text) <= most_chars else (None, False)


def _is_exact(value: object) -> bool:
    """Tell whether JSON gives back the same value: same types, same order, nothing lost."""
    kind = type(value)
    if kind in _PLAIN:
        return True
    if isinstance(value, float):
        return kind is float and math.isfinite(value)
    if kind is list:
        return all(map(_is_exact, value))  # type: ignore[call-overload]
    if isinstance(value, dict):
        return kind is dict and all(type(key) is str for key in value) and all(map(_is_exact, value.values()))
    return False


def _shown(value: Any) -> Any:
    """Return something JSON can carry that reads like `value`.

    Raises:
        TypeError: there is no such thing.
    """
    if type(value) in _PLAIN or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _shown(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _shown(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, _SHOWN_AS_TEXT):
        return str(value)
    raise TypeError(f"JSON cannot show a {type(value).__qualname__}")
