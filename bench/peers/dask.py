"""dask.distributed on this host. Source: https://distributed.dask.org and "Dask Best Practices".

A process a worker, one thread each. Many short calls are batched with `dask.bag`, as its best practices say; a large
argument is scattered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from bench.peers.peer import Demand, Peer, Runner
from bench.work import nothing

FIRST = """
if __name__ == "__main__":
    from dask.distributed import Client
    client = Client(n_workers=2, threads_per_worker=1, dashboard_address=None)
    assert client.submit(abs, -1).result() == 1
"""


class _Client(Runner):
    def __init__(self, client: Any, short: bool) -> None:
        self.client, self.takes_chunks = client, short

    def call(self, function: Callable[..., Any], argument: Any) -> Any:
        return self.client.submit(function, argument, pure=False).result()

    def submit(self, function: Callable[..., Any], arguments: Iterable[Any]) -> list[Any]:
        return self.client.gather([self.client.submit(function, a, pure=False) for a in arguments])  # type: ignore[no-any-return]

    def map(self, function: Callable[..., Any], arguments: Iterable[Any], chunk: int | None) -> Iterable[Any]:
        if not self.takes_chunks:
            return self.client.gather(self.client.map(function, arguments, pure=False))  # type: ignore[no-any-return]
        import dask.bag  # type: ignore[import-not-found, unused-ignore]

        return dask.bag.from_sequence(arguments, partition_size=chunk or 1000).map(function).compute()  # type: ignore[no-any-return]

    def share(self, function: Callable[..., Any], big: Any, arguments: Iterable[Any]) -> Iterable[Any]:
        """Scatter it to all workers."""
        shared = self.client.scatter(big, broadcast=True)
        return self.client.gather([self.client.submit(function, shared, a, pure=False) for a in arguments])  # type: ignore[no-any-return]


@contextlib.contextmanager
def _open(demand: Demand) -> Iterator[Runner]:
    from dask.distributed import Client  # type: ignore[import-not-found, unused-ignore]

    with Client(n_workers=demand.workers, threads_per_worker=1, dashboard_address=None) as client:
        client.submit(nothing, 0).result()
        yield _Client(client, demand.short)


PEER = Peer(("distributed",), _open, FIRST, "client.shutdown()")
