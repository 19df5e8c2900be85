"""MPIRE's WorkerPool on fork. Source: https://sybrenjansen.github.io/mpire: `keep_alive`, `shared_objects`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import mpire  # type: ignore[import-not-found, unused-ignore]

from bench.peers.peer import WORKERS, Demand, Peer, Runner
from bench.work import nothing

FIRST = """
from mpire import WorkerPool
pool = WorkerPool(n_jobs=2)
assert pool.apply(abs, (-1,)) == 1
"""


class _Pool(Runner):
    takes_chunks = True

    def __init__(self, single: Any, many: Any) -> None:
        self._single, self._many = single, many

    def call(self, function: Callable[..., Any], argument: Any) -> Any:
        return self._single.apply(function, (argument,))

    def submit(self, function: Callable[..., Any], arguments: Iterable[Any]) -> list[Any]:
        return [result.get() for result in [self._single.apply_async(function, (argument,)) for argument in arguments]]

    def map(self, function: Callable[..., Any], arguments: Iterable[Any], chunk: int | None) -> Iterable[Any]:
        return self._many.map(function, arguments, chunk_size=chunk)  # type: ignore[no-any-return]

    def share(self, function: Callable[..., Any], big: Any, arguments: Iterable[Any]) -> Iterable[Any]:
        """Let new workers inherit it by fork: copy on write."""
        with mpire.WorkerPool(n_jobs=WORKERS, shared_objects=big) as pool:
            return pool.map(function, arguments)  # type: ignore[no-any-return]


@contextlib.contextmanager
def _open(demand: Demand) -> Iterator[Runner]:
    # One that has served `apply` calls functions wrongly in `map` afterwards (2.10.2): so there are two.
    with (
        mpire.WorkerPool(n_jobs=demand.workers, keep_alive=True) as single,
        mpire.WorkerPool(n_jobs=demand.workers, keep_alive=True) as many,
    ):
        single.apply(nothing, (0,))
        many.map(nothing, range(10))
        yield _Pool(single, many)


PEER = Peer(("mpire",), _open, FIRST, "pool.terminate()")
