"""What a task asks of the ventilator that owns its job, and what it is answered: the values in the body of an errand.

Owns the words. `wire/asking.py` knows their bytes, `machines/sharing.py` what follows from those about locks, rates and
keys. A client asks its own ventilator in the same words.
"""

from __future__ import annotations

from typing import Any

from zmqtasks.messages import Buffer, OutcomeKind
from zmqtasks.records import Value

# Asked


class Acquire(Value):
    """Have one of `most` places of what bears this name, before others that ask later."""

    name: str
    token: int
    """Of the place, drawn by whoever asks: nobody else can give it back."""
    most: int = 1
    ttl: float | None = None
    """After so many seconds the place is free again, whoever has it."""
    timeout: float | None = None
    """Wait so long; None for ever, 0 not at all."""


class Release(Value):
    """Give a place back, or ask no more for it."""

    name: str
    token: int


class Extend(Value):
    """Have a place for `ttl` seconds from now on."""

    name: str
    token: int
    ttl: float | None


class Inspect(Value):
    """How many places are taken? With a token of one's own: how long is it kept yet?"""

    name: str
    token: int = 0


class Admit(Value):
    """Wait for a turn, of which there are at most `most` within any `per_s` seconds."""

    name: str
    most: int
    per_s: float
    timeout: float | None = None


class SetKey(Value):
    """Keep a value."""

    name: str
    body: Buffer


class GetKey(Value):
    """Return a value."""

    name: str


class DeleteKey(Value):
    """Forget a value."""

    name: str


class Spawn(Value):
    """Run calls of a function; answered by their number at once, and with `awaited` by what becomes of each."""

    function: Buffer
    name: str
    options: dict[str, Any]
    """Those that are not as the client has them for all calls."""
    body: Buffer
    """Their arguments, as a chunk has them."""
    count: int
    awaited: bool
    trace_id: str = ""


class Disregard(Value):
    """Nobody waits any more for the calls that were spawned by this number; answered by `NO_MORE` under that."""

    number: int


Ask = Acquire | Release | Extend | Inspect | Admit | SetKey | GetKey | DeleteKey | Spawn | Disregard

# Answered


class Told(Value):
    """The answer to what was asked."""

    value: bool | int | float | bytes | None


NO_MORE = Told(None)
"""Nothing more comes about the calls that were spawned by this number."""


class Refused(Value):
    """What was asked cannot be done."""

    error: str
    """Name of an exception."""
    text: str


class Ended(Value):
    """What became of the calls [start, stop) that were spawned; a failure where `kind` is not OK."""

    start: int
    stop: int
    kind: OutcomeKind
    body: Buffer
    first: int = 0
    """Where in the body the value of `start` stands."""


Answer = Told | Refused | Ended
