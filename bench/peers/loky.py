"""loky's reusable executor. Source: https://loky.readthedocs.io, "Using loky": `get_reusable_executor`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import loky  # type: ignore[import-not-found, unused-ignore]

from bench.peers.executor import ExecutorRunner
from bench.peers.peer import WORKERS, Demand, Peer, Runner
from bench.work import keep, nothing, with_kept

SHARED_CHUNK = 100
FIRST = """
from loky import get_reusable_executor
pool = get_reusable_executor(max_workers=2)
assert pool.submit(abs, -1).result() == 1
"""


class _Pool(ExecutorRunner):
    def share(self, function: Callable[..., Any], big: Any, arguments: Iterable[Any]) -> Iterable[Any]:
        """Send it to new workers in their initializer."""
        with loky.ProcessPoolExecutor(WORKERS, initializer=keep, initargs=(big,)) as pool:
            return list(pool.map(partial(with_kept, function), arguments, chunksize=SHARED_CHUNK))


@contextlib.contextmanager
def _open(demand: Demand) -> Iterator[Runner]:
    pool = loky.get_reusable_executor(max_workers=demand.workers, timeout=600)
    pool.submit(nothing, 0).result()
    yield _Pool(pool)
    pool.shutdown(kill_workers=True)


PEER = Peer(("loky",), _open, FIRST, "pool.shutdown()")
