"""Coroutine functions as tasks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import zmqtasks
from tests.mesh import awaited


@pytest.fixture(scope="module")
def module_client() -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=1, standby=0) as client:
        client.submit(awaited.double, 1).result(30)
        yield client


@pytest.fixture
def client(module_client: zmqtasks.Client) -> zmqtasks.Client:
    return module_client


async def double_here(value: int) -> int:
    return 2 * value


@pytest.mark.parametrize(
    "function",
    [
        awaited.double,
        functools.partial(awaited.double, pause_s=0.0),
        awaited.Doubler(),
        awaited.Doubler().method,
        double_here,
    ],
)
def test_a_coroutine_function_is_a_task_like_any_other(client: zmqtasks.Client, function: Callable[[int], Any]) -> None:
    assert client.submit(function, 21).result(30) == 42
    assert list(client.map(function, range(50))) == [2 * value for value in range(50)]


def test_what_it_raises_arrives_with_its_traceback(client: zmqtasks.Client) -> None:
    with pytest.raises(ValueError, match=r"^no$") as caught:
        client.submit(awaited.fail, "no").result(30)
    assert "in fail" in str(caught.value.__cause__)


def test_its_event_loop_is_kept_for_the_next_one(client: zmqtasks.Client) -> None:
    assert len({client.submit(awaited.loop_and_pid).result(30) for _ in range(3)}) == 1


def test_it_may_ask_for_another_run(client: zmqtasks.Client, tmp_path: Path) -> None:
    assert client.submit(awaited.retry_once, str(tmp_path / "runs")).result(30) == "again"


def test_at_its_limit_it_is_cancelled_where_it_awaits(client: zmqtasks.Client, tmp_path: Path) -> None:
    view = client.options(timeout=0.2, grace=20.0)
    place = client.submit(awaited.loop_and_pid).result(30)
    with pytest.raises(zmqtasks.TaskTimeout, match="interrupted") as caught:
        view.submit(awaited.wait_for_ever, str(tmp_path / "told")).result(30)
    assert (tmp_path / "told").read_text() == "cleaned up"
    assert "in wait_for_ever" in caught.value.stack
    assert view.submit(awaited.answer_late).result(30) == "in time"
    assert client.submit(awaited.loop_and_pid).result(30) == place  # neither worker nor loop was harmed


def test_at_its_limit_it_is_interrupted_where_it_computes(client: zmqtasks.Client) -> None:
    view = client.options(timeout=0.2, grace=20.0)
    with pytest.raises(zmqtasks.TaskTimeout, match="interrupted") as caught:
        view.submit(awaited.compute_for_ever).result(30)
    assert "in compute_for_ever" in caught.value.stack
