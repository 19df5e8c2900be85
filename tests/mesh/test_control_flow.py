"""What a task may ask for: another run, to be handed back, another worker, the end of its node."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

import zmqtasks
from tests.cli import programs
from tests.mesh import wishes
from tests.mesh.nodes import node_process
from tests.waiting import wait_until
from zmqtasks.processes.launch import STOPPED

TASKS = 400
WHERE = (0, 1, 2, 198, 398, 399)


@pytest.fixture(scope="module")
def module_client() -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=2) as client:
        client.submit(wishes.echo, 1).result(30)
        yield client


@pytest.fixture
def client(module_client: zmqtasks.Client) -> zmqtasks.Client:
    return module_client


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    return str(tmp_path / "ledger")


@pytest.mark.parametrize("retry", [True, False])
@pytest.mark.parametrize("wish", wishes.WISHES)
def test_a_wish_is_granted_and_concerns_nobody_else(
    client: zmqtasks.Client, ledger: str, wish: str, retry: bool
) -> None:
    given = [[ledger] * TASKS, [wish] * TASKS, [WHERE] * TASKS]
    assert list(client.options(retry=retry).map(wishes.wish_once, range(TASKS), *given)) == list(range(TASKS))
    runs = Counter(map(int, Path(ledger).read_text().split()))
    assert runs == {task: 2 if task in WHERE else 1 for task in range(TASKS)}


@pytest.mark.parametrize("wish", wishes.WISHES)
def test_calls_with_keywords_may_wish_as_well(client: zmqtasks.Client, ledger: str, wish: str) -> None:
    given = {"ledger": ledger, "wish": wish, "where": (0, 3, 7)}
    futures = [client.submit(wishes.keyword_wish_once, task, **given) for task in range(8)]
    assert [future.result(30) for future in futures] == list(range(8))
    assert Counter(map(int, Path(ledger).read_text().split())) == {n: 2 if n in (0, 3, 7) else 1 for n in range(8)}


@pytest.mark.parametrize("wish", ["retry", "requeue"])
def test_who_asks_for_a_pause_gets_it(client: zmqtasks.Client, ledger: str, wish: str) -> None:
    patient = client.options(backoff=60.0)  # which is for failures
    first, second, third = patient.submit(wishes.run_again_after, ledger, wish, 0.3).result(30)
    assert second - first >= 0.3
    assert third - second >= 0.3


@pytest.mark.parametrize("retry", [True, False])
def test_retries_bound_how_often_it_may_ask(client: zmqtasks.Client, ledger: str, retry: bool) -> None:
    future = client.options(retries=2, retry=retry).submit(wishes.retry_for_ever, ledger)
    with pytest.raises(zmqtasks.RetriesExhausted, match="retries=2"):
        future.result(30)
    assert Path(ledger).read_text().split() == ["run"] * 3


@pytest.mark.parametrize("ask", [zmqtasks.retry, zmqtasks.requeue])
@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf")])
def test_a_delay_is_a_number_of_seconds(ask: Callable[[float], NoReturn], delay: float) -> None:
    with pytest.raises(ValueError, match="0 seconds or more"):
        ask(delay)


# Stores


def test_a_store_has_the_ends_of_tasks_and_no_wishes(tmp_path: Path, ledger: str) -> None:
    lines = [json.dumps([n, ledger, ("retry", "requeue", "respawn")[n % 3], [0, 1, 2]]) for n in range(6)]
    done = programs.run(
        tmp_path, "run", "tests.mesh.wishes:wish_once", "--spread", "-o", "out.db", stdin="\n".join(lines)
    )
    assert (done.returncode, done.stderr) == (0, "")
    with sqlite3.connect(tmp_path / "out.db") as database:
        rows = database.execute("SELECT task, status, value FROM results ORDER BY task").fetchall()
    database.close()
    assert rows == [(n, "ok", str(n)) for n in range(6)]


def test_a_sink_of_its_own_records_who_asked_too_often(tmp_path: Path, ledger: str) -> None:
    with (
        programs.program(tmp_path, "node", "worker", "--bind", "127.0.0.1:0", "--workers", "1") as node,
        programs.program(tmp_path, "sink", "sink", "--bind", "127.0.0.1:0", "-o", "out.db") as sink,
    ):
        where = ["--node", node.address, "--sink", sink.address]
        call = ["ventilator", "tests.mesh.wishes:retry_for_ever", "--retries", "1", *where]
        done = programs.run(tmp_path, *call, stdin=json.dumps(ledger))
        assert done.returncode == 1, done.stderr
    with sqlite3.connect(tmp_path / "out.db") as database:
        rows = database.execute("SELECT task, status, error_type FROM results").fetchall()
    database.close()
    assert rows == [(0, "exhausted", "zmqtasks.errors.RetriesExhausted")]


# The end of a node


def test_a_task_stops_the_node_of_its_program() -> None:
    with zmqtasks.Client(workers=1) as client:
        assert client.submit(wishes.stop, False).result(30) is None
        with pytest.raises(zmqtasks.NoNodes, match="a task stopped the node"):
            client.submit(wishes.echo, 1).result(30)
        with pytest.raises(zmqtasks.NoNodes, match="stop_node"):
            client.submit(wishes.echo, 1)


def test_what_waits_for_a_stopped_node_is_told() -> None:
    with zmqtasks.Client(workers=1) as client:
        client.submit(wishes.echo, 1).result(30)
        futures = [client.submit(wishes.stop, True), *(client.submit(wishes.pid_after, 0.2) for _ in range(20))]
        errors = [future.exception(30) for future in futures]
    assert isinstance(errors[0], zmqtasks.NoNodes)
    assert all(error is None or isinstance(error, zmqtasks.NoNodes) for error in errors)


@pytest.mark.parametrize("hand_back", [True, False])
def test_other_nodes_go_on(tmp_path: Path, ledger: str, hand_back: bool) -> None:
    with (
        node_process(tmp_path / "a") as first,
        node_process(tmp_path / "b") as second,
        zmqtasks.Client(*first.endpoints[:1], *second.endpoints[:1]) as client,
    ):
        future = client.submit(wishes.stop_once, ledger, hand_back)
        assert future.result(30) == ("elsewhere" if hand_back else None)
        assert sorted(client.map(wishes.echo, range(500))) == list(range(500))
        ended = [first.launched.poll, second.launched.poll]
        wait_until(lambda: any(poll() is not None for poll in ended))
        assert [poll() for poll in ended if poll() is not None] == [STOPPED], "do not start it again"


def test_a_task_stops_a_node_of_the_command(tmp_path: Path) -> None:
    with programs.program(tmp_path, "node", "worker", "--bind", "127.0.0.1:0", "--workers", "2") as node:
        with zmqtasks.Client(node.address) as client:
            assert client.submit(wishes.stop, False).result(30) is None
            wait_until(lambda: node.process.poll() is not None)
        assert node.process.returncode == 0
        assert "stops this node" in node.stderr
