"""Coroutine functions that tests submit."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import zmqtasks

_kept: list[Any] = []


async def double(value: int, *, pause_s: float = 0.001) -> int:
    await asyncio.sleep(pause_s)
    return 2 * value


async def fail(text: str) -> None:
    await asyncio.sleep(0)
    raise ValueError(text)


async def loop_and_pid() -> tuple[int, int]:
    _kept.append(asyncio.get_running_loop())
    return id(_kept[-1]), os.getpid()


async def wait_for_ever(path: str) -> None:
    try:
        await asyncio.sleep(10**6)
    except asyncio.CancelledError:
        with open(path, "a") as file:
            file.write("cleaned up")
        raise


async def answer_late() -> str:
    try:
        await asyncio.sleep(10**6)
    except asyncio.CancelledError:
        return "in time"
    return "never"


async def compute_for_ever() -> None:
    await asyncio.sleep(0)
    while True:
        pass


async def retry_once(path: str) -> str:
    await asyncio.sleep(0)
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) == 1:
        zmqtasks.retry()
    return "again"


class Doubler:
    async def __call__(self, value: int) -> int:
        return 2 * value

    async def method(self, value: int) -> int:
        return 2 * value


async def is_in_debug_mode() -> bool:
    return asyncio.get_running_loop().get_debug()
