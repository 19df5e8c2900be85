"""What a task knows of itself: its id, how often it was run, when it was submitted, and which trace it belongs to."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import zmqtasks
from tests.cli import programs
from tests.mesh import asking
from tests.mesh.nodes import node_process


@pytest.fixture(scope="module")
def module_client() -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=2) as client:
        client.submit(asking.who).result(30)
        yield client


@pytest.fixture
def client(module_client: zmqtasks.Client) -> zmqtasks.Client:
    return module_client


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    return str(tmp_path / "ledger")


def test_a_task_knows_its_id_and_when_it_was_submitted(client: zmqtasks.Client) -> None:
    before = time.time()
    first, second = (client.submit(asking.who).result(30) for _ in range(2))
    assert before <= first["submitted_at"] <= second["submitted_at"] <= time.time()
    assert first["id"].partition("#")[0] == second["id"].partition("#")[0]
    assert first["id"] != second["id"]
    assert (first["run_count"], first["trace_id"]) == (0, "")


def test_each_task_of_a_map_has_its_own_id_and_all_have_the_trace(client: zmqtasks.Client) -> None:
    told = list(client.options(trace_id="t-1").map(asking.who, range(3_000)))
    assert [int(task["id"].partition("#")[2]) for task in told] == list(range(3_000))
    assert {task["trace_id"] for task in told} == {"t-1"}


def test_traces_of_calls_that_are_submitted_at_once_stay_apart(client: zmqtasks.Client) -> None:
    views = [client.options(trace_id=f"t-{number % 3}") for number in range(300)]
    futures = [view.submit(asking.who) for view in views]
    assert [future.result(30)["trace_id"] for future in futures] == [f"t-{number % 3}" for number in range(300)]
    assert client.options(trace_id="x").options(timeout=30).submit(asking.who).result(30)["trace_id"] == "x"


def test_threads_of_a_task_may_ask_as_well(client: zmqtasks.Client) -> None:
    assert client.options(trace_id="t").submit(asking.who_in_a_thread).result(30)["trace_id"] == "t"


def test_outside_of_a_worker_there_is_no_task() -> None:
    assert zmqtasks.current_task() is None
    assert zmqtasks.Task(submitted_at=1.5).date == datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC)


def test_an_asyncio_client_hands_traces_on_as_well() -> None:
    async def ask() -> str:
        async with zmqtasks.AsyncClient(workers=1) as client:
            return (await client.options(trace_id="t").submit(asking.who))["trace_id"]

    assert asyncio.run(ask()) == "t"


@pytest.mark.parametrize(
    ("wishes", "counts"),
    [
        (("retry", "retry", "retry"), [0, 1, 2, 3]),
        (("raise", "retry", "raise"), [0, 1, 2, 3]),
        (("requeue", "respawn", "die", "retry", "requeue"), [0, 0, 0, 0, 1, 1]),
    ],
)
def test_only_retries_count_and_all_else_survives(
    client: zmqtasks.Client, ledger: str, wishes: tuple[str, ...], counts: list[int]
) -> None:
    asked = client.options(retries=3, trace_id="survives")
    assert asked.submit(asking.run_counts, ledger, wishes).result(30) == counts


def test_without_a_bound_retries_are_counted_all_the_same(client: zmqtasks.Client, ledger: str) -> None:
    wishes = ("retry",) * 5
    assert client.submit(asking.run_counts, ledger, wishes).result(30) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("end", ["stop node", "kill node"])
def test_a_node_that_drains_or_dies_changes_nothing(tmp_path: Path, ledger: str, end: str) -> None:
    with (
        node_process(tmp_path / "a") as first,
        node_process(tmp_path / "b") as second,
        zmqtasks.Client(*first.endpoints[:1], *second.endpoints[:1], retries=3) as client,
    ):
        asked = client.options(trace_id="survives")
        assert asked.submit(asking.run_counts, ledger, ("retry", end)).result(30) == [0, 1, 1]


def test_tasks_of_a_command_are_told_the_same(tmp_path: Path, ledger: str) -> None:
    line = json.dumps([ledger, ["raise", "requeue"]])
    done = programs.run(
        tmp_path, "run", "tests.mesh.asking:run_counts", "--spread", "--retries=1", "--trace-id=t-7", stdin=line
    )
    assert json.loads(done.stdout)["value"] == [0, 1, 1], done.stderr
    assert {text.split()[-1] for text in Path(ledger).read_text().splitlines()} == {"t-7"}
