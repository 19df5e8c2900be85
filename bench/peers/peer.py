"""What a peer is to the bench: how it is opened, and how it runs work.

Owns the words between the cases and the peers; imports nothing but the standard library, because each peer runs in an
environment of its own. A peer is used as its own documentation says is best, and what it cannot do it does not claim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

WORKERS = 2
HUNG_S = 40.0
"""Who has not answered by then never will: the work of a case takes seconds."""


class Hung(Exception):
    """A peer gave no answer."""


class Cannot(Exception):
    """A peer has no such thing; it is left out of the case, and named."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What workers a case wants.

    Args:
        workers: how many.
        fresh: whether each task gets a process of its own.
        short: whether tasks are short and many, for peers whose documentation tells to prefetch then.
    """

    workers: int = WORKERS
    fresh: bool = False
    short: bool = True


@dataclass(frozen=True, slots=True)
class Work:
    """Tasks of which some go wrong.

    Args:
        function: importable, of one argument.
        arguments: one a task.
        timeout: seconds a task may run, or None.
    """

    function: Callable[[int], Any]
    arguments: Sequence[int]
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a task: a value, or a failure ("crash", "timeout" or "error") and what was told of it."""

    value: Any = None
    failure: str = ""
    told: str = ""
    error: BaseException | None = None


class Runner:
    """A peer whose workers are ready. What is not overridden is what this peer cannot do."""

    takes_chunks = False
    """Whether `map` wants a chunk size from its user; the bench then searches for the best one."""

    def call(self, function: Callable[..., Any], argument: Any) -> Any:
        """Make one call and wait for its result."""
        raise Cannot("call")

    def submit(self, function: Callable[..., Any], arguments: Iterable[Any]) -> list[Any]:
        """Hand over each call by itself, then collect all results."""
        raise Cannot("submit")

    def map(self, function: Callable[..., Any], arguments: Iterable[Any], chunk: int | None) -> Iterable[Any]:
        """Make all calls in the way that is best for many."""
        raise Cannot("map")

    def share(self, function: Callable[..., Any], big: Any, arguments: Iterable[Any]) -> Iterable[Any]:
        """Call `function(big, argument)` for each argument, in the way that is best where one argument is large."""
        raise Cannot("share")

    def outcomes(self, work: Work) -> list[Answer]:
        """Run tasks of which some go wrong, and tell what became of each."""
        raise Cannot("outcomes")

    def backlog(self, size: int, *, at_once: bool) -> tuple[float, float]:
        """Produce so many tasks that do nothing, then consume them; return the seconds that each took."""
        raise Cannot("backlog")

    def observed(self) -> dict[str, float]:
        """Return further figures of what has just been run."""
        return {}


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody who runs work.

    Args:
        packages: distributions whose versions go into the record; the standard library has none.
        open: makes workers ready and ends them; gives what runs work on them.
        first: a program that begins with the import and ends with the first result of a call on two workers.
        last: what that program ends with.
    """

    packages: tuple[str, ...]
    open: Callable[[Demand], AbstractContextManager[Runner]]
    first: str = ""
    last: str = ""
