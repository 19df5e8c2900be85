"""The standard library's ProcessPoolExecutor. One death breaks it; a process a task needs forkserver or spawn."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from bench.peers.executor import ExecutorRunner
from bench.peers.peer import WORKERS, Answer, Demand, Peer, Runner, Work
from bench.work import keep, nothing, with_kept

SHARED_CHUNK = 100
FIRST = """
from concurrent.futures import ProcessPoolExecutor
pool = ProcessPoolExecutor(2)
assert pool.submit(abs, -1).result() == 1
"""


class _Pool(ExecutorRunner):
    def share(self, function: Callable[..., Any], big: Any, arguments: Iterable[Any]) -> Iterable[Any]:
        """Let new workers inherit it, by fork, in their initializer: so it is never sent."""
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(WORKERS, context, initializer=keep, initargs=(big,)) as pool:
            return list(pool.map(partial(with_kept, function), arguments, chunksize=SHARED_CHUNK))

    def outcomes(self, work: Work) -> list[Answer]:
        """Run work of which nothing fails: it cannot tell which task killed a worker."""
        return [Answer(value) for value in self.pool.map(work.function, work.arguments)]


@contextlib.contextmanager
def _open(demand: Demand) -> Iterator[Runner]:
    context = multiprocessing.get_context("forkserver" if demand.fresh else "fork")
    tasks = 1 if demand.fresh else None
    with ProcessPoolExecutor(demand.workers, mp_context=context, max_tasks_per_child=tasks) as pool:
        pool.submit(nothing, 0).result()
        yield _Pool(pool)


PEER = Peer((), _open, FIRST, "pool.shutdown()")
