"""What `map` returns: an iterator whose steps from one value to the next are taken in C.

Owns the way from runs of results to single values, in the consumer's thread. Called by `client.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, cast

from zmqtasks.embedded.mapping import Mapping


class Results(chain[Any]):
    """The results of a mapping; made by `results_of`.

    A generator that yields value by value costs four times as much as a chain of lists.
    """

    _runs: _Runs
    _lists: Iterator[list[Any]]

    def close(self) -> None:
        """Give up what has not been taken; idempotent."""
        self._runs.current.clear()
        self._lists.close()  # type: ignore[attr-defined]  # it is a generator


class _Runs:
    """The runs of a mapping as lists, as they are asked for."""

    def __init__(self, mapping: Mapping, deadline: float | None) -> None:
        self.current: list[Any] = []
        """The list that is being consumed."""
        self._mapping = mapping
        self._deadline = deadline

    def __iter__(self) -> Iterator[list[Any]]:
        mapping = self._mapping
        try:
            while not mapping.is_over:
                mapping.pull()
                run = mapping.take()
                if run is not None:
                    self.current, error = run.opened()
                    yield self.current
                    self.current = []
                    if error is not None:
                        raise error
                elif not mapping.is_over and not mapping.widen():
                    mapping.wait(self._deadline)
        finally:
            mapping.close()


def results_of(mapping: Mapping, deadline: float | None) -> Results:
    """Return the results of a mapping that has begun.

    Args:
        mapping: whose runs nobody else takes.
        deadline: monotonic time by which each has to be there.
    """
    runs = _Runs(mapping, deadline)
    lists = iter(runs)
    results = cast("Results", Results.from_iterable(lists))
    results._runs, results._lists = runs, lists
    return results
