"""pyzmq alone, PUSH to two processes and PULL from them, over ipc: the ceiling of what goes through ZeroMQ.

Nothing here survives a death or bounds memory. `submit` sends a message a task, `map` one a chunk.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import zmq

from bench.peers.peer import Demand, Peer, Runner

BEST_CHUNK = 5000

FIRST = """
import multiprocessing, pickle, tempfile
def work(folder):
    import zmq
    context = zmq.Context()
    calls, results = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    calls.connect(f"ipc://{folder}/calls"), results.connect(f"ipc://{folder}/results")
    while (call := calls.recv_pyobj()) is not None:
        results.send_pyobj(call[0](*call[1:]))
folder = tempfile.mkdtemp()
workers = [multiprocessing.Process(target=work, args=(folder,)) for _ in range(2)]
for worker in workers:
    worker.start()
import zmq
context = zmq.Context()
calls, results = context.socket(zmq.PUSH), context.socket(zmq.PULL)
calls.bind(f"ipc://{folder}/calls"), results.bind(f"ipc://{folder}/results")
calls.send_pyobj((abs, -1))
assert results.recv_pyobj() == 1
"""
LAST = """
for worker in workers:
    worker.terminate(), worker.join()
context.destroy(0)
import shutil; shutil.rmtree(folder)
"""


def _socket(context: Any, kind: int, folder: str, name: str, *, bind: bool) -> Any:
    socket = context.socket(kind)
    socket.hwm = 0
    getattr(socket, "bind" if bind else "connect")(f"ipc://{folder}/{name}")
    return socket


def _work(folder: str) -> None:
    context = zmq.Context()
    calls = _socket(context, zmq.PULL, folder, "calls", bind=False)
    results = _socket(context, zmq.PUSH, folder, "results", bind=False)
    while True:
        number, function, values, many = pickle.loads(calls.recv())
        result = [function(value) for value in values] if many else function(values)
        results.send(pickle.dumps((number, result), 5))


class _Sockets(Runner):
    def __init__(self, calls: Any, results: Any) -> None:
        self._calls, self._results = calls, results

    def call(self, function: Callable[..., Any], argument: Any) -> Any:
        return self._run(function, [argument], many=False)[0]

    def submit(self, function: Callable[..., Any], arguments: Iterable[Any]) -> list[Any]:
        return self._run(function, arguments, many=False)

    def map(self, function: Callable[..., Any], arguments: Iterable[Any], chunk: int | None) -> Iterable[Any]:
        values = list(arguments)
        chunks = [values[start : start + BEST_CHUNK] for start in range(0, len(values), BEST_CHUNK)]
        return chain.from_iterable(self._run(function, chunks, many=True))

    def _run(self, function: Callable[..., Any], values: Iterable[Any], *, many: bool) -> list[Any]:
        """Send all calls, then collect the results in the order of the calls."""
        sent = 0
        for value in values:
            self._calls.send(pickle.dumps((sent, function, value, many), 5))
            sent += 1
        results = [None] * sent
        for _ in range(sent):
            number, results[number] = pickle.loads(self._results.recv())
        return results


@contextlib.contextmanager
def _open(demand: Demand) -> Iterator[Runner]:
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=_work, args=(folder,)) for _ in range(demand.workers)]
        for worker in workers:
            worker.start()
        ours = zmq.Context()
        runner = _Sockets(
            _socket(ours, zmq.PUSH, folder, "calls", bind=True), _socket(ours, zmq.PULL, folder, "results", bind=True)
        )
        try:
            yield runner
        finally:
            for worker in workers:
                worker.terminate()
                worker.join()
            ours.destroy(0)


PEER = Peer(("pyzmq",), _open, FIRST, LAST)
