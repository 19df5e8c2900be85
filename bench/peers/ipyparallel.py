"""ipyparallel's engines. Source: https://ipyparallel.readthedocs.io.

Single calls go through a load-balanced view. Many short ones go through a direct view, which gives each engine its
share at once; long ones through the load-balanced view, one by one.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from bench.peers.peer import Demand, Peer, Runner
from bench.work import nothing

FIRST = """
import ipyparallel
cluster = ipyparallel.Cluster(n=2, log_level=40)
client = cluster.start_and_connect_sync()
assert client.load_balanced_view().apply_sync(abs, -1) == 1
"""
LAST = """
client.close()
cluster.stop_cluster_sync()
"""


class _Engines(Runner):
    def __init__(self, client: Any, short: bool) -> None:
        self.short = short
        self.direct, self.balanced = client[:], client.load_balanced_view()

    def call(self, function: Callable[..., Any], argument: Any) -> Any:
        return self.balanced.apply_sync(function, argument)

    def submit(self, function: Callable[..., Any], arguments: Iterable[Any]) -> list[Any]:
        return [result.get() for result in [self.balanced.apply_async(function, argument) for argument in arguments]]

    def map(self, function: Callable[..., Any], arguments: Iterable[Any], chunk: int | None) -> Iterable[Any]:
        view = self.direct if self.short else self.balanced
        return view.map_sync(function, arguments)  # type: ignore[no-any-return]

    def share(self, function: Callable[..., Any], big: Any, arguments: Iterable[Any]) -> Iterable[Any]:
        """Push it to the engines under a name, and refer to it."""
        import ipyparallel  # type: ignore[import-not-found, unused-ignore]

        self.direct.push({"big": big}, block=True)
        shared = ipyparallel.Reference("big")
        return [result.get() for result in [self.balanced.apply_async(function, shared, a) for a in arguments]]


@contextlib.contextmanager
def _open(demand: Demand) -> Iterator[Runner]:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["IPYTHONDIR"] = folder
        import ipyparallel

        cluster = ipyparallel.Cluster(n=demand.workers, log_level=40)
        client = cluster.start_and_connect_sync()
        try:
            client.load_balanced_view().apply_sync(nothing, 0)
            yield _Engines(client, demand.short)
        finally:
            client.close()
            cluster.stop_cluster_sync()


PEER = Peer(("ipyparallel", "pyzmq"), _open, FIRST, LAST)
