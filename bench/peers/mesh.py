"""zmqtasks itself: out of the box; with a crash limit of 1, as others, who never try again; with a chunk size."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import zmqtasks
from bench.observed import OBSERVED_VARIABLE
from bench.peers.peer import Answer, Cannot, Demand, Peer, Runner, Work
from bench.work import nothing
from zmqtasks.embedded import launching

FIRST = """
import zmqtasks
client = zmqtasks.Client(workers=2)
assert client.submit(abs, -1).result() == 1
"""


class Mesh(Runner):
    """A client, and what is done with it."""

    def __init__(self, client: zmqtasks.Client, crash_limit: int = 3) -> None:
        self.client = client
        self._crash_limit = crash_limit

    def call(self, function: Callable[..., Any], argument: Any) -> Any:
        """See `Runner`."""
        return self.client.submit(function, argument).result()

    def submit(self, function: Callable[..., Any], arguments: Iterable[Any]) -> list[Any]:
        """See `Runner`."""
        submit = self.client.submit
        return [future.result() for future in [submit(function, argument) for argument in arguments]]

    def map(self, function: Callable[..., Any], arguments: Iterable[Any], chunk: int | None) -> Iterable[Any]:
        """See `Runner`."""
        return self.client.map(function, arguments, chunksize=chunk)

    def share(self, function: Callable[..., Any], big: Any, arguments: Iterable[Any]) -> Iterable[Any]:
        """See `Runner`."""
        if not hasattr(self.client, "put"):
            raise Cannot("share")
        shared = self.client.put(big)
        return [future.result() for future in [self.client.submit(function, shared, a) for a in arguments]]

    def backlog(self, size: int, *, at_once: bool) -> tuple[float, float]:
        """See `Runner`: what is produced waits in a queue that is paused; consumed is what has come back."""
        queue = self.client.queue()
        queue.pause()
        started = time.perf_counter()
        if at_once:
            results = self.client.map(nothing, range(size), buffersize=size)
        else:
            futures = [self.client.submit(nothing, number) for number in range(size)]
        produced = time.perf_counter()
        queue.resume()
        total = sum(results) if at_once else sum(future.result() for future in futures)
        consumed = time.perf_counter()
        assert total == size * (size - 1) // 2
        return produced - started, consumed - produced

    def outcomes(self, work: Work) -> list[Answer]:
        """See `Runner`."""
        calls = self.client.options(timeout=work.timeout, crash_limit=self._crash_limit)
        return [answer_of(future) for future in [calls.submit(work.function, value) for value in work.arguments]]


class _Chunked(Mesh):
    """With the best of fixed chunk sizes, for what a search is worth against none given."""

    takes_chunks = True


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
def _open(demand: Demand, make: Callable[[zmqtasks.Client], Mesh] = Mesh) -> Iterator[Mesh]:
    with zmqtasks.Client(workers=demand.workers, max_tasks_per_worker=1 if demand.fresh else 0) as client:
        client.submit(nothing, 0).result()
        yield make(client)


class _Observed(Mesh):
    """With a node that notes how long workers are missing."""

    def outcomes(self, work: Work) -> list[Answer]:
        """Open a mesh for this alone, because its notes are there when it has ended."""
        module = launching.MODULE
        with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
            os.environ[OBSERVED_VARIABLE], launching.MODULE = file.name, "bench.observed"
            try:
                with _open(Demand()) as mesh:
                    answers = mesh.outcomes(work)
            finally:
                launching.MODULE = module
            self._notes = json.load(file)
        return answers

    def observed(self) -> dict[str, float]:
        """Return how long workers were missing, in milliseconds."""
        figures = {}
        for what, values in self._notes.items():
            values.sort()
            figures[f"{what}_ms_p50"] = values[len(values) // 2]
            figures[f"{what}_ms_p99"] = values[int(len(values) * 0.99)]
            figures[f"{what}_ms_most"] = values[-1]
        return figures


PACKAGES = ("zmqtasks", "pyzmq")
PEER = Peer(PACKAGES, _open, FIRST, "client.shutdown()")
BEST_CHUNKSIZE = Peer(PACKAGES, partial(_open, make=_Chunked))
NO_SECOND_TRY = Peer(PACKAGES, partial(_open, make=partial(Mesh, crash_limit=1)))
OBSERVED = Peer(PACKAGES, partial(_open, make=_Observed))
