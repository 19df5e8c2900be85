"""zmqtasks itself, as it is out of the box, and with a crash limit of 1: what others do, who never try again."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from functools import partial

import zmqtasks
from bench.bodies import nothing
from bench.observed import OBSERVED_VARIABLE
from bench.peers.peer import WORKERS, Answer, Peer, Run, Work
from zmqtasks.embedded import own_node


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


_observed: dict[str, float] = {}


@contextlib.contextmanager
def _open_observed(work: Work) -> Iterator[Run]:
    """Do as `_open`, with a node that notes how long workers are missing."""
    module = own_node.MODULE
    with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
        os.environ[OBSERVED_VARIABLE], own_node.MODULE = file.name, "bench.observed"
        try:
            with _open(work, crash_limit=3) as run:
                yield run
        finally:
            own_node.MODULE = module
        for what, values in json.load(file).items():
            values.sort()
            _observed[f"{what}_ms_median"] = values[len(values) // 2]
            _observed[f"{what}_ms_p99"] = values[int(len(values) * 0.99)]
            _observed[f"{what}_ms_most"] = values[-1]
            _observed[f"{what}_number"] = len(values)


OBSERVED = Peer("zmqtasks, observed", ("zmqtasks", "pyzmq"), _open_observed, lambda: _observed)
PEER = Peer("zmqtasks", ("zmqtasks", "pyzmq"), partial(_open, crash_limit=3))
NO_SECOND_TRY = Peer("zmqtasks, crash_limit=1", ("zmqtasks", "pyzmq"), partial(_open, crash_limit=1))
