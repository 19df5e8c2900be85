"""Log records of workers: the task they belong to, as JSON, and on their way to Logstash."""

from __future__ import annotations

import functools
import json
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zmqtasks
from tests.cli.programs import program
from tests.mesh import watched
from tests.waiting import wait_until


class Listener:
    """Takes lines over TCP, as Logstash does; a context manager."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.connections = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._thread = threading.Thread(target=self._run, name="logstash")

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._server.close()

    def _run(self) -> None:
        while True:
            connection, _ = self._server.accept()
            with connection, connection.makefile("rb") as stream:
                self.connections += 1
                if not (found := [json.loads(line) for line in stream]):
                    return
                self.lines += found


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as listening:
        yield listening


@pytest.mark.parametrize("buffered", [True, False])
def test_records_of_workers_reach_logstash_with_their_task(listener: Listener, buffered: bool) -> None:
    set_up = functools.partial(watched.send_logs, listener.port, buffered)
    with zmqtasks.Client(workers=1, standby=0, initializer=set_up) as client:
        future = client.options(trace_id="trace-7").submit(watched.log, "hello")
        assert future.result(30) is None
        assert client.submit(watched.fail_to_log, "why").result(30) is None
        task_id = future.info().id
    wait_until(lambda: len(listener.lines) == 2, lambda: listener.lines)  # what was kept back is sent at the end
    first, second = listener.lines
    assert (first["message"], first["level"], first["name"]) == ("hello", "WARNING", "tests.watched")
    assert (first["task_id"], first["trace_id"]) == (task_id, "trace-7")
    assert first["job_name"] == f"{watched.__name__}.log"
    assert first["pathname"].endswith("watched.py")
    assert first["@timestamp"].startswith("20")
    assert "ValueError: why" in second["exc_info"]
    assert "trace_id" not in second


def test_a_logstash_that_is_not_there_costs_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    logger = logging.Logger("alone")
    handler = zmqtasks.logstash_handler("127.0.0.1", port, buffered=False)
    logger.addHandler(handler)
    for number in range(5):
        logger.warning("nobody hears %d", number)
    handler.close()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert f"cannot be sent to 127.0.0.1:{port}" in said[0]


def test_a_buffer_is_sent_when_it_is_full_old_or_has_an_error(listener: Listener) -> None:
    logger = logging.Logger("buffered")
    handler = zmqtasks.logstash_handler("127.0.0.1", listener.port, most_records=3, oldest=0.05)
    logger.addHandler(handler)
    logger.info("old")
    wait_until(lambda: not handler.buffer, lambda: vars(handler))  # type: ignore[attr-defined]
    for word in ("one", "two", "three"):
        logger.info(word)
    assert not handler.buffer  # type: ignore[attr-defined]
    logger.error("at once")
    assert not handler.buffer  # type: ignore[attr-defined]
    handler.close()
    wait_until(lambda: len(listener.lines) == 5, lambda: listener.lines)
    assert [line["message"] for line in listener.lines] == ["old", "one", "two", "three", "at once"]
    assert listener.connections == 1


def test_a_node_and_its_workers_log_as_json(tmp_path: Path) -> None:
    worker = ("worker", "--bind", "127.0.0.1:0", "--workers", "1", "--log-format", "json")
    with program(tmp_path, "node", *worker) as node, zmqtasks.Client(node.address) as client:
        assert client.options(trace_id="t").submit(watched.log, "from a worker").result(30) is None
        client.submit(watched.stop, 0.0).exception(30)
        wait_until(lambda: node.process.poll() is not None, lambda: node.stderr)
    lines = [json.loads(line) for line in node.stderr.splitlines() if line.startswith("{")]
    told = {line["message"]: line for line in lines}
    assert (told["from a worker"]["trace_id"], told["from a worker"]["level"]) == ("t", "WARNING")
    assert [line["name"] for said, line in told.items() if said.endswith("stops this node")] == ["zmqtasks.node.shell"]


def test_a_format_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="log_format must be one of text, json"):
        zmqtasks.NodeOptions(log_format="xml")
