"""Functions that raise what is hard to tell; tests send them to workers by name."""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

RAISERS: dict[str, Callable[[], object]] = {}
"""Each raises, by name; `raise_this` is the task."""


def raiser(function: Callable[[], object]) -> Callable[[], object]:
    RAISERS[function.__name__] = function
    return function


def raise_this(name: str) -> str:
    """Raise what `name` stands for; "" is a task that returns."""
    if name:
        RAISERS[name]()
    return name


class Slotted(Exception):
    __slots__ = ("code",)

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, code)
        self.code = code


class SlottedAlone(Exception):
    """Its `__init__` fills a slot from other arguments than it keeps."""

    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class OwnBase(BaseException):
    """A user's own way out, which `except Exception` does not catch."""


class StrRaises(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError("in __str__")


class StrIsNoString(Exception):
    def __str__(self) -> str:
        return 3  # type: ignore[return-value]


class ReprRaises(Exception):
    def __repr__(self) -> str:
        raise ZeroDivisionError("in __repr__")


class ReduceRaises(Exception):
    def __reduce__(self) -> Any:
        raise KeyboardInterrupt


class ReduceExits(Exception):
    def __reduce__(self) -> Any:
        os._exit(9)


class StrNeverEnds(Exception):
    def __str__(self) -> str:
        while True:
            time.sleep(0.01)


class ReduceNeverEnds(Exception):
    def __reduce__(self) -> Any:
        while True:
            time.sleep(0.01)


class InitRaises(Exception):
    """Made once, it cannot be made again."""

    made = 0

    def __init__(self) -> None:
        InitRaises.made += 1
        if InitRaises.made > 1:
            raise SystemExit("no second one")
        super().__init__("the first one")


class Unfriendly(Exception):
    """Raises whatever is asked of it."""

    def __getattribute__(self, name: str) -> Any:
        raise MemoryError(name)


class LyingClass(Exception):
    """Says that it is another class."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no class")


@raiser
def slotted() -> None:
    raise Slotted("slots", 7)


@raiser
def slotted_alone() -> None:
    raise SlottedAlone(8)


@raiser
def cycle() -> None:
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__context__ = second, first
    second.__cause__ = first
    first.itself = first  # type: ignore[attr-defined]
    raise first


@raiser
def class_of_the_task() -> None:
    class Here(Exception):
        pass

    raise Here("made on the spot")


@raiser
def own_base() -> None:
    raise OwnBase("the user's own")


@raiser
def keyboard_interrupt() -> None:
    raise KeyboardInterrupt("not from a keyboard")


@raiser
def generator_exit() -> None:
    raise GeneratorExit("no generator")


@raiser
def stop_iteration() -> None:
    raise StopIteration("nothing to iterate")


@raiser
def stop_async_iteration() -> None:
    raise StopAsyncIteration("nothing to iterate")


@raiser
def nested_groups() -> None:
    error: Exception = ValueError("the core")
    for depth in range(50):
        error = ExceptionGroup(f"depth {depth}", [error])
    raise error


@raiser
def nested_groups_with_a_lock() -> None:
    error: Exception = ValueError("the core", threading.Lock())
    for depth in range(50):
        error = ExceptionGroup(f"depth {depth}", [error])
    raise error


@raiser
def wide_group() -> None:
    raise ExceptionGroup("wide", [ValueError(number) for number in range(10_000)])


@raiser
def wide_group_with_locks() -> None:
    raise ExceptionGroup("wide", [ValueError(number, threading.Lock()) for number in range(10_000)])


@raiser
def base_group() -> None:
    raise BaseExceptionGroup("of all kinds", [ValueError("one"), KeyboardInterrupt(), SystemExit(3)])


@raiser
def long_chain() -> None:
    error = ValueError("link 0")
    for number in range(1, 1000):
        following = ValueError(f"link {number}")
        following.__cause__ = error
        error = following
    raise error


@raiser
def odd_notes() -> None:
    error = ValueError("noted")
    error.__notes__ = [3, None, b"\xff", "\udc80", ReprRaises()]  # type: ignore[list-item]
    raise error


@raiser
def notes_that_are_no_list() -> None:
    error = ValueError("noted")
    error.__notes__ = 3  # type: ignore[assignment]
    raise error


@raiser
def recursion() -> None:
    recursion()


@raiser
def fifty_megabytes() -> None:
    raise ValueError("x" * 50 * 2**20)


@raiser
def fifty_megabytes_beside() -> None:
    error = ValueError("small text")
    error.payload = bytes(50 * 2**20)  # type: ignore[attr-defined]
    raise error


@raiser
def str_raises() -> None:
    raise StrRaises


@raiser
def str_is_no_string() -> None:
    raise StrIsNoString


@raiser
def repr_raises() -> None:
    raise ReprRaises("its repr raises")


@raiser
def repr_of_an_argument_raises() -> None:
    raise ValueError(ReprRaises("inner"), 1)


@raiser
def reduce_raises() -> None:
    raise ReduceRaises("its reduce raises")


@raiser
def init_raises() -> None:
    InitRaises.made = 0
    raise InitRaises


@raiser
def unfriendly() -> None:
    raise Unfriendly("leave me alone")


@raiser
def lying_class() -> None:
    raise LyingClass("guess")


@raiser
def reduce_exits() -> None:
    raise ReduceExits("its reduce ends the process")


@raiser
def str_never_ends() -> None:
    raise StrNeverEnds


@raiser
def reduce_never_ends() -> None:
    raise ReduceNeverEnds("its reduce never ends")


@raiser
def out_of_memory() -> None:
    bytes(2**62)


@raiser
def exit_with_a_string() -> None:
    sys.exit("\udc80 gone")


@raiser
def exit_with_a_huge_code() -> None:
    sys.exit(2**70)


@raiser
def exit_with_true() -> None:
    sys.exit(True)


@raiser
def exit_with_an_object() -> None:
    raise SystemExit(ReprRaises())


@raiser
def warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.warn("taken seriously", UserWarning, stacklevel=1)


@raiser
def syntax_error() -> None:
    compile("def f(:\n", "given.py", "exec")


@raiser
def syntax_error_with_bytes() -> None:
    raise SyntaxError("bad", ("given.py", 1, 1, b"\xff\xfe"))


@raiser
def surrogates() -> None:
    "\udc80\ud800".encode()


@raiser
def decoding() -> None:
    b"\xff".decode()


@raiser
def odd_name() -> None:
    raise type("\udc80 odd\nname", (Exception,), {"__module__": None})("of an odd class")


def raise_in_the_middle(value: int, name: str, at: int) -> int:
    if value == at:
        RAISERS[name]()
    return value
