"""Parsl's HighThroughputExecutor on this host. Source: https://parsl.readthedocs.io, "HighThroughputExecutor".

Prefetching as its documentation says: on for many short tasks, off for few long ones. It ignores chunk sizes.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator

from bench.peers.executor import UnchunkedRunner
from bench.peers.peer import Demand, Peer, Runner
from bench.work import nothing

PREFETCH = 100
OPEN = """
import parsl
from parsl.concurrent import ParslPoolExecutor
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider
def opened(run_dir, prefetch, workers=2):
    executor = HighThroughputExecutor(
        address="127.0.0.1", max_workers_per_node=workers, prefetch_capacity=prefetch,
        provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
    )
    return ParslPoolExecutor(parsl.Config(executors=[executor], run_dir=run_dir, strategy="none"))
"""
FIRST = (
    OPEN
    + """
import tempfile
pool = opened(tempfile.mkdtemp(), 0)
assert pool.submit(abs, -1).result() == 1
"""
)


@contextlib.contextmanager
def _open(demand: Demand) -> Iterator[Runner]:
    names: dict[str, object] = {}
    exec(OPEN, names)
    opened = names["opened"]
    assert callable(opened)
    with tempfile.TemporaryDirectory() as folder, opened(folder, PREFETCH if demand.short else 0) as pool:
        pool.submit(nothing, 0).result()
        yield UnchunkedRunner(pool)


PEER = Peer(("parsl",), _open, FIRST, "pool.shutdown()")
