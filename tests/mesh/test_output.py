"""What workers print: it reaches the node's output and, where asked, the client; and it harms nobody."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import zmqtasks
from tests.mesh import functions, talkers
from tests.mesh.nodes import node_process
from tests.waiting import wait_until
from zmqtasks.errors import WorkerCrashed

NODE_RSS_BYTES = 16 * 2**20
"""So much may a node grow while its workers print."""


class Ears:
    """What `on_output` heard."""

    def __init__(self) -> None:
        self.lines: list[zmqtasks.OutputLine] = []

    def __call__(self, line: zmqtasks.OutputLine) -> None:
        self.lines.append(line)

    @property
    def texts(self) -> list[str]:
        return [line.text for line in self.lines]

    def wait_for(self, text: str) -> zmqtasks.OutputLine:
        wait_until(lambda: text in self.texts, lambda: self.texts[-20:], 20)
        return next(line for line in self.lines if line.text == text)


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def client(ears: Ears) -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=2, on_output=ears) as client:
        yield client


def test_lines_reach_a_client_that_asks(capfd: pytest.CaptureFixture[str], client: zmqtasks.Client, ears: Ears) -> None:
    loud = client.options(output=True)
    assert loud.submit(talkers.say, "one\ntwo").result(30)
    assert loud.submit(talkers.complain, "oh").result(30)
    ears.wait_for("two")
    line = ears.wait_for("oh")
    assert (line.stream, line.index, line.function) == ("stderr", 0, "tests.mesh.talkers.complain")
    assert line.pid in {child.pid for child in psutil.Process().children(recursive=True)}
    assert line.node
    assert line.worker in range(3)
    assert line.label == f"[worker {line.worker} · tests.mesh.talkers.complain #0]"
    assert ears.texts[:2] == ["one", "two"]
    assert capfd.readouterr() == ("", "")  # not printed twice


def test_lines_of_others_are_printed_as_if_here(capfd: pytest.CaptureFixture[str], ears: Ears) -> None:
    with zmqtasks.Client(workers=1, on_output=ears) as client:
        client.submit(talkers.say, "plain").result(30)
    assert capfd.readouterr() == ("plain\n", "")
    assert ears.lines == []


def test_lines_are_in_order_and_complete_at_the_end(ears: Ears) -> None:
    with zmqtasks.Client(workers=1, on_output=ears) as client:
        client.options(output=True).submit(talkers.say_lines, 1000).result(30)
    assert ears.texts == [f"line {number}" for number in range(1000)]


def test_half_a_line_arrives_while_the_task_runs(client: zmqtasks.Client, ears: Ears, tmp_path: Path) -> None:
    future = client.options(output=True).submit(talkers.say_half, "what is ", 0.5)
    ears.wait_for("what is ")
    assert not future.done()
    future.result(30)


def test_without_on_output_lines_are_printed_with_their_label(capfd: pytest.CaptureFixture[str]) -> None:
    with zmqtasks.Client(workers=1) as client:
        client.options(output=True).submit(talkers.say, "hello").result(30)
        client.options(output=True).submit(talkers.complain, "oh").result(30)
    heard = capfd.readouterr()
    assert heard.out.endswith(" · tests.mesh.talkers.say #0] hello\n")
    assert heard.out.startswith("[worker ")
    assert heard.err.endswith(" · tests.mesh.talkers.complain #0] oh\n")


def test_asyncio_hears_lines_too(ears: Ears) -> None:
    async def main() -> None:
        async with zmqtasks.AsyncClient(workers=1, on_output=ears) as client:
            await client.options(output=True).submit(talkers.say, "awaited")

    asyncio.run(main())
    assert ears.texts == ["awaited"]


def test_a_node_elsewhere_sends_lines_and_prints_them(temporary: Path, ears: Ears) -> None:
    with (
        node_process(temporary / "node", workers=1) as node,
        zmqtasks.Client(node.tcp, on_output=ears) as client,
        zmqtasks.Client(node.tcp) as other,
    ):
        other.submit(functions.double, 1).result(30)
        client.options(output=True).submit(talkers.say, "far away").result(30)
        ears.wait_for("far away")
    assert ears.texts == ["far away"]


def test_what_on_output_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(line: zmqtasks.OutputLine) -> None:
        raise ValueError("no ears")

    with zmqtasks.Client(workers=1, on_output=fail) as client:
        assert client.options(output=True).submit(talkers.say, "hello").result(30) == "hello"
    assert "on_output failed" in caplog.text


def test_a_slow_listener_loses_lines_and_is_told(ears: Ears) -> None:
    go = threading.Event()

    def slow(line: zmqtasks.OutputLine) -> None:
        go.wait(30)
        ears(line)

    with zmqtasks.Client(workers=1, on_output=slow) as client:
        loud = client.options(output=True)
        assert loud.submit(talkers.say_much, 20_000_000).result(60)
        assert loud.submit(talkers.say, "the last").result(30)  # nobody waits for the listener
        go.set()
    heard = sum(line.dropped or 1 for line in ears.lines)
    lost = sum(line.dropped for line in ears.lines)
    assert lost > 100_000
    # A loss at the very end is told with the line that follows it, or never.
    assert heard <= 200_001
    assert any("lines of output were lost here" in line.text for line in ears.lines)


def test_logging_reaches_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with zmqtasks.Client(workers=1, log_level="INFO") as client:
        client.submit(talkers.log_it, "a").result(30)
        client.submit(talkers.log_a_traceback, "b").result(30)
    lines = capfd.readouterr().err.splitlines()
    assert lines[:3] == [
        "INFO tests.talkers: for your information: a",
        "WARNING tests.talkers: take care: a",
        "ERROR tests.talkers: it failed",
    ]
    assert lines[-1] == "ValueError: b"


def test_logging_begins_at_warnings(capfd: pytest.CaptureFixture[str]) -> None:
    with zmqtasks.Client(workers=1) as client:
        client.submit(talkers.log_it, "a").result(30)
    assert capfd.readouterr().err == "WARNING tests.talkers: take care: a\n"


def test_a_users_own_logging_takes_over(capfd: pytest.CaptureFixture[str]) -> None:
    own = ["own format: for your information: a", "own format: take care: a"]
    with zmqtasks.Client(workers=1, initializer=talkers.set_up_logging) as client:
        client.submit(talkers.log_it, "a").result(30)
    assert capfd.readouterr().err.splitlines() == own
    with zmqtasks.Client(workers=1) as client:
        client.submit(talkers.set_up_and_log, "a").result(30)
    assert capfd.readouterr().err.splitlines() == own


@pytest.mark.parametrize("function", [talkers.say_from_c, talkers.say_from_a_grandchild])
def test_output_past_python_is_heard(client: zmqtasks.Client, ears: Ears, function: object) -> None:
    client.options(output=True).submit(function, "past python").result(30)  # type: ignore[arg-type]
    assert ears.wait_for("past python").stream == "stdout"


def test_a_child_that_is_left_is_heard(client: zmqtasks.Client, ears: Ears) -> None:
    client.options(output=True).submit(talkers.leave_a_talking_child, "left").result(30)
    ears.wait_for("left")


@pytest.mark.parametrize("way", talkers.WAYS)
def test_streams_that_a_task_closes_are_there_for_the_next(ears: Ears, way: str) -> None:
    with zmqtasks.Client(workers=1, on_output=ears) as client:
        loud = client.options(output=True)
        errors = [loud.submit(talkers.close_and_speak, value, way, 1).exception(30) for value in range(4)]
    assert errors == [None] * 4
    assert ears.texts == ["value 0", "value 2", "value 3"]


@pytest.mark.parametrize("way", ["close_descriptors", "close_stream"])
def test_streams_that_a_task_closes_are_there_for_its_chunk(way: str, capfd: pytest.CaptureFixture[str]) -> None:
    with zmqtasks.Client(workers=1) as client:
        futures = [client.submit(talkers.close_and_speak, value, way, 50) for value in range(100)]
        assert [future.result(30) for future in futures] == list(range(100))
    wanted = [f"value {value}" for value in range(100) if value != 50]
    assert capfd.readouterr().out.splitlines() == wanted


def node_of(client: zmqtasks.Client) -> psutil.Process:
    return next(p for p in psutil.Process().children() if "zmqtasks.beginning" in " ".join(p.cmdline()))


@pytest.mark.parametrize(
    ("talker", "asked"),
    [
        (talkers.say_much, False),
        (talkers.say_much, True),
        (talkers.say_without_an_end, False),
        (talkers.say_junk, True),
    ],
)
def test_100_mb_printed_costs_no_more_than_the_ring(
    capfd: pytest.CaptureFixture[str], talker: object, asked: bool
) -> None:
    heard = Ears()
    with zmqtasks.Client(workers=2, on_output=heard) as client:
        client.options(output=asked).submit(talkers.say_lines, 10).result(30)
        node = node_of(client)
        before = most = node.memory_info().rss
        loud = client.options(output=asked).submit(talker, 100_000_000)  # type: ignore[arg-type]
        latencies = []
        while not loud.done():
            began = time.monotonic()
            assert client.submit(functions.double, 1).result(30) == 2
            latencies.append(time.monotonic() - began)
            most = max(most, node.memory_info().rss)
        loud.result(0)
    capfd.readouterr()
    assert most - before < NODE_RSS_BYTES
    assert not latencies or sorted(latencies)[len(latencies) // 2] < 1


def test_the_last_lines_are_in_the_error_of_a_crash(capfd: pytest.CaptureFixture[str]) -> None:
    with zmqtasks.Client(workers=1) as client:
        error = client.options(retry=False).submit(talkers.say_much_and_crash, 10_000_000).exception(60)
    capfd.readouterr()
    assert isinstance(error, WorkerCrashed)
    assert error.output.splitlines() == [f"line {number}" for number in range(10, 60)]
