"""ray on this host. Source: https://docs.ray.io, "Tasks", `ray.put`, and "Distributed multiprocessing.Pool".

Many short calls go through its Pool, with a chunk size, because its design patterns warn of tasks that are too fine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ray  # type: ignore[import-not-found, unused-ignore]

from bench.peers.peer import Demand, Peer, Runner
from bench.work import nothing

FIRST = """
import ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
@ray.remote
def absolute(value):
    return abs(value)
assert ray.get(absolute.remote(-1)) == 1
"""


class _Ray(Runner):
    takes_chunks = True

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._remote: dict[Any, Any] = {}
        self._pool: Any = None

    def _of(self, function: Callable[..., Any]) -> Any:
        if function not in self._remote:
            self._remote[function] = ray.remote(function)
        return self._remote[function]

    def call(self, function: Callable[..., Any], argument: Any) -> Any:
        return ray.get(self._of(function).remote(argument))

    def submit(self, function: Callable[..., Any], arguments: Iterable[Any]) -> list[Any]:
        remote = self._of(function).remote
        return ray.get([remote(argument) for argument in arguments])  # type: ignore[no-any-return]

    def map(self, function: Callable[..., Any], arguments: Iterable[Any], chunk: int | None) -> Iterable[Any]:
        """Use a pool of actors that stays; while it does, no single task gets a core, so no case mixes both."""
        if self._pool is None:
            from ray.util.multiprocessing import Pool  # type: ignore[import-not-found, unused-ignore]

            self._pool = Pool(processes=self._workers)
        return self._pool.map(function, arguments, chunksize=chunk)  # type: ignore[no-any-return]

    def share(self, function: Callable[..., Any], big: Any, arguments: Iterable[Any]) -> Iterable[Any]:
        """Put it into the object store."""
        shared, remote = ray.put(big), self._of(function).remote
        return ray.get([remote(shared, argument) for argument in arguments])  # type: ignore[no-any-return]


@contextlib.contextmanager
def _open(demand: Demand) -> Iterator[Runner]:
    ray.init(num_cpus=demand.workers, include_dashboard=False, log_to_driver=False)
    try:
        runner = _Ray(demand.workers)
        runner.call(nothing, 0)
        yield runner
    finally:
        ray.shutdown()


PEER = Peer(("ray",), _open, FIRST, "ray.shutdown()")
