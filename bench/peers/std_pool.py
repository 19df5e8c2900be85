"""The standard library's multiprocessing.Pool, on fork. It knows no timeout, and waits for ever where a worker dies."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator

from bench.bodies import nothing
from bench.peers.peer import WORKERS, Answer, Peer, Run, Work


@contextlib.contextmanager
def _open(work: Work) -> Iterator[Run]:
    with multiprocessing.get_context("fork").Pool(WORKERS, maxtasksperchild=1 if work.fresh else None) as pool:

        def run(work: Work) -> list[Answer]:
            return [Answer(value) for value in pool.map(work.function, work.arguments, chunksize=1)]

        pool.apply(nothing, (0,))
        yield run


PEER = Peer("multiprocessing.Pool", (), _open)
