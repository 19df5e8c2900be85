"""The examples of Sergeant, as programs of ours: each runs, and shows what it is there for."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import zmqtasks
from examples.sergeant import (
    delayed_task,
    hanging_threads,
    max_retries,
    mixed_producer_consumer,
    multiple_workers_stop,
    multithreaded_worker,
    single_producer_multiple_consumers,
    timeout,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def module_client() -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=2) as client:
        client.submit(abs, 1).result(30)
        yield client


@pytest.fixture
def client(module_client: zmqtasks.Client) -> zmqtasks.Client:
    return module_client


def test_single_producer_single_consumer() -> None:
    program = [sys.executable, "-m", "examples.sergeant.single_producer_single_consumer"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.stdout.splitlines() == ["1. hello Ada", "2. hello Grace", "3. hello Barbara"], done.stderr


def test_single_producer_multiple_consumers(client: zmqtasks.Client, capsys: pytest.CaptureFixture[str]) -> None:
    single_producer_multiple_consumers.main(client)
    assert re.match(r"333283335000 by [12] workers", capsys.readouterr().out)


def test_mixed_producer_consumer(client: zmqtasks.Client, capsys: pytest.CaptureFixture[str]) -> None:
    mixed_producer_consumer.main(client)
    assert capsys.readouterr().out == "12 words\n"


def test_timeout(client: zmqtasks.Client, capsys: pytest.CaptureFixture[str]) -> None:
    timeout.main(client)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == "done in run 0"
    assert re.fullmatch("done in run [12]", second)
    assert third.startswith("gave up: the task ran longer than its timeout of 0.3 s, and was interrupted")


def test_max_retries(client: zmqtasks.Client, capsys: pytest.CaptureFixture[str]) -> None:
    max_retries.main(client)
    assert capsys.readouterr().out.splitlines() == ["run 2 went well", "failed: run 3 found nobody"]


def test_multithreaded_worker(capsys: pytest.CaptureFixture[str]) -> None:
    with zmqtasks.Client(workers=1, threads=4, standby=0) as client:
        multithreaded_worker.main(client)
    *answers, last = capsys.readouterr().out.splitlines()
    assert max(int(found) for found in re.findall(r"up to (\d) at once", "\n".join(answers))) > 1
    assert last == "1 process"


def test_delayed_task(client: zmqtasks.Client, capsys: pytest.CaptureFixture[str]) -> None:
    delayed_task.main(client)
    lines = re.findall(r"(.*): waited (.*) s", capsys.readouterr().out)
    waited = {what: float(seconds) for what, seconds in lines}
    assert waited["now"] < waited["in a quarter of a second"]
    assert waited["in a quarter of a second"] >= 0.25
    assert waited["at a time"] >= 0.4


def test_multiple_workers_stop(capsys: pytest.CaptureFixture[str]) -> None:
    with zmqtasks.Client(workers=2) as client:
        multiple_workers_stop.main(client)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["what ran was finished and the other returned None", "nobody runs anything now"]


def test_hanging_threads(capsys: pytest.CaptureFixture[str]) -> None:
    with zmqtasks.Client(workers=1, max_tasks_per_worker=1) as client:
        hanging_threads.main(client)
    assert capsys.readouterr().out.splitlines() == ["3 tasks left 6 threads in 3 workers", "all of them are gone"]


def test_each_example_is_listed_and_tested() -> None:
    programs = {path.stem for path in (ROOT / "examples/sergeant").glob("*.py")}
    listed = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "examples/sergeant/README.md").read_text(), re.MULTILINE))
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert programs == listed
    assert programs <= tested
