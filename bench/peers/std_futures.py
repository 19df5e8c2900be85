"""The standard library's ProcessPoolExecutor. One death breaks it; a process a task needs forkserver or spawn."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
from collections.abc import Iterator

from bench.bodies import nothing
from bench.peers.peer import WORKERS, Answer, Peer, Run, Work


@contextlib.contextmanager
def _open(work: Work) -> Iterator[Run]:
    context = multiprocessing.get_context("forkserver" if work.fresh else "fork")
    tasks = 1 if work.fresh else None
    with concurrent.futures.ProcessPoolExecutor(WORKERS, mp_context=context, max_tasks_per_child=tasks) as pool:

        def run(work: Work) -> list[Answer]:
            return [Answer(value) for value in pool.map(work.function, work.arguments)]

        pool.submit(nothing, 0).result()
        yield run


PEER = Peer("concurrent.futures", (), _open)
