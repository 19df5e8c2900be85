"""executorlib on one host. Source: https://executorlib.readthedocs.io, "Single Node Executor": block allocation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import executorlib  # type: ignore[import-not-found, unused-ignore]

from bench.peers.executor import UnchunkedRunner
from bench.peers.peer import Demand, Peer, Runner
from bench.work import nothing

FIRST = """
from executorlib import SingleNodeExecutor
pool = SingleNodeExecutor(max_workers=2, block_allocation=True)
assert pool.submit(abs, -1).result() == 1
"""


@contextlib.contextmanager
def _open(demand: Demand) -> Iterator[Runner]:
    with executorlib.SingleNodeExecutor(max_workers=demand.workers, block_allocation=True) as pool:
        pool.submit(nothing, 0).result()
        yield UnchunkedRunner(pool)


PEER = Peer(("executorlib", "pyzmq"), _open, FIRST, "pool.shutdown()")
