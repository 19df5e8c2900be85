"""Two processes and a pipe to each: the ceiling. Nothing here survives a death, waits its turn, or knows a limit.

`map` halves the work; where tasks take a known time, longest first to whoever has least: the ideal schedule.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from multiprocessing.connection import Connection
from typing import Any

from bench.peers.peer import Demand, Peer, Runner
from bench.work import burn

AHEAD, SMALL_BYTES = 16, 1000
"""Small calls on their way to a worker: with more, both ends of a pipe might wait for each other. Of others, one."""

FIRST = """
import multiprocessing
def work(pipe):
    while (call := pipe.recv()) is not None:
        pipe.send(call[0](*call[1:]))
ends = [multiprocessing.Pipe() for _ in range(2)]
workers = [multiprocessing.Process(target=work, args=(theirs,)) for ours, theirs in ends]
for worker in workers:
    worker.start()
ends[0][0].send((abs, -1))
assert ends[0][0].recv() == 1
"""
LAST = """
for ours, theirs in ends:
    ours.send(None)
for worker in workers:
    worker.join()
"""


def _work(pipe: Connection) -> None:
    while (message := pipe.recv()) is not None:
        function, values, many = message
        pipe.send([function(value) for value in values] if many else function(values))


class _Pipes(Runner):
    def __init__(self, pipes: list[Connection]) -> None:
        self._pipes = pipes

    def call(self, function: Callable[..., Any], argument: Any) -> Any:
        self._pipes[0].send((function, argument, False))
        return self._pipes[0].recv()

    def submit(self, function: Callable[..., Any], arguments: Iterable[Any]) -> list[Any]:
        results: list[Any] = []
        workers, values = len(self._pipes), list(arguments)
        small = len(pickle.dumps(values[0], 5)) < SMALL_BYTES
        ahead = workers * (AHEAD if small else 1)
        for number, argument in enumerate(values):
            pipe = self._pipes[number % workers]
            if number >= ahead:
                results.append(pipe.recv())
            pipe.send((function, argument, False))
        return results + [self._pipes[number % workers].recv() for number in range(len(results), len(values))]

    def map(self, function: Callable[..., Any], arguments: Iterable[Any], chunk: int | None) -> Iterable[Any]:
        shares = _ideal(list(arguments), len(self._pipes)) if function is burn else _halves(arguments, len(self._pipes))
        for pipe, share in zip(self._pipes, shares, strict=True):
            pipe.send((function, share, True))
        return chain.from_iterable([pipe.recv() for pipe in self._pipes])


def _halves(arguments: Iterable[Any], workers: int) -> list[Any]:
    values = arguments if isinstance(arguments, range) else list(arguments)
    return [values[number::workers] for number in range(workers)]


def _ideal(seconds: list[float], workers: int) -> list[list[float]]:
    shares: list[list[float]] = [[] for _ in range(workers)]
    for each in sorted(seconds, reverse=True):
        min(shares, key=sum).append(each)
    return shares


@contextlib.contextmanager
def _open(demand: Demand) -> Iterator[Runner]:
    context = multiprocessing.get_context("fork")
    ends = [context.Pipe() for _ in range(demand.workers)]
    workers = [context.Process(target=_work, args=(theirs,)) for _, theirs in ends]
    for worker in workers:
        worker.start()
    try:
        yield _Pipes([ours for ours, _ in ends])
    finally:
        for ours, _ in ends:
            ours.send(None)
        for worker in workers:
            worker.join()


PEER = Peer((), _open, FIRST, LAST)
