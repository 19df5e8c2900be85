"""Functions, classes and exceptions that tests send: importable, and each with its own way to misbehave."""

from __future__ import annotations

from typing import Any


def double(x: int) -> int:
    return 2 * x


def task(function: Any) -> Any:
    function.__zmqtasks_task__ = {}
    return function


@task
def registered(x: int) -> int:
    return x + 1


class Shape:
    def __init__(self, side: int = 1) -> None:
        self.side = side

    def area(self) -> int:
        return self.side**2

    @staticmethod
    def unit() -> int:
        return 1


NOT_CALLABLE = [1, 2]


class RaisesWhenPickled:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


def _raise(error: BaseException) -> None:
    raise error


class RaisesWhenUnpickled:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        return _raise, (self.error,)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Endless(Exception):
    def __str__(self) -> str:
        return str(self)


class QuitsWhenPrinted(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class TwoArguments(Exception):
    """The usual mistake: keeps one argument and wants two, so that plain pickle cannot rebuild it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class ReducesToText(Exception):
    def __reduce__(self) -> Any:
        return str, ("not an exception",)


class QuitsWhenRebuilt(Exception):
    def __reduce__(self) -> Any:
        return _raise, (SystemExit(9),)
