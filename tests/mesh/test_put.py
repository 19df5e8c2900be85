"""`Client.put` between real processes: sent once, shared, kept as long as it is needed, and no longer."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zmqtasks
from tests.mesh import large
from tests.mesh.nodes import node_process
from tests.waiting import wait_until
from zmqtasks.errors import SerializationError, TooBig
from zmqtasks.options import MIB


@pytest.fixture
def client() -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=2) as client:
        yield client


def test_a_reference_stands_for_its_object_wherever_it_is(client: zmqtasks.Client) -> None:
    data = os.urandom(MIB)
    for value in (data, {"small": [1, 2]}, large.Plane(bytearray(data))):
        reference = client.put(value)
        shown = large.show(value)
        assert client.submit(large.show, reference).result(60) == shown
        assert client.submit(large.show_second, 1, second=reference).result(60) == shown
        nested = [{"deep": (reference, 2)} for _ in range(20)]
        assert list(client.map(large.show_deep, nested)) == [shown] * 20


def test_it_is_opened_once_a_worker_and_its_buffers_are_shared_and_read_only(client: zmqtasks.Client) -> None:
    reference = client.put(large.Counted(bytearray(5 * MIB)))
    seen = list(client.map(large.opened, [reference] * 200))
    assert {times for _, times, _ in seen} == {1}
    assert {writable for _, _, writable in seen} == {False}
    assert len({pid for pid, _, _ in seen}) <= 2


def test_it_is_freed_on_the_nodes_with_the_last_reference_and_task(client: zmqtasks.Client) -> None:
    ventilator = client._registry.embedded.ventilator
    reference = client.put(bytes(3 * MIB))
    slow = client.submit(large.sleep_and_show, 0.3, reference)
    assert client.submit(large.files_of_objects, reference).result(60) >= 0
    del reference
    assert slow.result(60) == large.show(bytes(3 * MIB))
    wait_until(lambda: not ventilator._shipping.objects, lambda: str(ventilator._shipping.objects))
    deadline = time.monotonic() + 30
    while any(client.map(large.files_of_objects_in_family, range(4))) and time.monotonic() < deadline:
        pass
    assert not any(client.map(large.files_of_objects_in_family, range(4)))


def test_a_worker_that_dies_is_followed_by_one_that_gets_the_object(client: zmqtasks.Client) -> None:
    reference = client.put(bytes(MIB))
    futures = [client.submit(large.die_once_with, reference, n, os.getpid()) for n in range(3)]
    assert [future.result(60) for future in futures] == [MIB] * 3


def test_a_node_that_dies_is_followed_by_one_that_gets_the_object(client: zmqtasks.Client) -> None:
    reference = client.put(bytes(MIB))
    shown, node = client.submit(large.sleep_and_show_with_parent, (0, reference)).result(60)
    futures = [client.submit(large.sleep_and_show, 0.05, reference) for _ in range(10)]
    os.kill(node, signal.SIGKILL)
    assert {future.result(60) for future in futures} == {shown}


def test_what_cannot_be_put_or_referred_to_is_said_so(client: zmqtasks.Client) -> None:
    with pytest.raises(SerializationError, match="cannot pickle"):
        client.put(threading.Lock())
    with zmqtasks.Client(workers=1, put_bytes="1 MiB") as other:
        foreign = other.put(b"small")
        with pytest.raises(SerializationError, match="another client"):
            client.submit(large.show, foreign).result(60)
        with pytest.raises(TooBig, match="put_bytes"):
            other.submit(large.show, other.put(bytes(2 * MIB))).result(60)
        assert other.submit(large.show, foreign).result(60) == large.show(b"small")
        with pytest.raises(SerializationError, match="not in their function"):
            other.submit(lambda: foreign).result(60)
    with pytest.raises(RuntimeError, match="shutdown"):
        other.put(1)
    with pytest.raises(SerializationError, match="closed"):
        client.submit(large.show, foreign).result(60)


def test_over_tcp_it_goes_to_each_node(tmp_path: Path) -> None:
    with (
        node_process(tmp_path / "1") as one,
        node_process(tmp_path / "2") as two,
        zmqtasks.Client(one.tcp, two.tcp) as c,
    ):
        for link in c._registry.embedded.ventilator.links:
            link.lends = link._wire.lends = False  # as if they were on other hosts
        reference = c.put(large.Plane(bytearray(b"x" * MIB)))
        shown = large.show(large.Plane(bytearray(b"x" * MIB)))
        seen: Any = list(c.map(large.sleep_and_show_with_parent, [(0.02, reference)] * 30))
        assert {text for text, _ in seen} == {shown}
        assert len({node for _, node in seen}) == 2
