"""What is run through the face of `concurrent.futures.Executor`. No peer itself; those that have that face share it."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable
from typing import Any

from bench.peers.peer import Runner


class ExecutorRunner(Runner):
    """Any `concurrent.futures.Executor`."""

    takes_chunks = True

    def __init__(self, pool: concurrent.futures.Executor) -> None:
        self.pool = pool

    def call(self, function: Callable[..., Any], argument: Any) -> Any:
        """See `Runner`."""
        return self.pool.submit(function, argument).result()

    def submit(self, function: Callable[..., Any], arguments: Iterable[Any]) -> list[Any]:
        """See `Runner`."""
        return [future.result() for future in [self.pool.submit(function, argument) for argument in arguments]]

    def map(self, function: Callable[..., Any], arguments: Iterable[Any], chunk: int | None) -> Iterable[Any]:
        """See `Runner`."""
        return self.pool.map(function, arguments, chunksize=chunk or 1)


class UnchunkedRunner(ExecutorRunner):
    """An executor whose `map` is a submit for each."""

    takes_chunks = False

    def map(self, function: Callable[..., Any], arguments: Iterable[Any], chunk: int | None) -> Iterable[Any]:
        """See `Runner`."""
        return self.pool.map(function, arguments)
