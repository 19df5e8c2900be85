"""zmqtasks itself, as it is out of the box, and with a crash limit of 1: what others do, who never try again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import zmqtasks
from bench.bodies import nothing
from bench.peers.peer import WORKERS, Answer, Peer, Run, Work


def answer_of(future: zmqtasks.TaskFuture) -> Answer:
    """Wait for a task and return what became of it."""
    error = future.exception()
    if error is None:
        return Answer(future.result())
    failure = "error"
    if isinstance(error, zmqtasks.WorkerCrashed):
        failure = "crash"
    elif isinstance(error, zmqtasks.TaskTimeout):
        failure = "timeout"
    return Answer(None, failure, str(error), error)


@contextlib.contextmanager
def _open(work: Work, *, crash_limit: int) -> Iterator[Run]:
    with zmqtasks.Client(workers=WORKERS, max_tasks_per_worker=1 if work.fresh else 0) as client:
        calls = client.options(timeout=work.timeout, crash_limit=crash_limit)

        def run(work: Work) -> list[Answer]:
            return [answer_of(future) for future in [calls.submit(work.function, value) for value in work.arguments]]

        client.submit(nothing, 0).result()
        yield run


PEER = Peer("zmqtasks", ("zmqtasks", "pyzmq"), partial(_open, crash_limit=3))
NO_SECOND_TRY = Peer("zmqtasks, crash_limit=1", ("zmqtasks", "pyzmq"), partial(_open, crash_limit=1))
