"""The standard library's multiprocessing.Pool, on fork. It knows no timeout, and waits for ever where a worker dies."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from bench.peers.peer import WORKERS, Answer, Demand, Peer, Runner, Work
from bench.work import keep, nothing, with_kept

FIRST = """
from multiprocessing import Pool
pool = Pool(2)
assert pool.apply(abs, (-1,)) == 1
"""


class PoolRunner(Runner):
    """Whatever has the methods of `multiprocessing.Pool`."""

    takes_chunks = True

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    def call(self, function: Callable[..., Any], argument: Any) -> Any:
        """See `Runner`."""
        return self.pool.apply(function, (argument,))

    def submit(self, function: Callable[..., Any], arguments: Iterable[Any]) -> list[Any]:
        """See `Runner`."""
        return [result.get() for result in [self.pool.apply_async(function, (argument,)) for argument in arguments]]

    def map(self, function: Callable[..., Any], arguments: Iterable[Any], chunk: int | None) -> Iterable[Any]:
        """See `Runner`."""
        return self.pool.map(function, arguments, chunksize=chunk)  # type: ignore[no-any-return]

    def share(self, function: Callable[..., Any], big: Any, arguments: Iterable[Any]) -> Iterable[Any]:
        """Let new workers inherit it, by fork, in their initializer: so it is never sent."""
        with multiprocessing.get_context("fork").Pool(WORKERS, keep, (big,)) as pool:
            return pool.map(partial(with_kept, function), arguments)

    def outcomes(self, work: Work) -> list[Answer]:
        """Run work of which nothing fails: it waits for ever where a worker dies."""
        return [Answer(value) for value in self.pool.map(work.function, work.arguments, chunksize=1)]


@contextlib.contextmanager
def _open(demand: Demand) -> Iterator[Runner]:
    with multiprocessing.get_context("fork").Pool(demand.workers, maxtasksperchild=1 if demand.fresh else None) as pool:
        pool.apply(nothing, (0,))
        yield PoolRunner(pool)


PEER = Peer((), _open, FIRST, "pool.terminate(); pool.join()")
