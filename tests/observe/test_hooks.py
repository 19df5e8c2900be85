"""Hooks of a client: each step of a task and of a node, told once, and harmless."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

import pytest

import zmqtasks
from tests.mesh import watched
from tests.mesh.nodes import node_process
from tests.waiting import wait_until
from zmqtasks.embedded.dates import Dates
from zmqtasks.embedded.info import TaskInfo, TaskState
from zmqtasks.embedded.watched import NodeInfo

ENDS = ("result", "failed", "timed_out", "crashed", "out_of_memory", "lost", "cancelled")


class Listener(zmqtasks.Hooks):
    """Keeps all it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, object]] = []

    def of(self, task: TaskInfo | int) -> list[str]:
        index = task.index if isinstance(task, TaskInfo) else task
        return [name for name, about in self.heard if isinstance(about, TaskInfo) and about.index == index]

    def info(self, name: str) -> TaskInfo:
        return next(about for said, about in reversed(self.heard) if said == name and isinstance(about, TaskInfo))

    def take(self) -> None:
        self.heard.clear()


def _listening(name: str) -> object:
    def hear(self: Listener, about: object = None) -> None:
        self.heard.append((name, about))

    return hear


for _hook in [name for name in vars(zmqtasks.Hooks) if name.startswith("on_")]:
    setattr(Listener, _hook, _listening(_hook.removeprefix("on_")))

LISTENER = Listener()


@pytest.fixture(scope="module")
def module_client() -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=1, standby=0, hooks=LISTENER) as client:
        client.submit(watched.double, 1).result(30)
        yield client


@pytest.fixture
def client(module_client: zmqtasks.Client) -> zmqtasks.Client:
    LISTENER.take()
    return module_client


def test_a_task_is_told_from_its_submission_to_its_result(client: zmqtasks.Client) -> None:
    before = time.time()
    future = client.submit(watched.double, 21)
    assert future.result(30) == 42
    task = LISTENER.info("ended")
    assert LISTENER.of(future.info()) == ["submitted", "sent", "result", "ended"]
    assert (task.name, task.state, task.result, task.error) == (f"{watched.__name__}.double", "done", 42, None)
    assert task.submitted_at
    assert task.sent_at
    assert task.ended_at
    assert before <= task.submitted_at <= task.sent_at <= task.ended_at <= time.time()
    assert 0 <= (task.task_s or -1) <= (task.seconds or 0)
    assert len(task.node) == 16


def test_the_tasks_of_a_map_are_told_as_well(client: zmqtasks.Client) -> None:
    assert list(client.map(watched.double, range(1000))) == list(range(0, 2000, 2))
    results = [about for name, about in LISTENER.heard if name == "result" and isinstance(about, TaskInfo)]
    assert sorted((task.index, task.result) for task in results) == [(n, 2 * n) for n in range(1000)]
    assert {name for name, _ in LISTENER.heard} == {"submitted", "sent", "result", "ended"}
    assert all(LISTENER.of(task) == ["submitted", "sent", "result", "ended"] for task in (0, 1, 500, 999))


@pytest.mark.parametrize(
    ("name", "options", "call"),
    [
        ("failed", {}, (watched.fail, "no")),
        ("timed_out", {"timeout": 0.1}, (watched.sleep, 60)),
        ("crashed", {"crash_limit": 1}, (watched.die,)),
        ("out_of_memory", {"max_memory": "200 MiB"}, (watched.eat,)),
    ],
)
def test_each_end_has_its_hook(
    client: zmqtasks.Client, name: str, options: dict[str, object], call: tuple[object, ...]
) -> None:
    future = client.options(**options).submit(*call)  # type: ignore[arg-type]
    error = future.exception(30)
    wait_until(lambda: "ended" in LISTENER.of(future.info()), lambda: LISTENER.heard)
    assert [said for said, _ in LISTENER.heard if said in ENDS] == [name]
    assert LISTENER.info(name).error is error
    assert LISTENER.info(name).state == name == future.info().state
    assert LISTENER.info(name).node == future.info().node != ""


def test_another_run_is_told_with_its_reason(client: zmqtasks.Client, tmp_path: Path) -> None:
    failing = client.options(retries=1).submit(watched.fail_once, str(tmp_path / "failed"))
    assert failing.result(30) == "again"
    assert LISTENER.of(0) == ["submitted", "sent", "retried", "sent", "result", "ended"]
    assert str(LISTENER.info("retried").error) == "the first time"
    LISTENER.take()
    assert client.submit(watched.ask_once, str(tmp_path / "asked")).result(30) == "again"
    assert LISTENER.of(0) == ["submitted", "sent", "retried", "sent", "result", "ended"]
    assert LISTENER.info("retried").error is None


def test_cancelled_calls_are_told(client: zmqtasks.Client) -> None:
    running = client.submit(watched.sleep, 0.3)
    waiting = [client.options(priority=-1).submit(watched.sleep, 0.01 * n) for n in range(3)]
    assert all(future.cancel() for future in waiting)
    assert running.result(30) is None
    wait_until(lambda: [name for name, _ in LISTENER.heard].count("cancelled") == 3, lambda: LISTENER.heard)
    assert waiting[0].info().state is TaskState.CANCELLED


def test_a_map_that_is_left_is_told_to_its_end(client: zmqtasks.Client) -> None:
    results = client.map(watched.double, range(10**9))
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]

    def open_tasks() -> int:
        names = [name for name, about in LISTENER.heard]
        return names.count("submitted") - names.count("ended")

    wait_until(lambda: open_tasks() == 0, open_tasks)


def test_a_future_tells_how_far_it_is(client: zmqtasks.Client) -> None:
    future = client.submit(watched.sleep, 0.2)
    wait_until(lambda: future.info().state is TaskState.SENT, future.info)
    assert zmqtasks.info(future).sent_at is not None
    assert future.info().ended_at is None
    wait([future], 30)
    info = future.info()
    assert (info.state, info.result, info.error) == (TaskState.DONE, None, None)
    assert info.task_s is not None
    assert info.task_s >= 0.2
    assert info.id == f"{info.job}#{info.index}"


def test_what_a_hook_raises_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Bad(zmqtasks.Hooks):
        def on_result(self, task: TaskInfo) -> None:
            raise SystemExit("a defect of the user's")

        def on_opened(self) -> None:
            raise ValueError("and another")

    class Idle(Listener):
        starvation = 0.05

    idle = Idle()
    with caplog.at_level(logging.ERROR), zmqtasks.Client(workers=1, standby=0, hooks=[Bad(), idle]) as client:
        assert list(client.map(watched.double, range(3))) == [0, 2, 4]
        wait_until(lambda: [name for name, _ in idle.heard].count("starved") > 2, lambda: idle.heard)
    assert [name for name, _ in idle.heard if name in ("opened", "closed")] == ["opened", "closed"]
    assert idle.heard[-1][0] == "closed"
    logged = [record.getMessage() for record in caplog.records]
    assert len([text for text in logged if "on_result raised" in text]) == 3
    assert len([text for text in logged if text.startswith("Bad raised")]) == 1


def test_nodes_come_drain_and_go(tmp_path: Path) -> None:
    listener = Listener()

    def nodes() -> list[str]:
        return [name for name, _ in listener.heard if name.startswith("node_")]

    with (
        node_process(tmp_path / "a") as first,
        node_process(tmp_path / "b") as second,
        zmqtasks.Client(first.tcp, second.tcp, hooks=listener) as client,
    ):
        wait_until(lambda: len(nodes()) == 2, nodes)
        assert client.submit(watched.stop, 0.1).result(30) is None
        wait_until(lambda: "node_lost" in nodes(), nodes)
        assert client.submit(watched.double, 1).result(30) == 2
    assert nodes() == ["node_joined", "node_joined", "node_draining", "node_lost"], listener.heard
    lost = next(about for name, about in listener.heard if name == "node_lost")
    assert isinstance(lost, NodeInfo)
    assert lost.endpoint in (first.tcp, second.tcp)
    assert lost.workers == 1


def test_dates_are_kept_by_range() -> None:
    dates = Dates()
    dates.put(0, 10, 1.0)
    dates.put(10, 20, 2.0)
    dates.put(5, 12, 3.0)
    assert [dates.of(n) for n in (0, 4, 5, 11, 12, 19, 20)] == [1.0, 1.0, 3.0, 3.0, 2.0, 2.0, None]
    dates.drop(4, 6)
    dates.drop(100, 200)
    assert dates.ranges() == [(0, 4), (6, 12), (12, 20)]
    dates.drop(0, 20)
    assert len(dates) == 0


def test_a_meter_counts_what_becomes_of_tasks(tmp_path: Path) -> None:
    meter = zmqtasks.Meter()
    with zmqtasks.Client(workers=1, standby=0, hooks=meter) as client:
        assert len(list(client.map(watched.double, range(100)))) == 100
        client.submit(watched.sleep, 0.05).result(30)
        client.submit(watched.fail, "no").exception(30)
        client.options(timeout=0.05).submit(watched.sleep, 60).exception(30)
        client.options(crash_limit=1).submit(watched.die).exception(30)
        client.options(retries=1).submit(watched.fail_once, str(tmp_path / "once")).result(30)
    found = meter.metrics
    assert (found.done, found.failed, found.timed_out, found.crashed, found.retried) == (102, 1, 1, 1, 1)
    assert found.task_s.count == 102
    assert 0.05 <= found.task_s.mean * 102 < 10
    assert found.task_s.skewness > 0
    assert zmqtasks.Metrics.from_json(found.to_json()) == found
