"""Locks, semaphores, rates and values that are shared by all tasks of a client, on whatever node: as users hold them.

Owns what a user's object remembers of its own places. What is shared is kept by the ventilator that owns the tasks, and
ends with it. The same objects serve in a task and in the client's program: a `Line` carries what they ask. Made by
`shares.py`.
"""

from __future__ import annotations

import itertools
import time
import weakref
from collections.abc import Callable
from typing import Any, NoReturn, Protocol, Self

from zmqtasks.asks import Acquire, Admit, Answer, Ask, Extend, GetKey, Inspect, Refused, Release, SetKey, Told
from zmqtasks.errors import HomeLost, RemoteProtocolError, SerializationError, TooBig, ZmqtasksError
from zmqtasks.options import MIB, parse_duration
from zmqtasks.wire import payload

MOST_VALUE_BYTES = MIB
"""Largest value under a key: what is larger is data, and travels better as an argument or in a file."""
MOST_NAME_CHARS = 200
_ERRORS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (ValueError, RuntimeError, TooBig, HomeLost, RemoteProtocolError, SerializationError)
}
_tokens = itertools.count(1)
"""Of the places that objects of this process ask for."""


class Line(Protocol):
    """The way to the ventilator that keeps what is shared."""

    def ask(self, ask: Ask) -> Answer:
        """Ask, and wait for the answer."""

    def post(self, ask: Ask) -> None:
        """Ask, and do not wait."""

    def later(self, function: Callable[[], object]) -> None:
        """Call a function soon; may be called where memory is collected."""


def checked_name(name: str) -> str:
    """Return the name of something shared.

    Raises:
        ValueError: there is none, or it is longer than 200 characters.
    """
    if not 0 < len(name) <= MOST_NAME_CHARS:
        raise ValueError(f"what is shared needs a name of 1 to {MOST_NAME_CHARS} characters, not {len(name)}")
    return name


def value_of(answer: Answer) -> Any:
    """Return what was told.

    Raises:
        ValueError: what was asked contradicts what is there.
        ZmqtasksError: what was asked cannot be done.
    """
    if isinstance(answer, Told):
        return answer.value
    if isinstance(answer, Refused):
        raise error_of(answer)
    raise ZmqtasksError(f"expected an answer, got {type(answer).__name__}")


def error_of(refused: Refused) -> Exception:
    """Return why something cannot be done."""
    return _ERRORS.get(refused.error, ZmqtasksError)(refused.text)


class _Holder:
    """What locks and semaphores have in common: places under a name."""

    def __init__(self, line: Line, name: str, most: int, ttl: float | str | None) -> None:
        self._line = line
        self._name = name
        self._most = most
        self._ttl = _checked_ttl(ttl)
        self._held: dict[int, float] = {}
        """Tokens of our places, and until when they are ours by our own clock."""
        self._end = weakref.finalize(self, _let_go, line, name, self._held)
        self._end.atexit = False

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait for a place, in the order of asking; return whether there is one.

        Args:
            timeout: seconds to wait; None for ever, 0 not at all.

        Raises:
            ValueError: the name is in use with another number of places.
        """
        if timeout is not None and timeout < 0:
            raise ValueError(f"timeout must be 0 seconds or more, not {timeout}")
        token, begun = next(_tokens), time.monotonic()
        ask = Acquire(self._name, token, self._most, self._ttl, timeout)
        try:
            acquired: bool = value_of(self._line.ask(ask))
        except BaseException:  # the task was interrupted, say: the place may be ours, or be so soon
            self._line.post(Release(self._name, token))
            raise
        if acquired:
            self._held[token] = float("inf") if self._ttl is None else begun + self._ttl
        return acquired

    def release(self) -> bool:
        """Give the place back; False where this object has none, or its time was over."""
        if not self._held:
            return False
        token, _ = self._held.popitem()
        released: bool = value_of(self._line.ask(Release(self._name, token)))
        return released

    def set_ttl(self, ttl: float | str | None) -> bool:
        """Keep the place for `ttl` seconds from now on, None for ever; False where it is not ours any more."""
        ttl_s, now = _checked_ttl(ttl), time.monotonic()
        token = next(reversed(self._held), None)
        if token is None or not value_of(self._line.ask(Extend(self._name, token, ttl_s))):
            return False
        self._held[token] = float("inf") if ttl_s is None else now + ttl_s
        return True

    def get_ttl(self) -> float | None:
        """Return for how many seconds the place is ours yet, infinity for ever; None where it is not ours."""
        token = next(reversed(self._held), None)
        if token is None:
            return None
        left: float | None = value_of(self._line.ask(Inspect(self._name, token)))
        return left

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} does not travel: make one where it is needed, by its name, with "
            "zmqtasks.current_client()"
        )


class Lock(_Holder):
    """A lock over the whole mesh, by its name; made by `client.lock`.

        with zmqtasks.current_client().lock("report"):
            ...

    One object holds it at a time. It is free again when that releases it or is gone, when its `ttl` is over, and when
    its worker or node has died. It is not reentrant.
    """

    def __init__(self, line: Line, name: str, ttl: float | str | None = 60.0) -> None:
        super().__init__(line, f"lock {checked_name(name)}", 1, ttl)

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait for the lock, in the order of asking; return whether it is ours.

        Args:
            timeout: seconds to wait; None for ever, 0 not at all.

        Raises:
            RuntimeError: this object holds it already.
        """
        if any(until > time.monotonic() for until in self._held.values()):
            raise RuntimeError("this object holds the lock already, and would wait for itself")
        self._held.clear()
        return super().acquire(timeout)

    def is_locked(self) -> bool:
        """Tell whether anybody holds it."""
        return bool(value_of(self._line.ask(Inspect(self._name))))


class Semaphore(_Holder):
    """A number of places over the whole mesh, by its name; made by `client.semaphore`.

    Each `acquire` takes a place, each `release` gives back the one that was taken last.
    """

    def __init__(self, line: Line, name: str, places: int, ttl: float | str | None = 60.0) -> None:
        if places < 1:
            raise ValueError(f"a semaphore needs 1 place or more, not {places}")
        super().__init__(line, f"semaphore {checked_name(name)}", places, ttl)

    def taken(self) -> int:
        """Return how many places are taken, by anybody."""
        taken: int = value_of(self._line.ask(Inspect(self._name)))
        return taken


class RateLimit:
    """So many turns in any stretch of time, over the whole mesh, by its name; made by `client.rate_limit`.

    with zmqtasks.current_client().rate_limit("api", 10, per=1.0):
        call_the_api()
    """

    def __init__(self, line: Line, name: str, most: int, per: float | str = 1.0) -> None:
        if most < 1:
            raise ValueError(f"a rate needs 1 turn or more, not {most}")
        self._line = line
        self._name = checked_name(name)
        self._most = most
        self._per_s = parse_duration(per)
        if not self._per_s:
            raise ValueError("per must be above 0 seconds")

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait for a turn, in the order of asking; return whether there is one.

        Args:
            timeout: seconds; where the turn would come later, False is returned at once. None waits for it.

        Raises:
            ValueError: the name is in use with another rate.
        """
        turn: bool = value_of(self._line.ask(Admit(self._name, self._most, self._per_s, timeout)))
        return turn

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """The turn was taken at the beginning; there is nothing to give back."""


def set_key(line: Line, name: str, value: object, serializer: str) -> bool:
    """Keep a value; return whether there was none under this name.

    Raises:
        TooBig: it is larger than 1 MiB, or all of them together are larger than 64 MiB.
        SerializationError: it cannot travel.
    """
    checked_name(name)
    (run,) = payload.pack([value], serializer=serializer, most_bytes=MOST_VALUE_BYTES)
    if run.body is None:
        assert run.error is not None
        if isinstance(run.error, TooBig):
            text = (
                f"a value under a key may take {MOST_VALUE_BYTES:,} bytes; give it as an argument, or put it in a file"
            )
            raise TooBig(text) from run.error
        raise run.error
    new: bool = value_of(line.ask(SetKey(name, payload.in_memory(run.body))))
    return new


def get_key(line: Line, name: str, default: object, serializer: str) -> Any:
    """Return the value under a name, or the default."""
    body = value_of(line.ask(GetKey(checked_name(name))))
    if body is None:
        return default
    found = payload.unpack(body, serializer=serializer)
    if found.errors:
        raise SerializationError(f"the value of {name!r} cannot be opened here") from found.errors[0]
    return found.values[0]


def _checked_ttl(ttl: float | str | None) -> float | None:
    if ttl is None:
        return None
    seconds = parse_duration(ttl)
    if not seconds:
        raise ValueError("ttl must be above 0 seconds; None keeps it for ever")
    return seconds


def _let_go(line: Line, name: str, held: dict[int, float]) -> None:
    """Give back what an object had that is gone."""
    for token in list(held):
        line.later(lambda token=token: line.post(Release(name, token)))  # type: ignore[misc]
