"""Calls that run only on nodes that serve their queue, have what they need, and are where they are wanted."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from itertools import pairwise

import pytest

import zmqtasks
from tests.cli.programs import Program, program, run
from tests.mesh import functions
from tests.waiting import wait_until

WORKER = ("worker", "--bind", "127.0.0.1:0", "--standby", "0")
MAIL = ("--queue", "mail", "--resource", "gpu=1", "--label", "zone=a", "--workers", "2")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, Program]]:
    """A usual node, and one that serves mail and has a gpu."""
    folder = tmp_path_factory.mktemp("nodes")
    with (
        program(folder, "plain", *WORKER, "--workers", "1") as plain,
        program(folder, "mail", *WORKER, *MAIL) as mail,
    ):
        assert plain.address
        assert mail.address
        yield plain, mail


@pytest.fixture
def client(nodes: tuple[Program, Program]) -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(*(node.address for node in nodes)) as client:
        wait_until(lambda: len(client._registry.embedded.ventilator.nodes()) == 2)
        yield client


def test_each_queue_runs_on_the_nodes_that_serve_it(client: zmqtasks.Client, nodes: tuple[Program, Program]) -> None:
    plain, mail = (node.process.pid for node in nodes)
    calls = {name: client.options(queue=name) for name in ("default", "mail")}
    futures = [(name, calls[name].submit(os.getppid)) for _ in range(10) for name in calls]
    assert {(name, future.result(30)) for name, future in futures} == {("default", plain), ("mail", mail)}


def test_what_no_node_can_run_waits_and_that_is_told_once(
    client: zmqtasks.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="zmqtasks"):
        futures = [client.options(queue="mail", where={"zone": "b"}).submit(os.getppid) for _ in range(3)]
        assert client.options(queue="mail", where={"zone": "a"}).submit(os.getppid).result(30)
        assert not any(future.done() for future in futures)
        for future in futures:
            assert future.cancel()
    (record,) = [record for record in caplog.records if "can ever run" in record.message]
    assert record.message.startswith("no node that is here can ever run posix.getppid, its calls wait for one that can")
    assert "its zone is b" not in record.message
    assert "its zone is a, not b" in record.message


def test_a_node_counts_what_is_in_use_whoever_uses_it(client: zmqtasks.Client, nodes: tuple[Program, Program]) -> None:
    with zmqtasks.Client(nodes[1].address) as other:
        calls = [one.options(queue="mail", needs={"gpu": 1}) for one in (client, other)]
        futures = [call.submit(functions.interval, 0.03) for _ in range(3) for call in calls]
        times = sorted(future.result(30) for future in futures)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(times)), times


def test_where_the_only_node_is_our_own_that_is_an_error_at_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    with zmqtasks.Client(workers=1, queues=("default", "mail"), labels={"zone": "a"}) as client:
        assert client.options(queue="mail", where={"zone": "a"}).submit(pow, 2, 3).result(30) == 8
        with pytest.raises(zmqtasks.NoNodes, match="can never run this: it serves the queues default, mail, not post"):
            client.options(queue="post").submit(pow, 2, 3)
        with pytest.raises(zmqtasks.NoNodes, match="it has 0 gpu, not 1"):
            client.options(needs={"gpu": 1}).map(abs, [1])
    done = run(tmp_path_factory.mktemp("own"), "run", "chores:double", "--where", "zone=b", stdin="1\n")
    assert (done.returncode, done.stderr.count("it has no zone")) == (4, 1)


@pytest.mark.parametrize("wrong", [{"needs": {"gpu": 0}}, {"needs": "gpu=1"}, {"where": {"zone": ""}}, {"queue": ""}])
def test_what_cannot_be_a_place_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        zmqtasks.TaskOptions(**wrong)  # type: ignore[arg-type]
