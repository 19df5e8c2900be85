"""HyperQueue's Python API. Source: https://it4innovations.github.io/hyperqueue, "Python API".

Each task is a process of its own, and returns nothing: functions write their results to files, which are read here.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from hyperqueue import Job, LocalCluster  # type: ignore[import-not-found, unused-ignore]
from hyperqueue.cluster import WorkerConfig  # type: ignore[import-not-found, unused-ignore]
from hyperqueue.task.function import PythonEnv  # type: ignore[import-not-found, unused-ignore]

from bench.peers.peer import Demand, Peer, Runner
from bench.work import nothing


def _write(function: Callable[..., Any], value: Any, path: str) -> None:
    Path(path).write_bytes(pickle.dumps(function(value), 5))


class _Queue(Runner):
    def __init__(self, client: Any) -> None:
        self._client = client

    def call(self, function: Callable[..., Any], argument: Any) -> Any:
        return self.submit(function, [argument])[0]

    def submit(self, function: Callable[..., Any], arguments: Iterable[Any]) -> list[Any]:
        with tempfile.TemporaryDirectory() as folder:
            job, paths = Job(), []
            for number, value in enumerate(arguments):
                paths.append(os.path.join(folder, str(number)))
                job.function(_write, args=(function, value, paths[-1]), stdout=None, stderr=None)
            self._client.wait_for_jobs([self._client.submit(job)])
            return [pickle.loads(Path(path).read_bytes()) for path in paths]

    def map(self, function: Callable[..., Any], arguments: Iterable[Any], chunk: int | None) -> Iterable[Any]:
        return self.submit(function, arguments)


@contextlib.contextmanager
def _open(demand: Demand) -> Iterator[Runner]:
    with tempfile.TemporaryDirectory() as folder, LocalCluster(folder, WorkerConfig(demand.workers)) as cluster:
        runner = _Queue(cluster.client(python_env=PythonEnv(sys.executable)))
        runner.call(nothing, 0)
        yield runner


PEER = Peer(("hyperqueue",), _open)
