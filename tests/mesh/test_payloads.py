"""Large arguments and results, between real processes: as they were, writable, and nothing left of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Any

import pytest

import zmqtasks
from tests.mesh import large
from tests.waiting import wait_until
from zmqtasks.options import MIB
from zmqtasks.wire import lending


@pytest.fixture
def client() -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=2) as client:
        yield client


def digest(data: Any) -> str:
    return hashlib.sha1(data).hexdigest()


def test_what_is_large_comes_and_goes(client: zmqtasks.Client) -> None:
    for nbytes in (0, 70_000, 200_000, 5 * MIB):
        data = os.urandom(nbytes)
        assert client.submit(large.digest, data).result(60) == digest(data)
        assert client.submit(large.same, data).result(60) == data
    with pytest.raises(ValueError, match="xxxxxxxxxx"):
        client.submit(large.fail, b"x" * 300_000).result(60)


def test_buffers_can_be_written_to_on_both_sides(client: zmqtasks.Client) -> None:
    given = large.Plane(bytearray(b"a" * 300_000))
    got = client.submit(large.stamped, given, b"task").result(60)
    assert given.data[:4] == b"aaaa"
    assert bytes(got.data[:6]) == b"taskaa"
    got.data[0] = 0
    # What the caller changes later is not seen.
    data = bytearray(b"a" * 300_000)
    future = client.submit(large.digest, data)
    assert future.result(60) == digest(b"a" * 300_000)
    data[:] = b"b" * 300_000
    assert client.submit(large.digest, data).result(60) == digest(data)


def test_many_at_once_in_order_and_kept(client: zmqtasks.Client) -> None:
    items = [bytes([n]) * 300_000 for n in range(60)]
    assert list(client.map(large.same, items)) == items
    futures = [client.submit(large.same, item) for item in items]
    assert [future.result(60) for future in futures] == items
    planes = list(client.map(large.Plane, [bytearray(item) for item in items[:20]]))
    assert [bytes(plane.data) for plane in planes] == items[:20]
    # The memory is given back when the tasks have ended.
    pool = client._registry.embedded.ventilator._shipping._pool
    wait_until(lambda: len(pool._free) == len(pool._sizes), lambda: f"{pool._sizes} of which free {pool._free}")
    assert sum(pool._sizes.values()) <= lending.IDLE_BYTES


def test_a_worker_that_dies_costs_no_result(client: zmqtasks.Client) -> None:
    data = os.urandom(MIB)
    futures = [client.submit(large.die_once_after, data, n, os.getpid()) for n in range(4)]
    assert [future.result(60) for future in futures] == [data] * 4


def test_a_node_without_shared_memory_gets_copies() -> None:
    data = os.urandom(MIB)
    with zmqtasks.Client(workers=1, method="spawn") as client:
        for link in client._registry.embedded.ventilator.links:
            link.lends = False
        assert client.submit(large.same, data).result(60) == data
