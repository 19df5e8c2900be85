"""The asyncio client: the same words, awaited."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import zmqtasks
from tests.mesh import functions


def run_with_client(use: Callable[[zmqtasks.AsyncClient], Awaitable[None]]) -> None:
    async def main() -> None:
        async with zmqtasks.AsyncClient(workers=2) as client:
            await use(client)

    asyncio.run(main())


def test_submit_is_awaited() -> None:
    async def use(client: zmqtasks.AsyncClient) -> None:
        assert await client.submit(functions.add, 1, 2, c=3) == 6
        assert await asyncio.gather(*(client.submit(functions.double, i) for i in range(100))) == list(range(0, 200, 2))
        with pytest.raises(ValueError, match="bad value 3"):
            await client.submit(functions.raise_at, 3, 3)

    run_with_client(use)


def test_map_is_iterated() -> None:
    async def use(client: zmqtasks.AsyncClient) -> None:
        assert [value async for value in client.map(functions.double, range(5000))] == list(range(0, 10_000, 2))
        unordered = [value async for value in client.map(functions.double, range(5000), ordered=False)]
        assert sorted(unordered) == list(range(0, 10_000, 2))
        endless = client.map(functions.double, itertools.count(), buffersize=100)
        assert [await anext(endless) for _ in range(500)] == list(range(0, 1000, 2))
        await endless.aclose()  # type: ignore[attr-defined]

    run_with_client(use)


def test_the_loop_is_free_while_tasks_run(tmp_path: Path) -> None:
    async def use(client: zmqtasks.AsyncClient) -> None:
        release = tmp_path / "release"
        waiting = client.submit(functions.wait_for, str(release))
        assert await client.submit(functions.double, 2) == 4
        assert not waiting.done()
        release.touch()
        assert await waiting == str(release)

    run_with_client(use)


def test_options_make_a_view(tmp_path: Path) -> None:
    async def use(client: zmqtasks.AsyncClient) -> None:
        assert await client.options(retries=2).submit(functions.fail_times, 7, 2, str(tmp_path)) == 7
        with pytest.raises(TypeError, match="no such task option"):
            client.options(tiemout=1)

    run_with_client(use)


def test_it_has_to_be_open() -> None:
    client = zmqtasks.AsyncClient(workers=1)
    with pytest.raises(RuntimeError, match="async with"):
        client.submit(functions.double, 1)


def test_after_shutdown_nothing_is_taken() -> None:
    async def main() -> None:
        async with zmqtasks.AsyncClient(workers=1) as client:
            assert await client.submit(functions.double, 1) == 2
        with pytest.raises(RuntimeError, match="after shutdown"):
            client.submit(functions.double, 1)

    asyncio.run(main())
