"""Tasks that spawn tasks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import time
from pathlib import Path
from typing import Any

import zmqtasks


def square(x: int) -> int:
    return x * x


def add(x: int, y: int = 0) -> int:
    return x + y


def fail(x: object) -> None:
    raise ValueError(x)


def where(_: object = None) -> int:
    time.sleep(0.01)
    return os.getpid()


def trace() -> str:
    task = zmqtasks.current_task()
    assert task
    return task.trace_id


def mark(folder: str, name: object) -> None:
    Path(folder, str(name)).touch()


def big(nbytes: int) -> bytes:
    return bytes(nbytes)


def fib(n: int) -> int:
    if n < 2:
        return n
    client = zmqtasks.current_client()
    first, second = client.submit(fib, n - 1), client.submit(fib, n - 2)
    return int(first.result() + second.result())


async def fib_awaited(n: int) -> int:
    if n < 2:
        return n
    client = zmqtasks.current_client()
    futures = [client.submit(fib_awaited, n - 1), client.submit(fib_awaited, n - 2)]
    return sum([await asyncio.to_thread(future.result) for future in futures])


def in_every_way(n: int) -> list[object]:
    client = zmqtasks.current_client()
    futures = [client.submit(square, x) for x in range(n)]
    done, _ = concurrent.futures.wait(futures, 20)
    completed = sorted(future.result() for future in concurrent.futures.as_completed(futures))
    return [
        len(done),
        completed,
        client.submit(add, 1, y=2).result(10),
        client.submit(add, 1, 2).result(),
        list(client.map(square, range(n))),
        list(client.map(add, range(n), [10] * n)),
        futures[0].cancel(),
    ]


def callbacks(n: int) -> list[int]:
    """Spawn from the callback of a future, and wait there."""
    client, told = zmqtasks.current_client(), list[int]()

    def go_on(future: concurrent.futures.Future[Any]) -> None:
        told.append(client.submit(add, future.result(), 1).result())

    future = client.submit(square, n)
    future.add_done_callback(go_on)
    return [future.result(), *told]


def from_threads(n: int) -> int:
    client = zmqtasks.current_client()
    with concurrent.futures.ThreadPoolExecutor(n) as pool:
        return sum(pool.map(lambda x: client.submit(square, x).result(10), range(n)))


def sums(n: int) -> int:
    return sum(zmqtasks.current_client().map(square, range(n)))


def push(folder: str, n: int) -> int:
    return zmqtasks.current_client().push_many(mark, [folder] * n, range(n))


def drop(x: int) -> None:
    """Spawn something that fails, and do not wait for it."""
    client = zmqtasks.current_client()
    client.submit(fail, x)
    client.push_many(fail, [x])


def failing(x: object) -> list[str]:
    client, told = zmqtasks.current_client(), list[str]()
    for function, args in ((fail, (x,)), (os._exit, (3,)), (big, (5 * 2**20,)), (lambda: mark, ())):
        error = client.options(crash_limit=1).submit(function, *args).exception(20)
        told.append(type(error).__name__)
    try:
        client.submit(square, bytes(2**21))
    except zmqtasks.TooBig as error:
        told.append(str(error)[:22])
    try:
        client.submit(square, zmqtasks.current_client)
        client.submit(square, 1).__reduce__()
    except TypeError as error:
        told.append(str(error)[:12])
    try:
        client.submit(time.sleep, 0.3).result(0.01)
    except TimeoutError:
        told.append("TimeoutError")
    return told


def hold_and_spawn(name: str) -> int:
    """Hold a lock, and wait for a task meanwhile."""
    client = zmqtasks.current_client()
    with client.lock(name):
        return int(client.submit(square, 3).result())


def inherited() -> list[object]:
    client = zmqtasks.current_client()
    return [
        client.submit(trace).result(),
        client.options(trace_id="other").submit(trace).result(),
    ]


def spawn_and_die(folder: str) -> str:
    """Die in the first run, waiting for what was spawned."""
    first = not Path(folder, "begun").exists()
    Path(folder, "begun").touch()
    future = zmqtasks.current_client().submit(mark, folder, "child")
    if first:
        os.kill(os.getpid(), 9)
    future.result()
    return "again"


def wait_long(folder: str) -> str:
    """Wait for a task that takes until there is a file "go"."""
    return str(zmqtasks.current_client().submit(until, folder, "go").result())


def until(folder: str, name: str) -> str:
    Path(folder, "waits").write_text(str(os.getpid()))
    while not Path(folder, name).exists():
        time.sleep(0.005)
    return "went"


def left(folder: str, number: int) -> None:
    """Leave a file, once there is the file "go"."""
    until(folder, "go")
    mark(folder, f"left-{number}")


def leave_behind(folder: str, n: int) -> int:
    """Push calls once there is the file "push"."""
    mark(folder, "begun")
    until(folder, "push")
    return zmqtasks.current_client().push_many(left, [folder] * n, range(n))
