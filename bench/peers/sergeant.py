"""Sergeant with Redis. Source: https://github.com/Intsights/sergeant, documentation of Worker and Supervisor.

It returns no results: its workers push them into a second queue, which is read here. `tasks_per_transaction` is 100 for
many short tasks, 1 for long ones. A worker that finds no task sleeps for a second.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import sergeant  # type: ignore[import-not-found, unused-ignore]

from bench.peers.peer import Demand, Hung, Peer, Runner
from bench.redis_server import redis_server
from bench.work import nothing

PORT, TRANSACTION = "BENCH_SERGEANT_PORT", "BENCH_SERGEANT_TRANSACTION"
RESULTS = "results"
BACKLOG, BACKLOG_TASKS = "backlog", "BENCH_SERGEANT_BACKLOG"
BACKLOG_AT_ONCE = 25_000
"""What its own benchmark takes at once. Source: the benchmark page of its documentation."""
READ_AT_ONCE = 1000
HUNG_S = 60.0


class Worker(sergeant.worker.Worker):  # type: ignore[misc, unused-ignore]
    """Calls a function, and pushes its result."""

    def generate_config(self) -> Any:
        """Return where tasks come from."""
        node = {"host": "127.0.0.1", "port": int(os.environ[PORT]), "password": None, "database": 0}
        return sergeant.config.WorkerConfig(
            name="calls",
            connector=sergeant.config.Connector(type="redis", params={"nodes": [node]}),
            tasks_per_transaction=int(os.environ[TRANSACTION]),
        )

    def work(self, task: Any) -> None:
        """Do one task."""
        result = task.kwargs["function"](task.kwargs["value"])
        self.push_task({"number": task.kwargs["number"], "result": result}, task_name=RESULTS)


class Backlog(Worker):
    """Does nothing, and tells how long it took from the first task to the last of `BACKLOG_TASKS`."""

    def generate_config(self) -> Any:
        """Return where tasks come from."""
        return super().generate_config().replace(name=BACKLOG)

    def initialize(self) -> None:
        """Begin to count."""
        self._left = int(os.environ[BACKLOG_TASKS])

    def work(self, task: Any) -> None:
        """Do one task."""
        if self._left == int(os.environ[BACKLOG_TASKS]):
            self._begun = time.perf_counter()
        self._left -= 1
        if not self._left:
            self.push_task({"seconds": time.perf_counter() - self._begun}, task_name=RESULTS)


class _Sergeant(Runner):
    def __init__(self, producer: Any) -> None:
        self._producer = producer

    def call(self, function: Callable[..., Any], argument: Any) -> Any:
        return self.submit(function, [argument])[0]

    def submit(self, function: Callable[..., Any], arguments: Iterable[Any]) -> list[Any]:
        number = -1
        for number, value in enumerate(arguments):
            self._producer.push_task({"function": function, "value": value, "number": number})
        return self._collect(number + 1)

    def map(self, function: Callable[..., Any], arguments: Iterable[Any], chunk: int | None) -> Iterable[Any]:
        calls = [{"function": function, "value": value, "number": n} for n, value in enumerate(arguments)]
        self._producer.push_tasks(calls)
        return self._collect(len(calls))

    def backlog(self, size: int, *, at_once: bool) -> tuple[float, float]:
        """See `Runner`: the worker starts when all is produced, and its own clock counts."""
        os.environ[TRANSACTION], os.environ[BACKLOG_TASKS] = str(BACKLOG_AT_ONCE if at_once else 1), str(size)
        producer = Backlog()
        producer.init_broker()
        started = time.perf_counter()
        if at_once:
            producer.push_tasks([{} for _ in range(size)])
        else:
            for _ in range(size):
                producer.push_task({})
        produce_s = time.perf_counter() - started
        with subprocess.Popen(_command("Backlog", 1)) as supervisor:
            try:
                deadline = time.monotonic() + 2 * HUNG_S
                while not (found := producer.get_next_tasks(1, task_name=RESULTS)):
                    if time.monotonic() > deadline:
                        raise Hung(f"{size} tasks were not consumed after {2 * HUNG_S:.0f} s")
                    time.sleep(0.05)
            finally:
                supervisor.terminate()
        return produce_s, float(found[0].kwargs["seconds"])

    def _collect(self, number: int) -> list[Any]:
        results: dict[int, Any] = {}
        deadline = time.monotonic() + HUNG_S
        while len(results) < number:
            if time.monotonic() > deadline:
                raise Hung(f"{len(results)} of {number} results after {HUNG_S:.0f} s")
            for task in self._producer.get_next_tasks(READ_AT_ONCE, task_name=RESULTS):
                results[task.kwargs["number"]] = task.kwargs["result"]
        return [results[n] for n in range(number)]


def _command(worker: str, number: int) -> list[str]:
    """Return the command of a supervisor of so many workers of a class."""
    command = [sys.executable, "-m", "sergeant.supervisor", "--concurrent-workers", str(number)]
    return [*command, "--worker-module", "bench.peers.sergeant", "--worker-class", worker]


@contextlib.contextmanager
def _open(demand: Demand) -> Iterator[Runner]:
    with redis_server() as port:
        os.environ[PORT], os.environ[TRANSACTION] = str(port), "100" if demand.short else "1"
        with subprocess.Popen(_command("Worker", demand.workers)) as supervisor:
            try:
                producer = Worker()
                producer.init_broker()
                runner = _Sergeant(producer)
                runner.call(nothing, 0)
                yield runner
            finally:
                supervisor.terminate()


PEER = Peer(("sergeant", "redis"), _open)
