"""Celery with Redis as broker and backend. Source: https://docs.celeryq.dev, "Optimizing" and "Canvas: Chunks".

Prefetching as its documentation says: 128 for many short tasks, 1 for long ones. Many calls travel as `chunks`. Pickle,
because arguments are not only plain data; nothing else is set.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from typing import Any

import celery  # type: ignore[import-not-found, unused-ignore]
from celery.result import ResultSet  # type: ignore[import-not-found, unused-ignore]

from bench.peers.peer import Demand, Peer, Runner
from bench.redis_server import redis_server
from bench.work import nothing

URL, PREFETCH = "BENCH_CELERY_URL", "BENCH_CELERY_PREFETCH"
START_S = 60.0
app = celery.Celery("bench", broker=os.environ.get(URL), backend=os.environ.get(URL))
app.conf.update(
    task_serializer="pickle",
    result_serializer="pickle",
    accept_content=["pickle"],
    worker_prefetch_multiplier=int(os.environ.get(PREFETCH, "4")),
)


@app.task  # type: ignore[untyped-decorator, unused-ignore]
def run(function: Callable[..., Any], argument: Any) -> Any:
    """Call a function."""
    return function(argument)


class _Celery(Runner):
    takes_chunks = True

    def call(self, function: Callable[..., Any], argument: Any) -> Any:
        return run.delay(function, argument).get()

    def submit(self, function: Callable[..., Any], arguments: Iterable[Any]) -> list[Any]:
        return ResultSet([run.delay(function, argument) for argument in arguments]).join_native()  # type: ignore[no-any-return]

    def map(self, function: Callable[..., Any], arguments: Iterable[Any], chunk: int | None) -> Iterable[Any]:
        if chunk is None or chunk == 1:
            return self.submit(function, arguments)
        return chain.from_iterable(run.chunks(zip(repeat(function), arguments), chunk).apply_async().get())


@contextlib.contextmanager
def _open(demand: Demand) -> Iterator[Runner]:
    with redis_server() as port:
        url = f"redis://127.0.0.1:{port}/0"
        app.conf.update(broker_url=url, result_backend=url)
        # It refuses pickle to root unless told: this broker is ours alone.
        env = {**os.environ, URL: url, PREFETCH: "128" if demand.short else "1", "C_FORCE_ROOT": "1"}
        command = [sys.executable, "-m", "celery", "-A", "bench.peers.celery", "worker", "-l", "ERROR"]
        with subprocess.Popen([*command, "-c", str(demand.workers)], env=env) as worker:
            try:
                run.delay(nothing, 0).get(timeout=START_S)
                yield _Celery()
            finally:
                worker.terminate()


PEER = Peer(("celery", "redis"), _open)
