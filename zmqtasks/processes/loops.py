"""The loops that call tasks, and show which one is at hand.

Owns what is done once a task in a worker, and nothing else: here a nanosecond counts. Each returns when the last task
that is done ended, and what the next one raised; what is done is in `results`. Called by `execution.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import Any

from zmqtasks.processes.progress import INDEX, STARTED
from zmqtasks.wire.payload import Form

GRANULE_NS = 1_000_000
"""The slot may say that a task began this much earlier than it did, no more: telling exactly costs too much a task."""
TINY_NS = 10_000
"""Where the last tasks took no longer than this, and none has a limit, the clock is read once for four of them."""

Function = Callable[..., Any]
Values = Sequence[Any]
Ended = tuple[int, BaseException | None]
CallEach = Callable[[Function, Values, memoryview, list[Any], int], Ended]

# The loops that each task passes, one a form because a test or a second call a task would cost more than all the rest.
# The start of a task is stored before its index (see `ProgressTable.read`), and only when it is news.


def _call_one(function: Function, values: Values, slot: memoryview, results: list[Any], flush_ns: int) -> Ended:
    """Call `function(value)` for each value until one raises or the clock passes `flush_ns`.

    What is done is in `results`. Return when the last of them ended, and what was raised.
    """
    append, clock = results.append, monotonic_ns
    index, now = slot[INDEX], slot[STARTED]
    mark_ns = now + GRANULE_NS
    try:
        for value in values:
            append(function(value))
            now = clock()
            if now > mark_ns:
                slot[STARTED] = now
                if now > flush_ns:
                    slot[INDEX] = index + 1
                    break
                mark_ns = now + GRANULE_NS
            slot[INDEX] = index = index + 1
    except BaseException as error:
        return now, error
    return now, None


def _call_many(function: Function, values: Values, slot: memoryview, results: list[Any], flush_ns: int) -> Ended:
    append, clock = results.append, monotonic_ns
    index, now = slot[INDEX], slot[STARTED]
    mark_ns = now + GRANULE_NS
    try:
        for args in values:
            append(function(*args))
            now = clock()
            if now > mark_ns:
                slot[STARTED] = now
                if now > flush_ns:
                    slot[INDEX] = index + 1
                    break
                mark_ns = now + GRANULE_NS
            slot[INDEX] = index = index + 1
    except BaseException as error:
        return now, error
    return now, None


def _call_call(function: Function, values: Values, slot: memoryview, results: list[Any], flush_ns: int) -> Ended:
    append, clock = results.append, monotonic_ns
    index, now = slot[INDEX], slot[STARTED]
    mark_ns = now + GRANULE_NS
    try:
        for args, kwargs in values:
            append(function(*args, **kwargs))
            now = clock()
            if now > mark_ns:
                slot[STARTED] = now
                if now > flush_ns:
                    slot[INDEX] = index + 1
                    break
                mark_ns = now + GRANULE_NS
            slot[INDEX] = index = index + 1
    except BaseException as error:
        return now, error
    return now, None


# A look at the clock costs twice what a task does that does nothing. Where nobody waits for a task to pass a limit, one
# in four is enough: should such tasks turn out long all of a sudden, up to three more are done before results are sent.


def _call_fours_one(function: Function, values: Values, slot: memoryview, results: list[Any], flush_ns: int) -> Ended:
    """Do as `_call_one`, four tasks at a time; the number of values is a multiple of four."""
    append, clock = results.append, monotonic_ns
    index, now = slot[INDEX], slot[STARTED]
    mark_ns = now + GRANULE_NS
    ahead = iter(values)
    try:
        for a, b, c, d in zip(ahead, ahead, ahead, ahead, strict=True):
            append(function(a))
            slot[INDEX] = index + 1
            append(function(b))
            slot[INDEX] = index + 2
            append(function(c))
            slot[INDEX] = index + 3
            append(function(d))
            now = clock()
            if now > mark_ns:
                slot[STARTED] = now
                if now > flush_ns:
                    slot[INDEX] = index + 4
                    break
                mark_ns = now + GRANULE_NS
            slot[INDEX] = index = index + 4
    except BaseException as error:
        return now, error
    return now, None


def _call_fours_many(function: Function, values: Values, slot: memoryview, results: list[Any], flush_ns: int) -> Ended:
    append, clock = results.append, monotonic_ns
    index, now = slot[INDEX], slot[STARTED]
    mark_ns = now + GRANULE_NS
    ahead = iter(values)
    try:
        for a, b, c, d in zip(ahead, ahead, ahead, ahead, strict=True):
            append(function(*a))
            slot[INDEX] = index + 1
            append(function(*b))
            slot[INDEX] = index + 2
            append(function(*c))
            slot[INDEX] = index + 3
            append(function(*d))
            now = clock()
            if now > mark_ns:
                slot[STARTED] = now
                if now > flush_ns:
                    slot[INDEX] = index + 4
                    break
                mark_ns = now + GRANULE_NS
            slot[INDEX] = index = index + 4
    except BaseException as error:
        return now, error
    return now, None


CALLS: dict[Form, CallEach] = {Form.ONE: _call_one, Form.MANY: _call_many, Form.CALL: _call_call}
"""The exact loops."""
CALLS_OF_FOUR: dict[Form, CallEach] = {Form.ONE: _call_fours_one, Form.MANY: _call_fours_many}
"""Those for tiny tasks without limits; what has keywords is not worth one."""
LOOPS = frozenset(loop.__code__ for loop in (*CALLS.values(), *CALLS_OF_FOUR.values()))
