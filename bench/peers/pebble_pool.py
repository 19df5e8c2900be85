"""pebble's ProcessPool. Source: https://pebble.readthedocs.io, "Process pools": `schedule` with `timeout`."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pebble  # type: ignore[import-not-found, unused-ignore]

from bench.peers.peer import HUNG_S, Answer, Demand, Hung, Peer, Runner, Work
from bench.work import nothing

FIRST = """
from pebble import ProcessPool
pool = ProcessPool(max_workers=2)
assert pool.schedule(abs, args=(-1,)).result() == 1
"""


class _Pool(Runner):
    takes_chunks = True

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    def call(self, function: Callable[..., Any], argument: Any) -> Any:
        return self.pool.schedule(function, args=(argument,)).result()

    def submit(self, function: Callable[..., Any], arguments: Iterable[Any]) -> list[Any]:
        return [future.result() for future in [self.pool.schedule(function, args=(a,)) for a in arguments]]

    def map(self, function: Callable[..., Any], arguments: Iterable[Any], chunk: int | None) -> Iterable[Any]:
        return self.pool.map(function, arguments, chunksize=chunk or 1).result()  # type: ignore[no-any-return]

    def outcomes(self, work: Work) -> list[Answer]:
        futures = [self.pool.schedule(work.function, args=(v,), timeout=work.timeout) for v in work.arguments]
        return [self._answer_of(future) for future in futures]

    def _answer_of(self, future: concurrent.futures.Future[object]) -> Answer:
        try:
            error = future.exception(HUNG_S)
        except TimeoutError:
            self.pool.stop()
            raise Hung("pebble") from None
        if error is None:
            return Answer(future.result())
        failure = "error"
        if isinstance(error, pebble.ProcessExpired):
            failure = "crash"
        elif isinstance(error, TimeoutError):
            failure = "timeout"
        return Answer(None, failure, f"{error} {getattr(error, 'exitcode', '')}", error)


@contextlib.contextmanager
def _open(demand: Demand) -> Iterator[Runner]:
    with pebble.ProcessPool(max_workers=demand.workers, max_tasks=1 if demand.fresh else 0) as pool:
        pool.schedule(nothing, args=(0,)).result()
        yield _Pool(pool)


PEER = Peer(("Pebble",), _open, FIRST, "pool.close(); pool.join()")
