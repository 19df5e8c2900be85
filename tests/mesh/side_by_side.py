"""Functions that run beside others in one worker."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

import zmqtasks

_barrier = threading.Barrier(4)


def meet(value: int) -> tuple[int, int, int]:
    """Return only where four run at once in this process."""
    _barrier.wait(20)
    return value, os.getpid(), threading.get_ident()


async def meet_awaiting(value: int, path: str) -> tuple[int, int]:
    place = Path(path)
    (place / str(value)).touch()
    while len(os.listdir(place)) < 4:
        await asyncio.sleep(0.005)
    return value, os.getpid()


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


async def asleep(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return os.getpid()


async def wait_for_ever(path: str) -> None:
    try:
        await asyncio.sleep(10**6)
    finally:
        Path(path).touch()


def note_and_sleep(path: str, number: int, seconds: float) -> int:
    with open(path, "a") as file:
        file.write(f"{number}\n")
    time.sleep(seconds)
    return number


def die_when(path: str, count: int) -> None:
    """Die when so many others have begun, or run alone."""
    deadline = time.monotonic() + 5
    while not os.path.exists(path) or len(Path(path).read_text().split()) < count:
        if time.monotonic() > deadline:
            break
        time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGKILL)


def which() -> str:
    time.sleep(0.01)
    task = zmqtasks.current_task()
    assert task
    return task.id


async def leave() -> None:
    raise SystemExit(3)


def stand_still() -> None:
    while True:
        time.sleep(0.01)
