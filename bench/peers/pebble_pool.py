"""pebble's ProcessPool. Source: https://pebble.readthedocs.io, "Process pools": `schedule` with `timeout`."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Iterator

from bench.bodies import nothing
from bench.peers.peer import HUNG_S, WORKERS, Answer, Hung, Peer, Run, Work


@contextlib.contextmanager
def _open(work: Work) -> Iterator[Run]:
    import pebble

    def answer_of(future: concurrent.futures.Future[object]) -> Answer:
        try:
            error = future.exception(HUNG_S)
        except TimeoutError:
            pool.stop()
            raise Hung("pebble") from None
        if error is None:
            return Answer(future.result())
        failure = "error"
        if isinstance(error, pebble.ProcessExpired):
            failure = "crash"
        elif isinstance(error, TimeoutError):
            failure = "timeout"
        return Answer(None, failure, f"{error} {getattr(error, 'exitcode', '')}", error)

    with pebble.ProcessPool(max_workers=WORKERS, max_tasks=1 if work.fresh else 0) as pool:

        def run(work: Work) -> list[Answer]:
            futures = [pool.schedule(work.function, args=(v,), timeout=work.timeout) for v in work.arguments]
            return [answer_of(future) for future in futures]

        pool.schedule(nothing, args=(0,)).result()
        yield run


PEER = Peer("pebble", ("Pebble",), _open)
