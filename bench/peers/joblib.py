"""joblib's Parallel on loky, reused as a context. Source: https://joblib.readthedocs.io, "Embarrassingly parallel".

It sizes its batches by itself, maps large arrays into memory, and has no call of a single task: `call` is a job of one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import joblib  # type: ignore[import-not-found, unused-ignore]

from bench.peers.peer import Demand, Peer, Runner
from bench.work import nothing

FIRST = """
from joblib import Parallel, delayed
parallel = Parallel(n_jobs=2)
assert parallel([delayed(abs)(-1), delayed(abs)(-1)]) == [1, 1]
"""


class _Jobs(Runner):
    def __init__(self, parallel: Any) -> None:
        self.parallel = parallel

    def call(self, function: Callable[..., Any], argument: Any) -> Any:
        return self.parallel([joblib.delayed(function)(argument)])[0]

    def map(self, function: Callable[..., Any], arguments: Iterable[Any], chunk: int | None) -> Iterable[Any]:
        return self.parallel(joblib.delayed(function)(a) for a in arguments)  # type: ignore[no-any-return]

    def share(self, function: Callable[..., Any], big: Any, arguments: Iterable[Any]) -> Iterable[Any]:
        """Hand it over with each call: what is large is written to a file once, and mapped."""
        return self.parallel(joblib.delayed(function)(big, a) for a in arguments)  # type: ignore[no-any-return]


@contextlib.contextmanager
def _open(demand: Demand) -> Iterator[Runner]:
    with joblib.Parallel(n_jobs=demand.workers) as parallel:
        parallel(joblib.delayed(nothing)(n) for n in range(10))
        yield _Jobs(parallel)


PEER = Peer(("joblib",), _open, FIRST, "")
